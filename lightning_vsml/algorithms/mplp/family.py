"""MPLP: an ordinary forward pass; backwards every node sends messages by a rule of its kind, and parameters update.

Randazzo, Niklasson, Mordvintsev 2020 (arXiv 2007.00970), with its equation numbers. Nodes are weights, biases,
activations and losses. What their rules are fed is standardised by statistics that were recorded before meta-training;
messages that meet and updates of samples are averaged (eqs. 8 and 9).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.base import Across, Algorithm, Pace, family
from lightning_vsml.algorithms.cards import Fields, Optional, agrees, list_of, one_of, table, whole
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.mplp import nodes
from lightning_vsml.algorithms.mplp.initial import initialise, shapes
from lightning_vsml.algorithms.mplp.layer import learn
from lightning_vsml.algorithms.mplp.nodes import Sizes
from lightning_vsml.algorithms.mplp.rules import SHARING, Rules, of_loss
from lightning_vsml.algorithms.mplp.statistics import Recording, is_trained
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Layout, Site, Told
from lightning_vsml.ticks.plan.layout import Plane
from lightning_vsml.ticks.sites import Rows


@family
@dataclass(frozen=True, eq=False)
class MPLP(Algorithm):
    """A learned message passing protocol.

    Args:
        name: how tables and messages call it.
        V: tensors by name: networks of nodes, ``kind.network.W0``; statistics of what they are fed,
            ``kind.statistics.input``, ``(2, numbers)``: mean and standard deviation; and of parameters' updates
            ``kind.offset`` and ``kind.scale``, a tenth of the logarithm of a factor.
        sizes: of networks and messages.
        kinds: of nodes without parameters that it has rules for.
        sharing: ``"tensor"``: each weight, bias and activation has rules of its own; ``"kind"``: rules are those of
            the kind, statistics and scales those of the tensor; ``"statistics"``: these are shared as well, so that it
            runs on any model.
        places: how many layers a model has to have, where something is not shared.
        card: where it comes from and what it was measured at.
        place: of the layer that it runs, see :meth:`of_layer`.
        recording: where statistics are noted, see :meth:`recorder`.

    Raises:
        ValueError: unknown sharing or kinds.
    """

    family: ClassVar[str] = "mplp"
    card_fields: ClassVar[Fields] = {
        "sizes": table(
            {
                "messages": whole(1),
                "carry": whole(0),
                "hidden": list_of(whole(1), 2, 2),
                "parameters": Optional(whole(1)),
            }
        ),
        "kinds": list_of(one_of(*nodes.ACTIVATIONS, *nodes.LOSSES), 1),
        "sharing": one_of(*SHARING),
        "places": whole(0),
    }
    readable: ClassVar[bool] = True
    chained: ClassVar[bool] = True
    pace: ClassVar[Pace] = Pace.NONE

    name: str
    V: Mapping[str, Tensor] = field(repr=False)
    sizes: Sizes
    kinds: tuple[str, ...]
    sharing: str = "statistics"
    places: int = 0
    card: dict[str, Any] = field(default_factory=dict, repr=False)
    place: int = 0
    recording: Recording | None = field(default=None, repr=False)
    ticks: str = field(default="auto", init=False)
    lr: float = field(default=1.0, init=False)
    reach: Reach = field(default_factory=Reach, init=False)

    def __post_init__(self) -> None:
        if self.sharing not in SHARING:
            raise ValueError(f"sharing should be one of {', '.join(map(repr, SHARING))}, got {self.sharing!r}.")
        known = (*nodes.ACTIVATIONS, *nodes.LOSSES)
        if others := sorted(set(self.kinds) - set(known)):
            raise ValueError(f"kinds should be of {', '.join(known)}, got {', '.join(others)}.")

    @property
    def units(self) -> int:
        """Numbers of a synapse: the parameter, and its hidden state."""
        return 1 + self.sizes.carry

    @property
    def states(self) -> int:
        """The same: there is no LSTM."""
        return self.units

    @property
    def size(self) -> int:
        """|V_M|, the number of shared parameters; statistics, which are not trained, do not count."""
        return sum(tensor.numel() for name, tensor in self.V.items() if is_trained(name))

    @property
    def layout(self) -> Layout:
        """The parameter, then the hidden state."""
        planes = (Plane(1, 0, 1.0, True), *(Plane(0, unit, 1.0, False) for unit in range(self.sizes.carry)))
        h = tuple((1 + unit, 1.0) for unit in range(self.sizes.carry)) or (None,)
        return Layout(planes, (h, ((0, 1.0), *[None] * (len(h) - 1))))

    @property
    def rules(self) -> Rules:
        """Of the layer that it runs."""
        return Rules(self.V, self.sharing, self.place, self.recording)

    def recorder(self, recording: Recording) -> "MPLP":
        """The same, which standardises by statistics of what it is fed, and notes these."""
        return replace(self, recording=recording)

    def of_layer(self, place: int, places: int) -> "MPLP":
        """The rules of a layer.

        Raises:
            ValueError: not everything is shared, and the model has another number of layers.
        """
        if self.sharing != "statistics" and places != self.places:
            raise ValueError(
                f"{self.name!r} shares by {self.sharing!r}: some of it belongs to each of {self.places} layers, but "
                f'the model has {places}. Choose one that shares by "statistics", which runs on any model.'
            )
        return replace(self, place=place)

    def initialise(self, model: nn.Module) -> None:
        """Give a model the initial weights that were meta-trained with the rules, layer by layer.

        Raises:
            ValueError: there are none, or the model's layers are others.
        """
        names = [f"initial.{place}" for place in range(self.places)]
        initialise(model, [self.V[name] for name in names if name in self.V], self.name)

    # --- what nodes do

    def begin(self, weights: Tensor) -> Tensor:
        """The parameters, and hidden states of 0: ``(G, A, B)`` -> ``(1 + K, G, A, B)``."""
        return torch.cat([weights.unsqueeze(0), weights.new_zeros(self.sizes.carry, *weights.shape)])

    def decode(self, state: Tensor) -> Tensor:
        """The parameters: ``(1 + K, G, A, B)`` -> ``(G, A, B)``."""
        return state[0]

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        """Other parameters, the same hidden states."""
        return torch.cat([weights.to(state).unsqueeze(0), state[1:]])

    def send(self, state: Tensor, x: Tensor | Site) -> list[Tensor]:
        """The layer's output, as ever."""
        site = _site(state, x)
        return [site.forward(site.x, 1.0, site.select(state)[0], 1.0)]

    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        """Messages from behind, as rows ``(R, G, B, M)`` -> the change summed over rows, and messages back, which are
        averaged over outputs, ``(R, G, A, M)`` without the bias.
        """
        return learn(self.rules, self.sizes, state, _site(state, x), e, message)

    def commit(self, state: Tensor, change: Change, told: Told | None = None) -> Tensor:
        """Moved by the mean over rows (eq. 8)."""
        return state + change.planes / max(change.rows, 1)

    @property
    def functions(self) -> frozenset[str]:  # type: ignore[override]
        """Those with rules."""
        return frozenset(self.kinds)

    def across(self, function: str) -> Across:
        """Activations and losses that it has rules for send messages of their own; all else is differentiated."""
        return Across.RULE if function in self.kinds else Across.DERIVATIVE

    def respond(self, function: str, x: Tensor, m: Tensor, derived: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """An activation's message: its inputs ``(...)``, what came from behind ``(..., M)`` -> ``(..., M)``."""
        parts = {"message": m.reshape(-1, m.shape[-1]), "input": x.reshape(-1, 1)}
        return self.rules.respond(function, parts).view(m.shape)

    def judge(self, function: str, y: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """A loss's message: outputs, targets -> ``(..., M)``; :func:`~lightning_vsml.algorithms.mplp.rules.of_loss`."""
        parts = of_loss(function, y, target, weight)
        fed = {name: part.reshape(-1, 1) for name, part in parts.items()}
        return self.rules.respond(function, fed).view(*y.shape, -1)

    def feedback(self, e: Tensor) -> Tensor:
        """None for a loss without a rule.

        Raises:
            ValueError: says which have one.
        """
        raise ValueError(
            f"{self.name!r} learns from what a loss tells it by a rule, and has rules for "
            f"{', '.join(kind for kind in self.kinds if kind in nodes.LOSSES)} of one mapped layer's output alone."
        )

    # --- where it runs, and files

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "MPLP":
        """The same with its tensors on ``device`` and in ``dtype``."""
        return replace(self, V={name: tensor.to(device, dtype) for name, tensor in self.V.items()})

    def on(self, ticks: str | None = None, tolerance: float | None = None) -> "MPLP":
        """The same; there is one way to run it.

        Raises:
            ValueError: something else is asked for.
        """
        if tolerance is not None or ticks not in (None, "auto"):
            raise ValueError(f"{self.name!r} has no ticks to choose, got ticks={ticks!r}, tolerance={tolerance}.")
        return self

    def tensors(self) -> dict[str, Tensor]:
        """V by name."""
        return {name: self.V[name].detach().cpu().contiguous() for name in sorted(self.V)}

    def settings(self) -> dict[str, Any]:
        """Sizes, and what is shared."""
        return {
            "sizes": {**self.sizes._asdict(), "hidden": list(self.sizes.hidden), "parameters": self.size},
            "kinds": list(self.kinds),
            "sharing": self.sharing,
            "places": self.places,
        }

    @classmethod
    def assemble(cls, card: dict[str, Any], tensors: dict[str, Tensor]) -> "MPLP":
        """From a card and the tensors beside it."""
        sizes = card["sizes"]
        own = Sizes(int(sizes["messages"]), int(sizes["carry"]), tuple(sizes["hidden"]))
        rules = cls(card["name"], tensors, own, tuple(card["kinds"]), card["sharing"], int(card["places"]), card)
        if rules.sharing != "statistics" and rules.places > len(tensors):
            raise ValueError(f"places is {rules.places}, but there are {len(tensors)} tensors in all.")
        wanted = shapes(own, rules.kinds, rules.sharing, rules.places)
        for name, shape in wanted.items():
            if name not in tensors or tensors[name].shape != shape:
                have = tuple(tensors[name].shape) if name in tensors else "none"
                raise ValueError(f"by sizes, kinds, sharing and places there should be a {name} {shape}, got {have}.")
        agrees("sizes", sizes, rules.settings()["sizes"])
        return rules


def _site(state: Tensor, x: Tensor | Site) -> Site:
    G, A, B = state.shape[1:]
    if isinstance(x, Site):
        return x
    return Rows(x, (G, A, B), x.shape[2] < A)
