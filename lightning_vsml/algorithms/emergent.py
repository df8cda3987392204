"""VSML from scratch: a dense cell whose synapses hold no weight that anybody could read.

What states mean, what neurons tell each other and how a layer computes has emerged in meta-training (the poster of
Kirsch & Schmidhuber 2020; arXiv 2012.14905, section 4). A learning step has two ticks for every sample: a *forward
tick* turns the messages of a layer's inputs into those of its outputs, of which the first number is the layer's
output; a *learning tick* sees the same inputs and, from behind, the error, and its state is the next one. A prediction
leaves no trace in the state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import ELEMENTWISE, SHAPING, Across, Algorithm, Pace, family
from lightning_vsml.algorithms.cards import CELL, Fields, agrees, number, table
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.noise import noise
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Cell, Layout, Site, Told
from lightning_vsml.ticks.dense import TICKS, Ticked, tick
from lightning_vsml.ticks.plan.layout import Plane

STATES = 2**24  # numbers of a merged state times rows that are computed at once: 64 MB in float32


@family
@dataclass(frozen=True)
class Emergent(Algorithm):
    """A learning algorithm whose states are read by its own synapses alone.

    Messages have M numbers, where the cell's V has M rows. Those of the first layer's inputs are (x, 0, ...), of a
    bias (1, 0, ...); what a model's last layer gets is (error, whether it is positive, 1, 0, ...), as far as its U has
    rows; in forward ticks nothing comes from behind. For cross-entropy the error is target - softmax and is positive
    for the label.

    Args:
        name: how tables and messages call it.
        cell: the shared LSTM; as many columns in ``P_f`` as rows in ``V``, in ``P_b`` as in ``U``.
        std: of fresh states.
        card: where it comes from and what it was measured at.
        ticks: ``"native"`` (compiled for the CPU), ``"reference"`` (torch), or ``"auto"``: the first that works.

    Raises:
        ValueError: parts do not fit together; the message names what was expected and what came.
    """

    family: ClassVar[str] = "emergent"
    card_fields: ClassVar[Fields] = {"cell": table(CELL), "std": number(0)}
    readable: ClassVar[bool] = False
    chained: ClassVar[bool] = True
    pace: ClassVar[Pace] = Pace.NONE
    functions: ClassVar[frozenset[str]] = ELEMENTWISE | SHAPING

    name: str
    cell: Cell
    std: float = 0.1
    card: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    ticks: str = "auto"
    lr: float = field(default=1.0, init=False)  # none that could be chosen: feedback comes as the loss gives it
    reach: Reach = field(default_factory=Reach, init=False)  # nothing is known

    def __post_init__(self) -> None:
        self.cell.validate()
        for out, into in (("P_f", "V"), ("P_b", "U")):
            sends, takes = getattr(self.cell, out).shape[-1], getattr(self.cell, into).shape[-2]
            if sends != takes:
                raise ValueError(f"cell.{out} should send as many numbers as {into} takes, {takes}, got {sends}.")
        if not 0 <= self.std < math.inf:
            raise ValueError(f"std should be a finite number of at least 0, got {self.std}.")
        if self.ticks not in TICKS:
            raise ValueError(f"ticks should be one of {', '.join(map(repr, TICKS))}, got {self.ticks!r}.")

    @property
    def units(self) -> int:
        """N, of a synapse."""
        return self.cell.units

    @property
    def size(self) -> int:
        """|V_M|, the number of shared parameters."""
        return self.cell.size

    @property
    def layout(self) -> Layout:
        """All h, then all c."""
        N = self.units
        planes = tuple(Plane(part, unit, 1.0, False) for part in (0, 1) for unit in range(N))
        h, c = (tuple((part * N + unit, 1.0) for unit in range(N)) for part in (0, 1))
        return Layout(planes, (h, c))

    def begin(self, weights: Tensor) -> Tensor:
        """Noise of its own for every layer: ``(G, A, B)`` -> ``(2N, G, A, B)``."""
        return (noise(weights, 2 * self.units) * self.std).to(self.cell.W)

    def forward_tick(self, state: Tensor, m_f: Tensor) -> Tensor:
        """Messages of inputs ``(G, A, M)`` -> messages of outputs ``(G, B, M)``."""
        quiet = m_f.new_zeros(1, state.shape[3], self.cell.U.shape[0]).expand(len(m_f), -1, -1)
        return tick(self.cell, state, m_f, quiet, self.ticks, moves=False).forward

    def learning_tick(self, state: Tensor, m_f: Tensor, m_b: Tensor) -> Ticked:
        """Messages of inputs ``(G, A, M)``, and from behind ``(G, B, M)`` -> the next state, and messages back."""
        return tick(self.cell, state, m_f, m_b, self.ticks)

    def send(self, state: Tensor, x: Tensor | Site) -> list[Tensor]:
        """The forward tick of rows: messages ``(R, G, A, M)`` -> ``(R, G, B, M)``."""
        assert isinstance(x, Tensor)
        sent = [self.forward_tick(rows, m_f) for rows, m_f in self._some(state, x.flatten(0, 1))]
        return [torch.cat(sent).unflatten(0, x.shape[:2])]

    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        """The learning tick: messages from before ``(R, G, A, M)`` and from behind ``(R, G, B, M)`` -> the mean change
        over rows (appendix C of arXiv 2012.14905), and messages back ``(R, G, A, M)``.
        """
        assert isinstance(x, Tensor)
        R, G = x.shape[:2]
        total, back = torch.zeros_like(state), []
        behind = e.flatten(0, 1)
        for rows, m_f in self._some(state, x.flatten(0, 1)):
            own, behind = behind[: len(m_f)], behind[len(m_f) :]
            after = self.learning_tick(rows, m_f, own)
            total = total + (after.state.unflatten(1, (-1, G)) - state.unsqueeze(1)).sum(1)
            back.append(after.backward)
        return Change(total / max(R, 1), R), torch.cat(back).unflatten(0, (R, G)) if back else torch.zeros_like(x)

    def commit(self, state: Tensor, change: Change, told: Told | None = None) -> Tensor:
        """The state after it."""
        return state + change.planes

    def feedback(self, e: Tensor) -> Tensor:
        """``(R, G, B)`` -> (e, e > 0, 1, 0, ...), ``(R, G, B, M)``."""
        parts = [e, (e > 0).to(e), torch.ones_like(e)]
        parts += [torch.zeros_like(e)] * (self.cell.U.shape[0] - len(parts))
        return torch.stack(parts[: self.cell.U.shape[0]], -1)

    def across(self, function: str) -> Across:
        """Shapes are those of messages, too; elementwise functions are none of its business."""
        if function in ELEMENTWISE:
            return Across.LEFT_OUT
        return Across.DERIVATIVE if function in SHAPING else Across.NOT

    def enter(self, x: Tensor) -> Tensor:
        """Numbers as messages: ``(...)`` -> (x, 0, ...), ``(..., M)``."""
        return torch.nn.functional.pad(x.unsqueeze(-1), (0, self.cell.V.shape[0] - 1))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Emergent":
        """The same algorithm with its tensors on ``device`` and in ``dtype``."""
        return replace(self, cell=Cell(*(parameter.to(device, dtype) for parameter in self.cell)))

    def on(self, ticks: str | None = None, tolerance: float | None = None) -> "Emergent":
        """The same algorithm on another tick implementation.

        Raises:
            ValueError: a tolerance is given: its ticks are exact.
        """
        if tolerance is not None:
            raise ValueError(f"{self.name!r} has exact ticks, so there is no tolerance to set, got {tolerance}.")
        return self if ticks is None else replace(self, ticks=ticks)

    def tensors(self) -> dict[str, Tensor]:
        """The cell by name."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.cell._asdict().items()}

    def settings(self) -> dict[str, Any]:
        """Sizes, for readers; and what is not in the tensors."""
        V, U = self.cell.V, self.cell.U
        return {
            "cell": {
                "units": self.units,
                "forward_channels": V.shape[0],
                "backward_channels": U.shape[0],
                "parameters": self.size,
                "dtype": str(V.dtype).removeprefix("torch."),
            },
            "std": self.std,
        }

    @classmethod
    def assemble(cls, card: dict[str, Any], tensors: dict[str, Tensor]) -> "Emergent":
        """From a card and the tensors beside it."""
        cell = Cell(**{name: tensors[name] for name in Cell._fields})
        algorithm = cls(card["name"], cell, float(card["std"]), card)
        agrees("cell", card["cell"], {**card["cell"], **algorithm.settings()["cell"]})
        return algorithm

    def _some(self, state: Tensor, messages: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The state of every row and its messages, as many at a time as fit in memory."""
        G = state.shape[1]
        few = max(1, STATES // max(1, state.numel())) * G
        return [
            (state if G == 1 else state.repeat(1, len(rows) // G, 1, 1), rows)
            for rows in messages.split(few)
            if len(rows)
        ]


def initial(units: int = 16, messages: int = 8, seed: int = 0, forget: float = 3.0) -> Cell:
    """A cell to begin meta-training with: entries of variance 1 / fan-in, a forget gate that is open by ``forget``."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * rows**-0.5

    N, M = units, messages
    b = torch.zeros(4 * N)
    b[N : 2 * N] = forget
    return Cell(draw(N, 4 * N), draw(M, 4 * N), draw(M, 4 * N), b, draw(N, M), draw(N, M))
