"""What the rest of the package asks of a learning algorithm, whatever family it is of.

A family is a class that says how synapses are stored, how they run and what of them goes into a file;
:func:`family` makes it known by its name, which the card of a checkpoint holds. Binding, fit and checkpoints know
this interface alone.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.cards import Fields
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Layout, Site, Told


class Across(Enum):
    """How messages go back through a function that a model has between or behind its layers."""

    DERIVATIVE = "by the function's own derivative, each number like a gradient"
    RULE = "by a rule of the algorithm's, of which they are the input"
    AROUND = "back as if the function were not there"
    LEFT_OUT = "both ways as if the function were not there"
    NOT = "not at all"


class Pace(Enum):
    """What a learning rate scales."""

    FEEDBACK = "feedback, as it enters the layers"
    CHANGE = "what changes"
    COMMIT = "what is committed: commit ticks are told it, and what is pending is minus the gradient"
    NONE = "nothing: there is no learning rate"


_ELEMENTWISE = (
    "alpha_dropout celu clamp clone contiguous dropout dropout1d dropout2d dropout3d elu feature_alpha_dropout float "
    "gelu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 rrelu selu sigmoid silu softplus "
    "softshrink softsign tanh tanhshrink threshold to type"
)
_SHAPING = (
    "avg_pool1d avg_pool2d avg_pool3d flatten getitem mean movedim mT permute reshape squeeze swapaxes T transpose "
    "unflatten unsqueeze view"
)
ELEMENTWISE, SHAPING = frozenset(_ELEMENTWISE.split()), frozenset(_SHAPING.split())
"""Functions of a model, by their names."""


class Algorithm(ABC):
    """A learning algorithm (V_M and how to run it). Pure functions, state in, state out.

    A grid's state is a tensor of planes, ``(P, G, A, B)``: one for each number that a synapse keeps.

    Attributes:
        family: its name in cards.
        card_fields: what :meth:`settings` writes: how each is checked before :meth:`assemble` sees it.
        readable: whether weights can be read from states and written into them (:meth:`decode`, :meth:`overwrite`).
            If not, states begin as noise.
        chained: whether messages between layers are its own, with as many numbers as it likes, and no gradients:
            :meth:`across` says how they go through a model.
        pace: what the learning rate scales.
        name: how tables and messages call it.
        lr: the learning rate that it has by itself.
        reach: magnitudes beyond which the learner warns.
        card: where it comes from and what it was measured at.
        ticks: name of the tick implementation, or ``"auto"``.
    """

    family: ClassVar[str]
    card_fields: ClassVar[Fields] = {}
    readable: ClassVar[bool]
    chained: ClassVar[bool] = False
    pace: ClassVar[Pace] = Pace.FEEDBACK
    name: str
    lr: float
    reach: Reach
    card: dict[str, Any]
    ticks: str

    # --- sizes

    @property
    @abstractmethod
    def units(self) -> int:
        """N, of a synapse."""

    @property
    def states(self) -> int:
        """How many numbers a synapse's state has; h and c of every unit of an LSTM."""
        return 2 * self.units

    @property
    @abstractmethod
    def size(self) -> int:
        """|V_M|, the number of shared parameters."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """The planes of a state."""

    # --- what synapses do

    @abstractmethod
    def begin(self, weights: Tensor) -> Tensor:
        """Fresh states, from a layer's weights or from noise: ``(G, A, B)`` -> ``(P, G, A, B)``."""

    @abstractmethod
    def send(self, state: Tensor, x: Tensor | Site) -> Sequence[Tensor]:
        """What goes out forwards, the layer's output first, then what is for the way back only.

        Args:
            state: merged, ``(P, G, A, B)``.
            x: where the grid is used, or inputs as rows, ``(R, G, A)``; ``(R, G, A, M)`` if not :attr:`readable`.

        Returns:
            Outputs in the site's layout, or ``(R, G, B)``; ``(R, G, B, M)`` if not :attr:`readable`.
        """

    @abstractmethod
    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        """The change of a state, and the backward message in the layout of x.

        Args:
            state: merged, ``(P, G, A, B)``.
            x: as :meth:`send` had it.
            e: the feedback at the outputs, or what the next layer sent back; in their layout.
            samples: S; rows R = samples times positions.
            sent: what :meth:`send` gave, if it is still there.
            message: whether anybody wants the backward message; if not, it may be empty.
        """

    @abstractmethod
    def commit(self, state: Tensor, change: Change, told: Told | None = None) -> Tensor:
        """The merged state after a learning step; uses up ``change``.

        Args:
            state: merged, ``(P, G, A, B)``.
            change: what was learned.
            told: rates and biases, for algorithms whose :attr:`pace` is ``COMMIT``; by default the own rate, and the
                last input is a bias.
        """

    def of_layer(self, place: int, places: int) -> "Algorithm":
        """What the layer at this place, of so many, runs by.

        Raises:
            ValueError: the model has another number of layers than it takes.
        """
        return self

    # --- messages of its own, where it is chained

    functions: ClassVar[frozenset[str]] = frozenset()
    """Those that :meth:`across` knows in particular."""

    def across(self, function: str) -> Across:
        """How messages go back through a function of the model's, by its name: ``"relu"``, ``"reshape"``."""
        raise NotImplementedError

    def ways(self) -> str:
        """In words, how messages go back through functions of a model."""
        found = {way: {name for name in self.functions if self.across(name) is way} for way in Across}
        named = {
            w: "elementwise functions" if n == ELEMENTWISE else ", ".join(sorted(n)) for w, n in found.items() if n
        }
        known = "; ".join(f"through {names} {way.value}" for way, names in named.items())
        return f"messages go back {known}; through all else {self.across('').value}"

    def enter(self, x: Tensor) -> Tensor | None:
        """What a model's first layer gets for its input, where messages forward have M numbers, too: ``(...)`` ->
        ``(..., M)``. None where they are the values themselves.
        """
        return None

    def respond(self, function: str, x: Tensor, m: Tensor, derived: Callable[[Tensor], Tensor]) -> Tensor:
        """Its rule for an activation: inputs ``(...)``, messages from behind ``(..., M)`` -> messages back; ``derived``
        multiplies by the function's derivative.
        """
        raise NotImplementedError

    def judge(self, function: str, y: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Its rule for a loss: outputs ``(...)``, targets, how much the loss counts -> messages ``(..., M)``."""
        raise NotImplementedError

    def feedback(self, e: Tensor) -> Tensor:
        """What a model's last layer gets for the feedback ``(R, G, B)`` of a loss that is differentiated:
        ``(R, G, B, M)``.

        Raises:
            ValueError: it does not learn from that.
        """
        raise NotImplementedError

    # --- weights, where they are readable

    def decode(self, state: Tensor) -> Tensor:
        """The weights that a state stands for: ``(P, G, A, B)`` -> ``(G, A, B)``."""
        raise NotImplementedError

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        """A state moved to stand for ``weights`` (G, A, B)."""
        raise NotImplementedError

    def shown(self, change: Tensor) -> Tensor:
        """What a change (P, G, A, B) shows as: how weights will move, or where commit ticks decide that, minus the
        gradient; ``(G, A, B)``.
        """
        return self.decode(change)

    def pushed(self, change: Tensor, rows: slice, shown: Tensor, weights: Tensor | None) -> None:
        """Add to a change, in place: ``shown`` to what it shows as, ``weights`` to the weights; in these inputs."""
        raise NotImplementedError

    # --- where and how it runs

    @abstractmethod
    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Algorithm":
        """The same with its tensors on ``device`` and in ``dtype``."""

    @abstractmethod
    def on(self, ticks: str | None = None, tolerance: float | None = None) -> "Algorithm":
        """The same on another tick implementation, or with another tolerance."""

    def validate(self) -> None:  # noqa: B027
        """Refuse what can be made but no model can run.

        Raises:
            ValueError: says why.
        """

    def history(self) -> dict[str, Any]:
        """What the next step depends on besides states, as plain values."""
        return {}

    def go_on(self, history: Mapping[str, Any]) -> None:  # noqa: B027
        """Continue as the run that had this history."""

    def exact_calls(self) -> tuple[int, str]:
        """How many calls could not take the fast way, and why the last could not."""
        return 0, ""

    # --- files

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """V_M by name, as a checkpoint holds it."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All else that :meth:`assemble` needs, as JSON."""

    @classmethod
    @abstractmethod
    def assemble(cls, card: dict[str, Any], tensors: dict[str, Tensor]) -> "Algorithm":
        """From what a card, with :meth:`settings` in it, and a tensor file hold.

        Raises:
            KeyError, TypeError, ValueError: they do not.
        """

    @property
    def fingerprint(self) -> str:
        """sha256 over parameters and settings, whatever name, card, device or tick implementation they have."""
        return self._digest([self.family, self.settings()])

    def _digest(self, settings: Any) -> str:
        digest = hashlib.sha256(repr(settings).encode())
        for tensor in self.tensors().values():
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


FAMILIES: dict[str, type[Algorithm]] = {}
"""By the name that cards have."""

Kind = TypeVar("Kind", bound=type[Algorithm])


def family(kind: Kind) -> Kind:
    """Class decorator: make a family known, so that its checkpoints load."""
    FAMILIES[kind.family] = kind
    return kind
