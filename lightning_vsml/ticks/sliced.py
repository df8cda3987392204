"""What the implementations in torch share: slices of rows, which bound the memory, and populations of cells."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick, carried, carry


class Sliced(ABC):
    """Both phases of a protocol, given how one cell runs them on one slice of rows.

    What backward messages carry, feedback and own messages, comes side by side to each phase: e (R, G, B, C).
    """

    cell: Cell
    forward_ticks: tuple[Tick, ...]
    learn_ticks: tuple[Tick, ...]

    @abstractmethod
    def _forward(self, cell: Cell, state: State, x: Tensor, e: Tensor) -> tuple[Tensor]:
        """The message, as in :meth:`forward`; the feedback ``e`` is 0."""

    @abstractmethod
    def _learn(self, cell: Cell, state: State, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Change of h and of c, and the message, as in :meth:`learn`."""

    @abstractmethod
    def _rows(self, phase: str, state: State) -> int:
        """How many rows to compute at once."""

    def forward(self, state: State, x: Tensor) -> Tensor:
        """Forward message out of every output neuron.

        Args:
            state: the merged state, ``(G, A, B, N)``. In a population of K cells, the first G / K groups belong to
                the first cell, and so on.
            x: the layer's input, ``(R, G, A)``; rows R are samples times positions.

        Returns:
            ``sum_a h_ab P_f``, shape ``(R, G, B, M_f')``: the layer's output, then own messages.
        """
        e = carry(carried(self.forward_ticks), x.new_zeros(*x.shape[:2], state.h.shape[-2]), None)
        rows = self._slices("forward", state, x, e)
        return torch.cat([self._each(self._forward, (1,), state, *few)[0] for few in rows])

    def learn(self, state: State, x: Tensor, e: Tensor, own: Tensor | None = None) -> tuple[State, Tensor]:
        """Learn ticks: how the states change, and the backward message out of every input neuron.

        Args:
            state: the merged state, ``(G, A, B, N)``; every row starts from it.
            x: the layer's input, ``(R, G, A)``.
            e: the feedback at its outputs, ``(R, G, B)``.
            own: the neurons' own messages, ``(R, G, B, O)``, at least as many as the learn ticks feed.

        Returns:
            The change of the state summed over rows, ``(G, A, B, N)`` each for h and c; and the message
            ``sum_b h_ab P_b``, shape ``(R, G, A, M_b')``.
        """
        h, c = torch.zeros_like(state.h), torch.zeros_like(state.c)
        messages = []
        for few in self._slices("learn", state, x, carry(carried(self.learn_ticks), e, own)):
            change_h, change_c, message = self._each(self._learn, (0, 0, 1), state, *few)
            h, c = h + change_h, c + change_c
            messages.append(message)
        return State(h, c), torch.cat(messages)

    def _each(
        self, run: Callable[..., tuple[Tensor, ...]], groups: tuple[int, ...], state: State, x: Tensor, e: Tensor
    ) -> tuple[Tensor, ...]:
        """``run`` for every cell of a population; ``groups`` tells which dimension of each result holds the groups."""
        if not (K := self.cell.population):
            return run(self.cell, state, x, e)
        members = State(*(part.unflatten(0, (K, -1)) for part in state))
        feeds = (feed.unflatten(1, (K, -1)) for feed in (x, e))
        results = torch.vmap(run, in_dims=(0, 0, 1, 1), out_dims=groups)(self.cell, members, *feeds)
        return tuple(result.flatten(dim, dim + 1) for result, dim in zip(results, groups, strict=True))

    def _slices(self, phase: str, state: State, x: Tensor, e: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        rows = max(1, self._rows(phase, state))
        return zip(x.split(rows), e.split(rows), strict=True)
