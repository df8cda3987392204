"""Local learning rules: what they have in common, which is all but the equation.

A synapse's weight moves by what its own two neurons know, eqs. 11 and 12 of Kirsch & Schmidhuber (2020)::

    w' = w + f(x_a, x_b, w, m)

x_a is the layer's input (1 for a bias), x_b = y = sum_a w x_a its output, before whatever the model does with it, and
m the feedback e of neuron b, the negative derivative of the loss.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm, Pace
from lightning_vsml.algorithms.cards import Fields, agrees, each, list_of, number, text
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Layout, Site, Told
from lightning_vsml.ticks.plan.layout import Plane
from lightning_vsml.ticks.sites import Lookup, Rows

Own = TypeVar("Own", bound="Rule")


@dataclass(frozen=True)
class Rule(Algorithm):
    """A local rule. A subclass has its equation as :meth:`move`, its constants as fields that are floats, and, if it
    answers the loss, the backward message as :meth:`message`.

    A state's first plane is the weight. Changes are means over samples and sums over a sample's positions.

    Args:
        name: how tables and messages call it; the family's if empty.
        lr: the rule's rate, and the default of a learner's.
        card: where it comes from and what it was measured at.

    Raises:
        ValueError: a constant is not finite, or lr not positive.
    """

    card_fields: ClassVar[Fields] = {"numbers": list_of(text, 1), "constants": each(number())}
    readable: ClassVar[bool] = True
    pace: ClassVar[Pace] = Pace.CHANGE
    numbers: ClassVar[tuple[str, ...]] = ("w",)  # that a synapse keeps
    silent: ClassVar[bool] = True  # whether an input that is 0 changes nothing

    name: str = ""
    lr: float = 0.01
    card: dict[str, Any] = field(default_factory=lambda: {"kind": "constructed"}, compare=False, repr=False)
    ticks: str = field(default="auto", init=False, repr=False)  # there are none: plain sums
    reach: Reach = field(default_factory=Reach, init=False, repr=False)  # without limits

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.family)
        constants = torch.tensor(list(self.constants.values()))
        if not self.lr > 0 or not constants.isfinite().all():
            raise ValueError(f"constants should be finite and lr positive, got {self.constants}.")

    @abstractmethod
    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """f: how each plane changes, ``(G, A, B)``.

        Args:
            site: where the layer is used; its sums over rows, inputs or outputs are all that a rule needs.
            state: ``(P, G, A, B)``, of the inputs that take part.
            e: the feedback, in the layout of outputs.
            samples: S.
        """

    def message(self, site: Site, state: Tensor, e: Tensor) -> Tensor:
        """What goes back, in the layout of x: 0, of a rule that ignores the loss."""
        return torch.zeros_like(site.x)

    def output(self, site: Site, state: Tensor) -> Tensor:
        """y, in the layout of outputs."""
        return site.forward(site.x, 1.0, self.decode(state), 1.0)

    # --- what follows from it

    @property
    def constants(self) -> dict[str, float]:
        """V_M by name."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.type in (float, "float")}

    @property
    def units(self) -> int:
        """How many numbers a synapse keeps."""
        return len(self.numbers)

    @property
    def states(self) -> int:
        """The same: there is no LSTM."""
        return self.units

    @property
    def size(self) -> int:
        """|V_M|, how many constants there are."""
        return len(self.constants)

    @property
    def layout(self) -> Layout:
        """The weight, then what else there is."""
        planes = tuple(Plane(1, place, 1.0, place == 0) for place in range(self.units))
        return Layout(planes, ((None,) * self.units, tuple((place, 1.0) for place in range(self.units))))

    def begin(self, weights: Tensor) -> Tensor:
        """The weight, and else 0."""
        return torch.stack([weights, *[torch.zeros_like(weights)] * (self.units - 1)])

    def send(self, state: Tensor, x: Tensor | Site) -> list[Tensor]:
        """y alone; learning computes it anew, as the model may have changed its own in place."""
        site = self._site(state, x)
        return [self.output(site, site.select(state))]

    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        """The equation, and the backward message in the layout of x."""
        site = self._site(state, x)
        if not site.rows:
            return Change(torch.zeros_like(state), 0), torch.zeros_like(site.x)
        back = self.message(site, site.select(state), e) if message else site.x.new_empty(0)
        moving = site.dense() if isinstance(site, Lookup) and not self.silent else site
        planes = torch.stack(list(self.move(moving, moving.select(state), e, samples)))
        return Change(planes, site.rows, moving.occurring if isinstance(moving, Lookup) else None), back

    def commit(self, state: Tensor, change: Change, told: Told | None = None) -> Tensor:
        """``w' = w + dw``; uses up ``state`` where only some of its inputs changed."""
        if not change.rows:
            return state
        if change.inputs is not None:
            return state.index_add_(2, change.inputs, change.planes)
        return state + change.planes

    def decode(self, state: Tensor) -> Tensor:
        """The first plane."""
        return state[0]

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        """Another weight; what else a synapse keeps stays."""
        return torch.cat([weights.to(state).unsqueeze(0), state[1:]])

    def to(self: Own, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Own:
        """Itself: constants are plain numbers."""
        return self

    def on(self: Own, ticks: str | None = None, tolerance: float | None = None) -> Own:
        """Itself.

        Raises:
            ValueError: there is anything to choose.
        """
        if ticks not in (None, "auto") or tolerance is not None:
            raise ValueError(
                f"{self.name!r} is a plain equation without ticks, so there is no implementation and no tolerance to "
                f"choose, got ticks={ticks!r} and tolerance={tolerance}."
            )
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The constants."""
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self.constants.items()}

    def settings(self) -> dict[str, Any]:
        """For readers: what a synapse keeps, and the constants."""
        return {"numbers": list(self.numbers), "constants": self.constants}

    @classmethod
    def assemble(cls: type[Own], card: dict[str, Any], tensors: dict[str, Tensor]) -> Own:
        """From a card and the constants beside it."""
        rule = cls(name=card["name"], card=card, **{name: float(value) for name, value in tensors.items()})
        for name, said in rule.settings().items():
            agrees(name, card[name], said)
        return rule

    @staticmethod
    def _site(state: Tensor, x: Tensor | Site) -> Site:
        G, A, B = state.shape[1:]
        return x if isinstance(x, Site) else Rows(x, (G, A, B))
