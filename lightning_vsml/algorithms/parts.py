"""What a learning algorithm is made of, besides its cell."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.cards import Fields, Optional, list_of, number, or_null, table, whole
from lightning_vsml.ticks import Cell, CommitTick, Tick

_CHANNELS = list_of(whole(0))
_PAIRS = list_of(list_of(whole(0), 2, 2))
_COMMIT_TICK: Fields = {
    name: Optional(_PAIRS if name in ("outputs", "inputs") else _CHANNELS) for name in CommitTick._fields
}
_TICK: Fields = {"x": _CHANNELS, "e": _CHANNELS, "own": Optional(_CHANNELS)}
PROTOCOL: Fields = {
    "forward": list_of(table(_TICK), 1),
    "learn": list_of(table(_TICK), 1),
    "commit": Optional(list_of(table(_COMMIT_TICK))),
}
"""Fields of a :class:`Protocol` in a card."""
STABILITY: Fields = dict.fromkeys(("state_clip", "change_clamp"), Optional(or_null(number(above=0))))
"""Fields of :class:`Stability`."""
REACH: Fields = dict.fromkeys("xew", Optional(number(above=0)))
"""Fields of :class:`Reach`."""


class Protocol(NamedTuple):
    """What happens in a learning step.

    Attributes:
        forward: ticks that turn a layer's input into its output, from the merged state.
        learn: ticks that turn input and feedback into a state change and the backward message. They
            start from the merged state too, so that no state per sample outlives a call; an algorithm
            that needs the state after the forward ticks repeats them here. They may feed neurons' own messages:
            sums over incoming synapses after the forward ticks, their asinh (arXiv 2012.14905, eq. 11).
        commit: ticks that all synapses do once on the merged state, after changes were averaged over samples: what is
            not linear in them (an RMS, momentum, a step size) has its place here. Most algorithms have none.
    """

    forward: tuple[Tick, ...]
    learn: tuple[Tick, ...]
    commit: tuple[CommitTick, ...] = ()

    def __repr__(self) -> str:
        """Commit ticks only where there are some: fingerprints, which hash it, outlive the field."""
        commit = f", commit={self.commit}" if self.commit else ""
        return f"Protocol(forward={self.forward}, learn={self.learn}{commit})"

    def settings(self) -> dict[str, Any]:
        """As JSON; phases without ticks are left out."""
        return {phase: [step._asdict() for step in steps] for phase, steps in self._asdict().items() if steps}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Protocol":
        """The inverse of :meth:`settings`."""

        def feeds(kind: Any, step: Mapping[str, Any]) -> Any:
            fed = {name: tuple(tuple(at) if isinstance(at, list) else at for at in step[name]) for name in step}
            return kind(**fed)

        phases = {"forward": Tick, "learn": Tick, "commit": CommitTick}
        return cls(*(tuple(feeds(kind, step) for step in settings.get(phase, ())) for phase, kind in phases.items()))

    def validate(self, cell: Cell) -> None:
        """Check that each phase has ticks, and feeds channels and own messages that the cell has.

        Raises:
            ValueError: names the phase, and what was expected and found.
        """
        messages = cell.P_f.shape[-1] - 1
        for phase, steps in (("forward", self.forward), ("learn", self.learn)):
            if not steps:
                raise ValueError(f"protocol.{phase} should hold at least one tick, got none.")
            for step in steps:
                for channels, parameter in ((step.x, cell.V), (step.e, cell.U), (step.own, cell.U)):
                    if not all(0 <= channel < parameter.shape[-2] for channel in channels):
                        raise ValueError(
                            f"protocol.{phase} feeds channels {channels}, but the cell has only channels 0 to "
                            f"{parameter.shape[-2] - 1}."
                        )
                if step.own and phase == "forward":
                    raise ValueError(
                        "protocol.forward should feed no own messages, which are only known after it; it feeds some "
                        f"on channels {step.own}. Feed them in protocol.learn."
                    )
                if len(step.own) > messages:
                    raise ValueError(
                        f"protocol.{phase} feeds {len(step.own)} own messages, but the cell has only {messages}: the "
                        "columns of P_f but the first."
                    )
        for last in self.commit:
            told = (*last.one, *last.bias, *last.plain, *last.rate, *last.annealed, *last.depth)
            fed = (
                (told, cell.V.shape[-2], "forward channel"),
                ([channel for _, channel in last.inputs], cell.V.shape[-2], "forward channel"),
                ([channel for _, channel in last.outputs], cell.U.shape[-2], "backward channel"),
                ([column for column, _ in last.outputs], cell.P_f.shape[-1], "column of P_f"),
                ([column for column, _ in last.inputs], cell.P_b.shape[-1], "column of P_b"),
            )
            for places, size, what in fed:
                if not all(0 <= place < size for place in places):
                    raise ValueError(
                        f"protocol.commit names {what} {', '.join(map(str, places))}, but the cell has only 0 to "
                        f"{size - 1}."
                    )


class Codec(NamedTuple):
    """Linear map between a weight and the memory c of its synapse.

    Attributes:
        encode: weight -> c, ``(N,)``.
        decode: c -> weight, ``(N,)``; ``decode @ encode`` is 1.
    """

    encode: Tensor
    decode: Tensor

    def validate(self) -> None:
        """Check that a weight survives.

        Raises:
            ValueError: ``decode @ encode`` is not 1.
        """
        round_trip = float(self.decode.detach().double() @ self.encode.detach().double())
        if not abs(round_trip - 1) < 1e-5:
            raise ValueError(
                f"codec.decode @ codec.encode should be 1, so that a weight survives; got {round_trip:.6g}."
            )


class Stability(NamedTuple):
    """The stability rules of the paper's appendix C; ``None`` turns a rule off.

    Attributes:
        state_clip: states are clipped to ± this value (paper: 4).
        change_clamp: a merged change is clamped to ± this value (paper: 1).
    """

    state_clip: float | None = None
    change_clamp: float | None = None

    def settle(self, state: Tensor, change: Tensor, scales: Sequence[float]) -> Tensor:
        """``state`` after ``change`` (P, G, A, B), of which a merged step may consist; overwrites ``change``.

        Args:
            state: the planes before.
            change: of them.
            scales: of what the rules are about, h or c, over the planes.
        """
        if (clamp := self.change_clamp) is not None:
            change = _within(change, clamp, scales)
        after = change + state if change.requires_grad else change.add_(state)  # large layers feel every further copy
        return after if self.state_clip is None else _within(after, self.state_clip, scales)


def _within(planes: Tensor, limit: float, scales: Sequence[float]) -> Tensor:
    limits = planes.new_tensor([limit / scale for scale in scales]).view(-1, *[1] * (planes.dim() - 1))
    return torch.clamp(planes, -limits, limits)


class Reach(NamedTuple):
    """Up to which magnitudes an algorithm does what it is made for; ``inf`` where nothing is known.

    Attributes:
        x: of a layer's inputs.
        e: of the feedback.
        w: of weights.
    """

    x: float = math.inf
    e: float = math.inf
    w: float = math.inf

    def finite(self) -> dict[str, float]:
        """What is known, as JSON, which has no infinity."""
        return {what: limit for what, limit in self._asdict().items() if math.isfinite(limit)}
