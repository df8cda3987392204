"""What a cell does as a learning algorithm: states of weights, forward ticks, learn ticks, commit ticks.

Pure functions, state in, state out; nothing here knows of modules, of autograd or of Lightning.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.parts import Codec, Protocol, Stability
from lightning_vsml.algorithms.readout import Readout
from lightning_vsml.ticks import Cell, Implementation, Layout, Site, Told, implementation
from lightning_vsml.ticks.commit.layout import layout_of_commits
from lightning_vsml.ticks.commit.run import Commit
from lightning_vsml.ticks.plan.layout import layout
from lightning_vsml.ticks.products import Products
from lightning_vsml.ticks.sites import Lookup, Rows


class Ticking(Algorithm):
    """How :class:`~lightning_vsml.LearningAlgorithm`, which says what it is made of, runs.

    A grid's state is a tensor of planes, ``(P, G, A, B)``: one for each number of a synapse that has to be kept
    (:attr:`layout`). For a population of K cells, the groups G are K times as many.
    """

    cell: Cell
    protocol: Protocol
    codec: Codec
    memory: tuple[bool, ...]
    stability: Stability
    positions: float
    ticks: str
    fine: bool
    tolerance: float
    gradient: Tensor | None

    @cached_property
    def layout(self) -> Layout:
        """The planes of a state."""
        with torch.no_grad():
            forward, learn, commit = self.protocol
            if commit:
                return layout_of_commits(self.cell, forward, learn, commit, *self.codec, self.memory)
            return layout(self.cell, forward, learn, *self.codec, self.memory)

    def begin(self, weights: Tensor) -> Tensor:
        """Fresh states stand for the layer's weights."""
        return self.encode(weights)

    def encode(self, weights: Tensor) -> Tensor:
        """Fresh states that stand for ``weights``: ``(G, A, B)`` -> ``(P, G, A, B)``."""
        return self._readout.encode(weights.to(self.cell.W.dtype))

    def decode(self, state: Tensor) -> Tensor:
        """The weights that ``state`` (P, G, A, B) stands for: ``(G, A, B)``; where one plane is the weight, a view."""
        return self._readout.decode(state)

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        """``state`` moved to stand for ``weights`` (G, A, B); whatever else it remembers is kept.

        Exactly the identity where ``weights`` is what :meth:`decode` gave, in the precision of ``weights``.
        """
        return self._readout.overwrite(state, weights)

    def send(self, state: Tensor, x: Tensor | Site) -> list[Tensor]:
        """What the forward ticks send out: the layer's output, then the neurons' own messages.

        Args:
            state: merged state, ``(P, G, A, B)``.
            x: where the grid is used; or the layer's input as rows, ``(R, G, A)``.

        Returns:
            Each in the layout of outputs; of rows ``(R, G, B)``.
        """
        site = self._site(state, x)
        if not site.rows:
            return [site.x.new_zeros(site.output_shape)] * self.cell.P_f.shape[-1]
        return self._implementation.forward(site.select(state), site)

    def forward(self, state: Tensor, x: Tensor | Site) -> Tensor:
        """A layer's output by the forward ticks: of rows ``(R, G, A)``, ``(R, G, B)``."""
        return self.send(state, x)[0].contiguous()

    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        """The learn ticks; where they feed the neurons' own messages, the forward ticks before, to find those.

        Args:
            state: merged state, ``(P, G, A, B)``.
            x: where the grid is used; or the layer's input as rows, ``(R, G, A)``.
            e: the feedback at its outputs, in their layout; for rows ``(R, G, B)``.
            samples: S; rows R = samples times positions.
            sent: what :meth:`send` gave for this state and input, if it is still there.
            message: whether anybody wants the backward message; if not, it may be empty.

        Returns:
            The change of the state, and the backward message in the layout of x. Without rows nothing changes.
        """
        site = self._site(state, x)
        if not site.rows:
            return Change(torch.zeros_like(state[: self.layout.learned]), 0), torch.zeros_like(site.x)
        kept = site.select(state)
        own: list[Tensor] = []
        if any(step.own for step in self.protocol.learn):  # asinh: linear in small sums, logarithm of large ones
            sent = self._implementation.forward(kept, site) if sent is None else sent
            own = [torch.asinh(message) for message in sent[1:]]
        positions = max(1.0, site.rows / samples)
        scales = [positions**-self.positions / samples if memory else 1.0 for memory in self._memories]
        changes, back = self._implementation.learn(kept, site, e, own, scales, message)
        inputs = site.occurring if isinstance(site, Lookup) else None
        return Change(changes, site.rows, inputs), back

    def commit(self, state: Tensor, change: Change, told: Told | None = None) -> Tensor:
        """The merged state after a learning step, within the stability rules, and after the commit ticks.

        Uses up ``change``; and ``state``, where only some of its inputs changed.
        """
        if not change.rows:
            return state
        if change.inputs is not None and self.stability == Stability() and all(self._memories) and self._commit is None:
            return state.index_add_(2, change.inputs, change.planes)
        moved = change.whole(state.shape[2])
        if not all(self._memories):
            shares = moved.new_tensor([1.0 if memory else 1 / change.rows for memory in self._memories])
            moved = moved * shares.view(-1, 1, 1, 1) if moved.requires_grad else moved.mul_(shares.view(-1, 1, 1, 1))
        learned = self.layout.learned
        scales = [abs(plane.scale) for plane in self.layout.planes[:learned]]
        merged = self.stability.settle(state[:learned], moved, scales)
        if self._commit is None:
            return merged
        told = Told.of(state.shape[2], state) if told is None else told
        still = told.rate == 0
        if bool(still.all()):
            return state
        after = self._commit([*merged, *state[learned:]], told.moving())
        if bool(still.any()):
            after[:, :, still] = state[:, :, still]
        return after

    def shown(self, change: Tensor) -> Tensor:
        """As :meth:`Algorithm.shown`."""
        return self._readout.shown(change)

    def pushed(self, change: Tensor, rows: slice, shown: Tensor, weights: Tensor | None) -> None:
        """As :meth:`Algorithm.pushed`."""
        self._readout.push(change, rows, shown, weights)

    def history(self) -> dict[str, Any]:
        """What the next step depends on besides states: the latest plans of products, as plain values."""
        running = self._implementation
        return running.history() if isinstance(running, Products) else {}

    def go_on(self, history: Mapping[str, Any]) -> None:
        """Continue with the plans of a :meth:`history`: a run that is resumed then rounds as it would have."""
        running = self._implementation
        if isinstance(running, Products) and history:
            running.go_on(history)

    def exact_calls(self) -> tuple[int, str]:
        """How many calls took exact ticks because products would not have kept the tolerance, and why the last did."""
        running = self._implementation
        return (running.exact_calls, running.reason) if isinstance(running, Products) else (0, "")

    def _site(self, state: Tensor, x: Tensor | Site) -> Site:
        G, A, B = state.shape[1:]
        site = x if isinstance(x, Site) else Rows(x, (G, A, B))
        return site.dense() if isinstance(site, Lookup) and not self._is_silent(state, site) else site

    def _is_silent(self, state: Tensor, site: Lookup) -> bool:
        """Whether inputs that are 0 neither send nor change anything."""
        known = vars(self).get("_silent")
        if known is None:
            running = self._implementation
            known = isinstance(running, Products) and bool(site.rows) and running.is_silent(site.select(state), site)
            vars(self)["_silent"] = known
        return known

    @cached_property
    def _readout(self) -> Readout:
        return Readout.of(self.layout, self.codec.decode, self.gradient)

    @cached_property
    def _memories(self) -> tuple[bool, ...]:
        """Of planes that learn ticks change."""
        planes = self.layout.planes[: self.layout.learned]
        return tuple(plane.part == 1 and self.memory[plane.unit] for plane in planes)

    @property
    def _told_inputs(self) -> set[int]:
        """Columns of P_b that commit ticks read."""
        return {column for step in self.protocol.commit for column, _ in step.inputs}

    @cached_property
    def _commit(self) -> Commit | None:
        """The commit phase, if there is one."""
        if not self.protocol.commit:
            return None
        exact = torch.float64 if self.fine else None
        return Commit(self.cell, self.protocol.commit, self.layout, self.tolerance, exact)

    @cached_property
    def _implementation(self) -> Implementation:
        with torch.no_grad():  # what it is planned by is no part of a graph: gradient checkpointing would miss it
            codec = torch.stack(list(self.codec)).abs().sum(0).nonzero().flatten().tolist()
            own = max(len(step.own) for step in self.protocol.learn)
            told = self.cell.P_f.shape[-1] if not self.protocol.commit else 1 + own  # the others are of commit ticks
            cell = self.cell._replace(P_f=self.cell.P_f[..., :told], P_b=self.cell.P_b[..., :1])
            return implementation(
                self.ticks,
                cell if self.protocol.commit else self.cell,
                self.protocol.forward,
                self.protocol.learn,
                frozenset(codec) if not self.protocol.commit else self.layout.kept,
                self.layout,
                tolerance=self.tolerance,
                exact=torch.float64 if self.fine else None,
            )
