"""What is to change, from a backward pass to the step that commits it; it goes where gradients go.

A change is *pending* until somebody looks: then feedback of weights that the loss used directly is learned from as
well, and processes are averaged: it is *merged*. ``.grad`` of a parameter shows it as the gradient of which SGD would
do the same, ``-change / lr``. What the user does with that (clipping, scaling, setting it to None) holds.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.base import Pace
from lightning_vsml.algorithms.change import Change
from lightning_vsml.binding.depths import Depths
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.health import Health, NonFiniteError, is_finite
from lightning_vsml.binding.parameter import GraphError
from lightning_vsml.binding.processes import Mean
from lightning_vsml.binding.rates import Rates
from lightning_vsml.binding.states import States
from lightning_vsml.ticks import Told
from lightning_vsml.ticks.sites import Diagonal


class Changes:
    """By grid.

    Args:
        grids: by name; the dictionary may change.
        states: theirs.
        rates: of their parameters.
        health: what feedback has to be like.
        mean: over processes, where there are several.
    """

    def __init__(
        self, grids: dict[str, Grid], states: States, rates: Rates, health: Health, mean: Mean | None = None
    ) -> None:
        self.grids, self.states, self.rates, self.health, self.mean = grids, states, rates, health, mean
        self.depths = Depths()
        self.pending: dict[str, Change] = {}
        self.merged: dict[str, Change] = {}
        self._shown: dict[int, int] = {}  # parameters whose .grad is merged, and its version
        self._about: set[int] = set()  # parameters that there was feedback for
        self.fed = False  # whether there was some since processes were averaged

    def add(self, name: str, change: Change, trainable: Iterable[bool]) -> None:
        """A call's change; of parameters that are not trainable it is dropped."""
        for parameter, learns in zip(self.grids[name].parameters, trainable, strict=True):
            if learns:
                self._about.add(id(parameter))
            else:
                change.planes[:, :, self.grids[name].rows(parameter)] = 0
        self.pending[name] = self._together(name, self.pending.get(name), change)
        self.fed = True

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """What is to change as a gradient."""
        name, raw = parameter._name, parameter.grad  # type: ignore[attr-defined]
        if self.states.algorithm.chained:
            return raw
        simple = self.mean is None and self.rates.loss_scale == 1.0 and name not in self.pending
        if simple and (name not in self.merged or id(parameter) in self._shown):
            return raw
        self.merge([name])
        known = name in self.merged and id(parameter) in self._about
        if known and id(parameter) not in self._shown and self.rates.of(parameter):
            parameter.grad = shown = self._as_gradient(name, parameter, self.merged[name])
            self._shown[id(parameter)] = shown._version
        return parameter.grad

    def replace(self, parameter: nn.Parameter, gradient: Tensor | None) -> None:
        """``parameter.grad = gradient``: what was to change is not any more."""
        if gradient is not None and gradient is parameter.grad:  # what p.grad *= 2 comes to
            return
        name, rows = parameter._name, self.grids[parameter._name].rows(parameter)  # type: ignore[attr-defined]
        parameter.grad = gradient
        self._shown.pop(id(parameter), None)
        self._about.discard(id(parameter))
        for changes in (self.pending, self.merged):
            if name in changes:
                changes[name].planes[:, :, rows] = 0
                if len(self.grids[name].parameters) == 1 or not changes[name].planes.any():
                    del changes[name]

    def drop(self, names: Iterable[str]) -> None:
        """Forget everything about these grids."""
        for name in names:
            self.pending.pop(name, None)
            self.merged.pop(name, None)
            for parameter in self.grids[name].parameters:
                self._finish(parameter)

    def forget(self, names: set[str]) -> None:
        """Grids that are not there any more."""
        for name in names:
            self.pending.pop(name, None)
            self.merged.pop(name, None)
        self.states.forget(names)
        self.depths.forget(names)
        for name in names:
            self.rates.peaks.pop(name, None)

    def take(self, name: str, wanted: set[int] | None = None) -> tuple[Change, Told | None] | None:
        """The change that a step is to commit, with what the user made of its gradient, and weight decay; and what
        commit ticks are told, where there are some.

        Args:
            name: of the grid.
            wanted: identities of the parameters that it is for; others keep theirs. ``None`` for all.
        """
        self.merge([name])
        grid, change = self.grids[name], self.merged.pop(name, None)
        if change is None:
            return None
        parameters = []
        for parameter in grid.parameters:
            if wanted is None or id(parameter) in wanted:
                parameters.append(parameter)
            else:
                change = self._without(name, change, parameter)
        if self.states.algorithm.chained:
            for parameter in parameters:
                self._finish(parameter)
            return change, None
        algorithm, state = self.states.runs(name), self.states.current(name, thorough=False)
        told = self._told(name, parameters) if algorithm.pace is Pace.COMMIT else None
        fastest = self._fastest(name)
        moves: list[tuple[slice, Tensor, Tensor | None]] = []
        for parameter in parameters:
            rate, decay, rows = self._rate(name, parameter), self.rates.decay(parameter), grid.rows(parameter)
            edited = self._is_edited(parameter)
            decays = decay and id(parameter) in self._about
            if edited or decays or rate != fastest:
                change = Change(change.whole(grid.shape[1]), change.rows)
                before = algorithm.shown(change.planes)[:, rows].clone()
                after = before * (rate / fastest if fastest else 0.0)
                if edited and parameter.grad is not None:
                    after = grid.matrix(parameter, parameter.grad).to(before) * -rate
                decayed = algorithm.decode(state)[:, rows] * -decay if decays else None
                moves.append((rows, after - before, decayed))
            self._finish(parameter)
        for rows, shown, weights in moves:
            algorithm.pushed(change.planes, rows, shown, weights)
        return change, told

    def _told(self, name: str, parameters: list[nn.Parameter]) -> Told:
        """Biases and rates of a grid's inputs, how far these have fallen, and its depth; rates of 0 where there was no
        feedback, and for others than these.
        """
        grid = self.grids[name]
        device, dtype = grid.placement
        rate = torch.zeros(grid.shape[1], device=device, dtype=dtype)
        annealed = torch.ones_like(rate)
        learning = self._about & {id(parameter) for parameter in parameters}
        for place, parameter in enumerate(grid.parameters):
            if id(parameter) in learning:
                rows, now = grid.rows(parameter), self.rates.of(parameter)
                rate[rows] = now / self.rates.own
                annealed[rows] = self.rates.annealed(name, place, now)
        return Told(*grid.biases(rate), rate, annealed, self.depths.of(name))

    def _rate(self, name: str, parameter: nn.Parameter) -> float:
        """What turns a gradient into what a change shows as."""
        return 1.0 if self.states.runs(name).pace is Pace.COMMIT else self.rates.of(parameter)

    def _fastest(self, name: str) -> float:
        return max(self._rate(name, parameter) for parameter in self.grids[name].parameters)

    def _without(self, name: str, change: Change, parameter: nn.Parameter) -> Change:
        """A change without its part for a parameter, which stays merged."""
        rows, whole = self.grids[name].rows(parameter), change.whole(self.grids[name].shape[1])
        kept = torch.zeros_like(whole)
        kept[:, :, rows] = whole[:, :, rows]
        whole[:, :, rows] = 0
        if id(parameter) in self._about:
            self.merged[name] = self._together(name, self.merged.get(name), Change(kept, change.rows))
        return Change(whole, change.rows)

    def _is_edited(self, parameter: nn.Parameter) -> bool:
        """Whether what ``.grad`` shows is not what it was."""
        shown = self._shown.get(id(parameter))
        return shown is not None and (parameter.grad is None or parameter.grad._version != shown)

    def _finish(self, parameter: nn.Parameter) -> None:
        parameter.grad = None
        self._shown.pop(id(parameter), None)
        self._about.discard(id(parameter))

    def merge(self, names: list[str]) -> None:
        """Learn from direct feedback, and average processes (of all grids then, so that all do the same).

        Raises:
            NonFiniteError: direct feedback is not finite; nothing is to change any more.
        """
        if self.mean is not None:
            if not self.fed:
                return
            names = list(self.grids)
        try:
            for name in names:
                self._learn_directly(name)
        except NonFiniteError:
            self.drop(self.grids)
            raise
        if self.mean is None:
            joined = {name: self.pending.pop(name) for name in names if name in self.pending}
        else:
            joined, self.pending, self.fed = self._averaged(names, self.mean), {}, False
        for name, change in joined.items():
            for parameter in self.grids[name].parameters:
                if id(parameter) in self._shown and parameter.grad is not None:
                    edited = self._is_edited(parameter)
                    parameter.grad += self._as_gradient(name, parameter, change)
                    if not edited:
                        self._shown[id(parameter)] = parameter.grad._version
            self.merged[name] = self._together(name, self.merged.get(name), change)

    def _learn_directly(self, name: str) -> None:
        """From ``.grad`` that autograd left: each synapse is fed with x = 1, and with the derivative itself."""
        grid = self.grids[name]
        for parameter in grid.parameters:
            gradient = parameter.grad
            if gradient is None or id(parameter) in self._shown:
                continue
            parameter.grad = None
            if self.states.algorithm.chained:
                raise GraphError(
                    f"the loss depends on a weight of {name!r} itself (a penalty, or a function that is no mapped "
                    f"layer's), but {self.states.algorithm.name!r} learns from messages, not from gradients. Leave "
                    "that out of the loss, or choose an algorithm whose messages are gradients, such as 'backprop'."
                )
            rate = self.rates.of(parameter)
            if not rate:
                continue
            algorithm, state = self.states.runs(name), self.states.current(name, thorough=False)
            gain, fed = self.rates.gain(grid), algorithm.pace is Pace.FEEDBACK
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            e = grid.matrix(parameter, dense).to(state.dtype) * (-(gain if fed else 1.0) / self.rates.loss_scale)
            self._about.add(id(parameter))
            part, n = state[:, :, grid.rows(parameter)], e.numel()
            if algorithm.pace is Pace.COMMIT:  # x = 1 is no input of the layer's, and its mean has no part in it
                part = algorithm.begin(algorithm.decode(part))
            site = Diagonal(e.new_ones(1, n), (n, 1, 1), False, dim=-1)
            if self.rates.loss_scale == 1.0:
                self.health.watch_feedback(name, e)
            finite = is_finite(e)  # infinities of a scaled loss are the scaler's business
            own, _ = algorithm.learn(part.reshape(len(state), n, 1, 1), site, e.reshape(1, n), 1, message=False)
            learned = own.planes * gain if algorithm.pace is Pace.CHANGE else own.planes
            planes = torch.zeros_like(state[: len(learned)])
            planes[:, :, grid.rows(parameter)] = learned.view(-1, *part.shape[1:]) if finite else torch.inf
            self.pending[name] = self._together(name, self.pending.get(name), Change(planes, own.rows))

    def _averaged(self, names: list[str], mean: Mean) -> dict[str, Change]:
        """A layer may have been used by some processes only."""
        if not names:
            return {}
        counts = [float(self.pending[name].rows) if name in self.pending else 0.0 for name in names]
        rows = mean(torch.tensor(counts, device=self.grids[names[0]].placement[0])).tolist()
        joined = {}
        for name, average in zip(names, rows, strict=True):
            if average:
                state, learned = self.states.current(name, thorough=False), self.states.runs(name).layout.learned
                own = self.pending.get(name)
                planes = torch.zeros_like(state[:learned]) if own is None else own.whole(state.shape[2])
                joined[name] = Change(mean(planes.contiguous()), average)
                self._about |= {id(p) for p in self.grids[name].parameters if p.requires_grad}
        return joined

    def _together(self, name: str, one: Change | None, other: Change) -> Change:
        if one is None:
            return other
        if (one.inputs is None) == (other.inputs is None):
            return one.plus(other)
        A = self.grids[name].shape[1]
        return Change(one.whole(A) + other.whole(A), one.rows + other.rows)

    def _as_gradient(self, name: str, parameter: nn.Parameter, change: Change) -> Tensor:
        """What a change does to a parameter, over -lr."""
        grid = self.grids[name]
        moved = self.states.runs(name).shown(change.whole(grid.shape[1]))[:, grid.rows(parameter)]
        scaled = moved * (-self.rates.loss_scale / self._fastest(name))
        return grid.values(parameter, scaled).to(parameter.dtype).contiguous()
