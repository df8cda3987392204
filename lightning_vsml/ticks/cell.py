"""The shared LSTM (V_M), the synapse states it drives (V_L), and what a tick feeds it."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    """The LSTM states of a synapse grid: one layer's share of V_L.

    Attributes:
        h: outputs, shape ``(..., A, B, N)``; A = fan-in (with the bias row), B = fan-out, N = units.
        c: memories, same shape. Leading dimensions are groups ``(G, A, B, N)`` in a merged state, and
            samples and groups ``(R, G, A, B, N)`` during an unroll.
    """

    h: Tensor
    c: Tensor


class Cell(NamedTuple):
    """The parameters V_M of the shared LSTM, with N units and gates in the order i, f, g, o.

    A population of K cells is one cell whose parameters have a leading dimension K, see :meth:`stack`.

    Attributes:
        W: own state -> gates, ``(N, 4N)``.
        V: forward message (M_f channels) -> gates, ``(M_f, 4N)``.
        U: backward message (M_b channels) -> gates, ``(M_b, 4N)``.
        b: gate biases, ``(4N,)``.
        P_f: h -> forward message out, ``(N, M_f')``: the layer's output, then own messages, which a neuron sends to
            its incoming synapses: M_f' = 1 + O.
        P_b: h -> backward message out, ``(N, M_b')``.
    """

    W: Tensor
    V: Tensor
    U: Tensor
    b: Tensor
    P_f: Tensor
    P_b: Tensor

    @classmethod
    def stack(cls, cells: Iterable["Cell"]) -> "Cell":
        """A population: run with G groups, the first G / K of them belong to the first cell, and so on."""
        return cls(*(torch.stack(parameters) for parameters in zip(*cells, strict=True)))

    @property
    def units(self) -> int:
        """N, the number of LSTM units of a synapse."""
        return self.W.shape[-2]

    @property
    def population(self) -> int | None:
        """K, the number of cells that are stacked in this one; ``None`` for a single one."""
        return self.W.shape[0] if self.W.dim() == 3 else None

    @property
    def size(self) -> int:
        """|V_M|, the number of parameters of the learning algorithm."""
        return sum(parameter.numel() for parameter in self)

    def validate(self) -> None:
        """Check that the shapes fit each other.

        Raises:
            ValueError: names the parameter, the shape expected and the shape found.
        """
        N = self.units
        expected = {
            "W": (N, 4 * N),
            "V": (None, 4 * N),
            "U": (None, 4 * N),
            "b": (4 * N,),
            "P_f": (N, None),
            "P_b": (N, None),
        }
        if self.population is not None:
            expected = {name: (self.population, *shape) for name, shape in expected.items()}
        for (name, shape), parameter in zip(expected.items(), self, strict=True):
            fits = len(shape) == parameter.dim() and all(
                want in (None, have) for want, have in zip(shape, parameter.shape, strict=True)
            )
            if not fits:
                wanted = tuple("any" if size is None else size for size in shape)
                raise ValueError(
                    f"Cell parameter {name} should have shape {wanted} for N = {N} units (W is "
                    f"{tuple(self.W.shape)}), got {tuple(parameter.shape)}. Gates are stored side by side "
                    "in the order i, f, g, o."
                )


class Tick(NamedTuple):
    """One step of a protocol: which message channels are fed; the others see 0.

    Attributes:
        x: channels of the forward message (columns of ``Cell.V``'s input) that carry the layer's input.
        e: channels of the backward message (``Cell.U``'s input) that carry the feedback.
        own: channels of the backward message that carry the neuron's own messages, one for each: ``own[j]`` carries
            column 1 + j of ``Cell.P_f``. In learn ticks only.
    """

    x: tuple[int, ...] = ()
    e: tuple[int, ...] = ()
    own: tuple[int, ...] = ()

    @property
    def backward(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the backward message by what they carry: first the feedback, then each own message."""
        return (self.e, *((channel,) for channel in self.own))

    def __repr__(self) -> str:
        """Own messages only where there are some: fingerprints, which hash it, outlive the field."""
        return f"Tick(x={self.x}, e={self.e}{f', own={self.own}' if self.own else ''})"


class CommitTick(NamedTuple):
    """One step of a commit phase, which all synapses of a grid do once, on the merged state; there are no samples.

    What messages of neurons carry is gathered before the tick: a sum over the neuron's synapses of their h, as its
    asinh, which is linear in small sums and a logarithm of large ones.

    Attributes:
        one: channels of the forward message that carry 1, so that the cell knows which tick it is.
        bias: channels of the forward message that carry 1 to biases, whose input is always 1, and 0 to others.
        plain: channels that carry 1 to synapses that have no bias beside them, or an input without a mean.
        rate: channels of the forward message that carry the logarithm of the learning rate over the algorithm's own.
        annealed: channels that carry the logarithm of the learning rate over its largest value so far.
        depth: channels that carry the logarithm of how many layers the shortest chain through this one has.
        outputs: pairs (j, channel of the backward message): column j of ``Cell.P_f`` summed over an output's synapses.
        inputs: pairs (j, channel of the forward message): column j of ``Cell.P_b`` summed over an input's synapses.
    """

    one: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    plain: tuple[int, ...] = ()
    rate: tuple[int, ...] = ()
    annealed: tuple[int, ...] = ()
    depth: tuple[int, ...] = ()
    outputs: tuple[tuple[int, int], ...] = ()
    inputs: tuple[tuple[int, int], ...] = ()


def carried(ticks: tuple[Tick, ...]) -> int:
    """C, how many different things the backward messages of ``ticks`` carry: feedback and own messages."""
    return max(len(tick.backward) for tick in ticks)


def carry(C: int, e: Tensor, own: Tensor | None) -> Tensor:
    """Feedback (R, G, B) and own messages (R, G, B, O), the first C of them, side by side: ``(R, G, B, C)``.

    Raises:
        ValueError: there are fewer own messages than the ticks feed.
    """
    if C == 1:
        return e.unsqueeze(-1)
    if own is None or own.shape[-1] < C - 1:
        have = 0 if own is None else own.shape[-1]
        raise ValueError(f"own should hold the {C - 1} own messages that the ticks feed, got {have}.")
    return torch.cat([e.unsqueeze(-1), own[..., : C - 1]], -1)
