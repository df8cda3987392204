"""What a model's own calls come to: forward ticks on the way there, learn ticks on the way back."""

from typing import Any

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Pace
from lightning_vsml.binding import chain
from lightning_vsml.binding.call import MappedCall, Use
from lightning_vsml.binding.changes import Changes
from lightning_vsml.binding.gradients import Gradients
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.health import NonFiniteError, is_finite
from lightning_vsml.binding.measure import Measurements
from lightning_vsml.binding.parameter import GraphError
from lightning_vsml.ticks import Site


class Passes:
    """Passes through a model: one begins with the first call after something was learned or committed, or with the
    layer that the last one began with.

    Args:
        changes: where what is learned goes.
        by_ticks: whether forward ticks compute outputs, or the decoded weights.

    Attributes:
        measurements: what to note of this step, if anything.
        gradients: what differentiates in place of learning, if anything.
        reached: grids that feedback has reached.
        exact_ticks: grids that took exact ticks in this pass, and why.
    """

    def __init__(self, changes: Changes, by_ticks: bool) -> None:
        self.changes, self.by_ticks = changes, by_ticks
        self.measurements: Measurements | None = None
        self.gradients: Gradients | None = None
        self.reached: set[str] = set()
        self.exact_ticks: dict[str, str] = {}
        with torch.enable_grad():
            self._anchor = torch.zeros((), requires_grad=True)
            self._node = torch.autograd.graph.get_gradient_edge(self._anchor).node
        self._samples, self._new = 1, True  # S of the pass that is going on; whether the next call begins another
        self._first = ""  # the grid that it began with
        self._seen: set[str] = set()  # grids whose weights were looked at in it

    def begins(self, name: str) -> bool:
        """Whether a call of this grid begins a pass; one that is computed again on the way back does not."""
        return (self._new or name == self._first) and torch._C._current_graph_task_id() == -1

    def end(self) -> None:
        """What comes next is another pass."""
        self._new = True

    def call(self, name: str, grid: Grid, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The function that uses a grid, by ticks, with its arguments.

        Raises:
            TypeError, ValueError, IndexError: the input is none of this layer; the message names it.
        """
        args = args or (kwargs.pop("input" if "input" in kwargs else "input1"),)
        x = args[0]
        try:
            grid.check(x)
        except (TypeError, ValueError, IndexError) as error:
            raise type(error)(f"layer {name!r}: {error}") from None
        if self._new:
            self.changes.depths.begin()
        if self.begins(name):
            self._samples, self._first, self._new = max(1, grid.samples(*args, **kwargs)), name, False
            self._seen, self.exact_ticks = set(), {}
        states = self.changes.states
        use = Use(
            name,
            grid,
            states.runs(name),
            states.current(name, thorough=name not in self._seen),
            tuple(parameter.requires_grad for parameter in grid.parameters),
            self._samples,
            self._learn,
            self.by_ticks,
            self._learn_messages,
        )
        self._seen.add(name)

        def run(site: Site) -> Tensor:
            y = MappedCall.apply(site.x, self._anchor, site, use)
            if use.algorithm.pace is Pace.COMMIT:
                self.changes.depths.called(name, grid, site.x, y)
            return y

        dtype = grid.output_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            if use.algorithm.chained:
                return chain.call(self, use, name == self._first, dtype, args, kwargs)
            wide = x.to(use.state.dtype) if x.is_floating_point() else x
            return grid.call(run, wide, *args[1:], **kwargs).to(dtype)

    def _learn(self, use: Use, site: Site, own: list[Tensor] | None, g: Tensor, wanted: bool) -> Tensor | None:
        """The way back through a use: learn ticks; returns dLoss/dInput."""
        if self.gradients is not None:
            return self.gradients.learn(use, site, g, wanted)
        self.changes.depths.read()
        algorithm, rates = use.algorithm, self.changes.rates
        gain = rates.gain(use.grid)
        fed = algorithm.pace is Pace.FEEDBACK
        scale = use.samples * ((gain or 1.0) if fed else 1.0) / rates.loss_scale  # with a gain of 0 messages still flow
        exact, _ = algorithm.exact_calls()
        e = g.to(use.state.dtype) * -scale  # e = -S dLoss/dy, times the gain
        needed = wanted or (self.measurements is not None and self.measurements.cosines)
        sent = None if own is None else [g, *own]  # of what was sent only what neurons told themselves counts
        change, message = algorithm.learn(use.state, site, e, use.samples, sent, needed)
        if algorithm.pace is Pace.CHANGE and gain != 1:
            change.planes.mul_(gain)
        now, reason = algorithm.exact_calls()
        if now > exact:
            self.exact_ticks[use.name] = reason
        self.end()
        if torch._C._will_engine_execute_node(self._node):  # else autograd.grad, which is nobody's learning
            self._note(use, site, e, message, change, bool(gain))
        return message / -scale if wanted else None

    def _learn_messages(
        self,
        use: Use,
        site: Site,
        inputs: Tensor | None,
        sent: list[Tensor],
        m: Tensor | None,
        g: Tensor | None,
        wanted: bool,
    ) -> Tensor:
        """The way back through a use by messages of the algorithm's own, as rows; returns the messages back."""
        behind = m
        if behind is None:  # nothing was sent: it is the model's last layer, and this is dLoss/dOutput
            assert g is not None
            try:
                behind = use.algorithm.feedback(g * (-use.samples / self.changes.rates.loss_scale))
            except ValueError as error:
                raise GraphError(f"layer {use.name!r}: {error}") from None
        change, back = use.algorithm.learn(
            use.state, site if inputs is None else inputs, behind, use.samples, sent, wanted
        )
        gain = self.changes.rates.gain(use.grid) if use.algorithm.pace is Pace.CHANGE else 1.0
        if gain != 1:
            change.planes.mul_(gain)
        self.end()
        if torch._C._will_engine_execute_node(self._node):
            self._note(use, site, behind, back, change, bool(gain))
        return back

    def _note(self, use: Use, site: Site, e: Tensor, message: Tensor, change: Any, learns: bool) -> None:
        """Keep what a way back gave."""
        if self.changes.rates.loss_scale == 1.0:
            try:
                self.changes.health.watch(use.name, site, e, site.select(use.state), change)
            except NonFiniteError:
                self.changes.drop(self.changes.grids)
                raise
        elif not is_finite(e):  # which a cell that saturates would hide from the scaler
            change.planes.fill_(torch.inf)
        self.reached.add(use.name)
        if self.measurements is not None:
            self.measurements.learned(use.name, use.algorithm, use.state, site, e, message)
        if learns:
            self.changes.add(use.name, change, use.trainable)

    def commit(self, name: str, wanted: set[int] | None) -> bool:
        """Commit what is to change of a grid, see :meth:`Changes.take`; whether there was anything."""
        taken = self.changes.take(name, wanted)
        if taken is None:
            return False
        change, told = taken
        states, measurements = self.changes.states, self.measurements
        algorithm, old = states.runs(name), states.current(name, thorough=False)
        self.reached.add(name)
        if measurements is None:
            states.commit(name, change, told)
            return True
        before = (algorithm.decode(old) if algorithm.readable else old).clone()
        measurements.compared(name, algorithm, old, change, told)
        new, weights = states.commit(name, change, told)
        measurements.committed(name, new, weights - before)
        return True
