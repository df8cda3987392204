"""A learning algorithm: a cell, the protocol that drives it, and the codec between weights and states; how it runs is
in :mod:`~lightning_vsml.algorithms.ticking`.
"""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Pace, family
from lightning_vsml.algorithms.cards import CELL, Fields, Optional, agrees, flag, list_of, number, table
from lightning_vsml.algorithms.parts import PROTOCOL, REACH, STABILITY, Codec, Protocol, Reach, Stability
from lightning_vsml.algorithms.ticking import Ticking
from lightning_vsml.ticks import IMPLEMENTATIONS, Cell

TOLERANCE = 1e-6


@family
@dataclass(frozen=True)
class LearningAlgorithm(Ticking):
    """A weight-readable learning algorithm (V_M and how to run it).

    Args:
        name: how tables and messages call it.
        cell: the shared LSTM; one column in ``P_b``, and in ``P_f`` one for the layer's output and any number for the
            neurons' own messages.
        protocol: the ticks of a learning step.
        codec: weights <-> memories.
        memory: for each of the N units, whether it is a *memory*. A memory's changes add up over the
            positions of a sample (pixels, tokens) as a gradient's do; any other unit is scratch space of a
            single unroll, of which the mean over rows is kept.
        lr: the learning rate of SGD that the untouched cell corresponds to, and the default.
        stability: clipping rules applied when a change is committed.
        reach: magnitudes of input, feedback and weights beyond which the learner warns.
        positions: exponent p. The changes of a memory over the P positions of a sample are summed and divided by P**p:
            0 follows the gradient, 1 is their mean. A rule that chooses the size of its steps itself, as normalised
            ones do, overshoots by their sum where a convolution shares weights between many positions.
        card: where it comes from and what it was measured at (see :mod:`lightning_vsml.algorithms.checkpoints`).
        ticks: name of the tick implementation, or ``"auto"`` for the fastest.
        fine: its constants are so fine that ticks which are not products are run in float64.
        tolerance: relative error that ticks as products may have.
        gradient: where there are commit ticks, ``(N,)``: changes of c -> minus the gradient of a weight.

    Raises:
        ValueError: parts do not fit together; the message names what was expected and what came.
    """

    family: ClassVar[str] = "cellular"
    card_fields: ClassVar[Fields] = {
        "cell": table(CELL),
        "protocol": table(PROTOCOL),
        "memory": list_of(flag, 1),
        "lr": number(above=0),
        "stability": table(STABILITY),
        "reach": table(REACH),
        "positions": Optional(number(0, 1)),
        "fine": Optional(flag),
        "tolerance": Optional(number(above=0, below=1)),
    }
    readable: ClassVar[bool] = True

    name: str
    cell: Cell
    protocol: Protocol
    codec: Codec
    memory: tuple[bool, ...]
    lr: float
    stability: Stability = field(default_factory=Stability)
    reach: Reach = field(default_factory=Reach)
    positions: float = 0.0
    card: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    ticks: str = "auto"
    fine: bool = False
    tolerance: float = TOLERANCE
    gradient: Tensor | None = None

    def __post_init__(self) -> None:
        self.cell.validate()
        N = self.cell.units
        for what, have, want in (
            ("codec.encode", tuple(self.codec.encode.shape), (N,)),
            ("codec.decode", tuple(self.codec.decode.shape), (N,)),
            ("memory", (len(self.memory),), (N,)),
            ("cell.P_b", tuple(self.cell.P_b.shape[-2:]), (N, 1 + len(self._told_inputs))),
        ):
            if have != want:
                raise ValueError(f"{what} should have shape {want} for a cell of {N} units, got {have}.")
        if not self.cell.P_f.shape[-1]:
            raise ValueError(f"cell.P_f should have shape ({N}, 1) or more columns, got {tuple(self.cell.P_f.shape)}.")
        self.codec.validate()
        self.protocol.validate(self.cell)
        if (self.gradient is None) is not (not self.protocol.commit):
            raise ValueError("gradient should be given where the protocol has commit ticks, and only there.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr should be positive and finite, got {self.lr}.")
        if not 0 <= self.positions <= 1:
            raise ValueError(f"positions should be from 0 (sum) to 1 (mean), got {self.positions}.")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance should be between 0 and 1, got {self.tolerance}.")
        if self.ticks not in (known := ("auto", *IMPLEMENTATIONS)):
            raise ValueError(f"ticks should be one of {', '.join(map(repr, known))}, got {self.ticks!r}.")

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "LearningAlgorithm":
        """The same algorithm with its tensors on ``device`` and in ``dtype``."""
        return replace(
            self,
            cell=Cell(*(parameter.to(device, dtype) for parameter in self.cell)),
            codec=Codec(*(vector.to(device, dtype) for vector in self.codec)),
            gradient=None if self.gradient is None else self.gradient.to(device, dtype),
        )

    def on(self, ticks: str | None = None, tolerance: float | None = None) -> "LearningAlgorithm":
        """The same algorithm on another tick implementation, or with another tolerance."""
        return replace(
            self,
            ticks=self.ticks if ticks is None else ticks,
            tolerance=self.tolerance if tolerance is None else tolerance,
        )

    @property
    def pace(self) -> Pace:  # type: ignore[override]
        """Commit ticks are told the learning rate."""
        return Pace.COMMIT if self.protocol.commit else Pace.FEEDBACK

    @property
    def units(self) -> int:
        """N, of a synapse."""
        return self.cell.units

    @property
    def size(self) -> int:
        """|V_M|, the number of shared parameters."""
        return self.cell.size

    def validate(self) -> None:
        """A model runs one cell.

        Raises:
            ValueError: this is a population.
        """
        if self.cell.population is not None:
            raise ValueError(
                f"A model runs one cell, got a population of {self.cell.population}: choose one, "
                "Cell(*(parameter[k] for parameter in algorithm.cell))."
            )

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: not the implementation, whose compiled code stays in its process."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def __repr__(self) -> str:
        return f"LearningAlgorithm({self.name!r}, units={self.cell.units}, |V_M|={self.cell.size}, lr={self.lr})"

    def tensors(self) -> dict[str, Tensor]:
        """Cell and codec by name."""
        parts = {**self.cell._asdict(), **self.codec._asdict()}
        if self.gradient is not None:
            parts["gradient"] = self.gradient
        return {name: tensor.detach().cpu().contiguous() for name, tensor in parts.items()}

    def settings(self) -> dict[str, Any]:
        """How to run them, as JSON."""
        return {
            "cell": {
                "units": self.cell.units,
                "forward_channels": self.cell.V.shape[0],
                "backward_channels": self.cell.U.shape[0],
                "parameters": self.cell.size,
                "nonzero_parameters": sum(int(parameter.count_nonzero()) for parameter in self.cell),
                "dtype": str(self.cell.W.dtype).removeprefix("torch."),
            },
            "protocol": self.protocol.settings(),
            "memory": list(self.memory),
            "lr": self.lr,
            "stability": self.stability._asdict(),
            "reach": self.reach.finite(),
            "positions": self.positions,
            "fine": self.fine,
            "tolerance": self.tolerance,
        }

    @classmethod
    def assemble(cls, card: dict[str, Any], tensors: dict[str, Tensor]) -> "LearningAlgorithm":
        """From a card and the tensors beside it."""
        algorithm = cls(
            name=card["name"],
            cell=Cell(**{name: tensors[name] for name in Cell._fields}),
            protocol=Protocol.of(card["protocol"]),
            codec=Codec(**{name: tensors[name] for name in Codec._fields}),
            memory=tuple(card["memory"]),
            lr=float(card["lr"]),
            stability=Stability(**card["stability"]),
            reach=Reach(**card["reach"]),
            positions=float(card.get("positions", 0.0)),
            fine=card.get("fine", False),
            tolerance=float(card.get("tolerance", TOLERANCE)),
            gradient=tensors.get("gradient"),
            card=card,
        )
        agrees("cell", card["cell"], algorithm.settings()["cell"])
        return algorithm

    @property
    def fingerprint(self) -> str:
        """As of version 0.1, so that its runs can be resumed."""
        positions = [self.positions] if self.positions else []
        return self._digest([self.protocol, self.memory, self.lr, self.stability, *positions])
