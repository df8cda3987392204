"""A learning algorithm: a cell, the protocol that drives it, and the codec between weights and states.

Pure functions, state in, state out; nothing here knows of modules, of autograd or of Lightning.
"""

import hashlib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.parts import Codec, Protocol, Reach, Stability
from lightning_vsml.ticks import IMPLEMENTATIONS, Cell, Implementation, State, fastest


class Change(NamedTuple):
    """What one or several uses of a grid did to its state; changes of one step add up like gradients.

    Attributes:
        h: summed over rows, ``(G, A, B, N)``.
        c: memory units: mean over samples, sum over positions (or less: see :class:`LearningAlgorithm`, ``positions``);
            other units: sum over rows. Same shape.
        rows: how many rows were summed; over several processes, their mean.
    """

    h: Tensor
    c: Tensor
    rows: float

    def plus(self, other: "Change") -> "Change":
        """Both changes together: what a layer used twice, or two accumulated batches, do."""
        return Change(self.h + other.h, self.c + other.c, self.rows + other.rows)


@dataclass(frozen=True)
class LearningAlgorithm:
    """A weight-readable learning algorithm (V_M and how to run it).

    Args:
        name: how tables and messages call it.
        cell: the shared LSTM; one column in ``P_b``, and in ``P_f`` one for the layer's output and any number for the
            neurons' own messages. For a population of K cells, the groups G of every state are K times as many.
        protocol: the ticks of a learning step.
        codec: weights <-> memories.
        memory: for each of the N units, whether it is a *memory*. A memory's changes add up over the
            positions of a sample (pixels, tokens) as a gradient's do; any other unit is scratch space of a
            single unroll, of which the mean over rows is kept.
        lr: the learning rate of SGD that the untouched cell corresponds to, and the default.
        stability: clipping rules applied when a change is committed.
        reach: magnitudes of input and feedback beyond which the learner warns.
        positions: exponent p. The changes of a memory over the P positions of a sample are summed and divided by P**p:
            0 follows the gradient, 1 is their mean. A rule that chooses the size of its steps itself, as normalised
            ones do, overshoots by their sum where a convolution shares weights between many positions.
        card: where it comes from and what it was measured at (see :mod:`lightning_vsml.checkpoints`).
        ticks: name of the tick implementation, or ``"auto"`` for the fastest.

    Raises:
        ValueError: parts do not fit together; the message names what was expected and what came.
    """

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

    def __post_init__(self) -> None:
        self.cell.validate()
        N = self.cell.units
        for what, have, want in (
            ("codec.encode", tuple(self.codec.encode.shape), (N,)),
            ("codec.decode", tuple(self.codec.decode.shape), (N,)),
            ("memory", (len(self.memory),), (N,)),
            ("cell.P_b", tuple(self.cell.P_b.shape[-2:]), (N, 1)),
        ):
            if have != want:
                raise ValueError(f"{what} should have shape {want} for a cell of {N} units, got {have}.")
        if not self.cell.P_f.shape[-1]:
            raise ValueError(f"cell.P_f should have shape ({N}, 1) or more columns, got {tuple(self.cell.P_f.shape)}.")
        self.codec.validate()
        self.protocol.validate(self.cell)
        if not self.lr > 0:
            raise ValueError(f"lr should be positive, got {self.lr}.")
        if not 0 <= self.positions <= 1:
            raise ValueError(f"positions should be from 0 (sum) to 1 (mean), got {self.positions}.")
        if self.ticks not in (known := ("auto", *IMPLEMENTATIONS)):
            raise ValueError(f"ticks should be one of {', '.join(map(repr, known))}, got {self.ticks!r}.")

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "LearningAlgorithm":
        """The same algorithm with its tensors on ``device`` and in ``dtype``."""
        return replace(
            self,
            cell=Cell(*(parameter.to(device, dtype) for parameter in self.cell)),
            codec=Codec(*(vector.to(device, dtype) for vector in self.codec)),
        )

    def on(self, ticks: str) -> "LearningAlgorithm":
        """The same algorithm on another tick implementation."""
        return replace(self, ticks=ticks)

    def encode(self, weights: Tensor) -> State:
        """Fresh states that stand for ``weights``: ``(G, A, B)`` -> h = 0 and c, ``(G, A, B, N)``."""
        encode = self.codec.encode.view(-1, 1, 1, 1)
        c = (encode * weights.to(encode.dtype)).movedim(0, -1)  # unit by unit in memory, as compiled ticks read it
        return State(torch.zeros_like(c), c)

    def decode(self, state: State) -> Tensor:
        """The weights that ``state`` (G, A, B, N) stands for: ``(G, A, B)``."""
        return state.c @ self.codec.decode

    def overwrite(self, state: State, weights: Tensor) -> State:
        """``state`` moved to stand for ``weights`` (G, A, B); whatever else it remembers is kept.

        Exactly the identity where ``weights`` is what :meth:`decode` gave, in the precision of ``weights``.
        """
        difference = weights - self.decode(state).to(weights.dtype)
        return State(state.h, state.c + self.encode(difference).c)

    def forward(self, state: State, x: Tensor) -> Tensor:
        """A layer's output by the forward ticks: ``x`` (R, G, A) -> ``(R, G, B)``."""
        if not len(x):
            return x.new_zeros(0, state.c.shape[0], state.c.shape[2])
        return self._implementation.forward(state, x).select(-1, 0).contiguous()

    def learn(self, state: State, x: Tensor, e: Tensor, samples: int) -> tuple[Change, Tensor]:
        """The learn ticks; where they feed the neurons' own messages, the forward ticks before, to find those.

        Args:
            state: merged state, ``(G, A, B, N)``.
            x: the layer's input, ``(R, G, A)``.
            e: the feedback at its outputs, ``(R, G, B)``.
            samples: S; rows R = samples times positions.

        Returns:
            The change of the state, and the backward message ``(R, G, A)``. Without rows nothing changes.
        """
        if not len(x):
            return Change(torch.zeros_like(state.h), torch.zeros_like(state.c), 0), torch.zeros_like(x)
        change, message = self._implementation.learn(state, x, e, self._own_messages(state, x))
        positions = max(1.0, len(x) / samples)
        change.c.mul_(self._memory(state.c, positions**-self.positions / samples, 1.0))
        return Change(change.h, change.c, x.shape[0]), message.squeeze(-1)

    def commit(self, state: State, change: Change) -> State:
        """The merged state after a learning step, within the stability rules."""
        if not change.rows:
            return state
        rows = change.rows
        merged = State(change.h / rows, change.c * self._memory(state.c, 1.0, 1.0 / rows))
        return self.stability.settle(state, merged)

    def _own_messages(self, state: State, x: Tensor) -> Tensor | None:
        """What neurons tell their own synapses, ``(R, G, B, O)``: asinh, so linear in small sums, log of large."""
        if not any(step.own for step in self.protocol.learn):
            return None
        return torch.asinh(self._implementation.forward(state, x)[..., 1:])

    @cached_property
    def _implementation(self) -> Implementation:
        with torch.no_grad():  # what it is planned by is no part of a graph: gradient checkpointing would miss it
            codec = torch.stack(list(self.codec)).abs().sum(0).nonzero().flatten().tolist()
            implementation = fastest(self.cell) if self.ticks == "auto" else IMPLEMENTATIONS[self.ticks]
            return implementation(self.cell, *self.protocol, frozenset(codec))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: not the implementation, whose compiled code stays in its process."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def _memory(self, like: Tensor, memory: float, scratch: float) -> Tensor:
        return like.new_tensor([memory if unit else scratch for unit in self.memory])

    def __repr__(self) -> str:
        return f"LearningAlgorithm({self.name!r}, units={self.cell.units}, |V_M|={self.cell.size}, lr={self.lr})"

    @property
    def fingerprint(self) -> str:
        """sha256 over parameters and settings, whatever name, card, device or tick implementation they have."""
        settings = [self.protocol, self.memory, self.lr, self.stability, *([self.positions] if self.positions else [])]
        digest = hashlib.sha256(repr(settings).encode())
        for tensor in (*self.cell, *self.codec):
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
