"""The user's module <-> synapse grids.

During a training step each mapped layer's output comes from the forward ticks and enters the user's code as a
fresh leaf, so autograd sees only the glue between layers. :meth:`Bridge.sweep` goes through the recorded calls in
reverse: glue turns the loss into feedback at a layer's outputs, learn ticks turn that into a state change and a
backward message, glue carries the message to the layers before. No gradient passes a weight.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.old_states import planes_of
from lightning_vsml.binding.gradients import true_gradients
from lightning_vsml.binding.health import Health
from lightning_vsml.binding.mapping import map_layers
from lightning_vsml.binding.marks import Marks
from lightning_vsml.binding.measure import Measurements
from lightning_vsml.binding.tape import Call, Tape
from lightning_vsml.ticks import Site
from lightning_vsml.ticks.sites import empty_grid

FORWARD = ("cell", "module")


class Bridge:
    """A model bound to a learning algorithm for the duration of a fit.

    Args:
        model: the user's module, on its device.
        algorithm: how the synapses run.
        unmapped: what to do with parameters no mapped layer owns; see
            :func:`~lightning_vsml.binding.mapping.map_layers`.
        forward: ``"cell"`` computes layers by forward ticks, ``"module"`` by the layers themselves.
        states: as :meth:`state_dict` gave them, to continue from; layers without are encoded from their weights.

    Raises:
        MappingError: the model cannot be mapped.
        ValueError: ``states`` do not fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        algorithm: LearningAlgorithm,
        *,
        unmapped: str = "error",
        forward: str = "cell",
        states: dict[str, dict[str, Tensor]] | None = None,
    ) -> None:
        self.model = model
        self.mapping = map_layers(model, unmapped)
        self.grids = self.mapping.grids
        self.forward_by = forward
        self.algorithm = algorithm
        moved = {placement: algorithm.to(*placement) for placement in map(self._placement, self.grids)}
        self.algorithms = {name: moved[self._placement(name)] for name in self.grids}
        self.states = self._place(states or {})
        self.pending: dict[str, Change] = {}
        self.tape = Tape()
        self.measurements: Measurements | None = None
        self.to_optimizer = set(self.mapping.unmapped) if unmapped == "optimizer" else set()
        self.reached: set[str] = set()  # layers that feedback has reached
        self.beyond_reach: set[tuple[str, str]] = set()  # (input or feedback, layer) beyond the algorithm's reach
        self.exact_ticks: dict[str, str] = {}  # layers that took exact ticks in the last step, and why
        self._seen: dict[str, Marks] = {}
        self.used_directly: set[str] = set()  # layers whose weights a loss used outside of the layer's calls

    @property
    def live(self) -> list[str]:
        """Names of the mapped layers that are trainable now."""
        return [name for name, grid in self.grids.items() if grid.layer.weight.requires_grad]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within, mapped layers run by their states."""
        self.tape = Tape()
        self._read_weights(self.live)
        with self._substituted(self._forward), _eager():
            yield

    def sweep(self, loss: Tensor, gain: float, step: int) -> None:
        """Turn a loss into pending state changes, and the tape back to the first layer.

        Args:
            loss: scalar, as the user's step gave it.
            gain: factor on the feedback: learning rate over the algorithm's own.
            step: named in error messages.

        Raises:
            GraphError: the loss does not depend on a mapped layer.
            NonFiniteError: loss, feedback or change; no change is pending from this call.
        """
        tape, self.tape = self.tape, Tape()
        self.exact_ticks = {}
        with self._substituted(tape.replay):
            self._sweep(tape, loss, gain, step)
        self._drop_gradients()

    def _sweep(self, tape: Tape, loss: Tensor, gain: float, step: int) -> None:
        samples = max(1, self.grids[tape.calls[0].name].samples(tape.calls[0].x)) if tape.calls else 1
        scale = samples * (gain or 1.0)  # with a gain of 0 messages still flow, and changes are dropped
        health = Health(self.algorithm.reach)
        gradients = self._gradients(tape, loss)
        changes: dict[str, Change] = {}
        for call in tape.reverse(loss):
            site, e, change = self._learn(call, scale, samples)
            health.watch(call.name, site, e, site.select(self.states[call.name]), change)
            changes[call.name] = changes[call.name].plus(change) if call.name in changes else change
        self.beyond_reach |= health.verify(loss, step)
        self.reached.update(changes)
        for name, gradient in gradients.items():
            assert self.measurements is not None
            self.measurements.compared(name, self.algorithms[name], self.states[name], changes[name], gradient)
        for name, change in changes.items() if gain else []:
            self.pending[name] = self.pending[name].plus(change) if name in self.pending else change

    @torch.no_grad()
    def commit(self, reduce: Callable[[Tensor], Tensor] | None = None) -> bool:
        """Merge pending changes into the states and write the weights back.

        Args:
            reduce: mean over processes, where there are several; all of them call it equally often.

        Returns:
            Whether anything was pending.
        """
        pending, self.pending = self.pending, {}
        if reduce is not None:
            pending = self._joined(pending, reduce)
        for name, change in pending.items():
            grid, algorithm, old = self.grids[name], self.algorithms[name], self.states[name]
            before = algorithm.decode(old).clone() if self.measurements is not None else None
            new = self.states[name] = algorithm.commit(old, change)
            weights = algorithm.decode(new)
            grid.write(weights, change.inputs if new is old else None)
            self._seen[name] = Marks.of(grid)
            if self.measurements is not None and before is not None:
                self.measurements.committed(name, new, weights - before)
        return bool(pending)

    def _joined(self, pending: dict[str, Change], reduce: Callable[[Tensor], Tensor]) -> dict[str, Change]:
        """Changes averaged over processes; a layer may have been used by some of them only."""
        if not (live := self.live):
            return {}
        counts = [float(pending[name].rows) if name in pending else 0.0 for name in live]
        rows = reduce(torch.tensor(counts, device=self._placement(live[0])[0])).tolist()
        joined = {}
        for name, mean in zip(live, rows, strict=True):
            if mean:
                state = self.states[name]
                planes = pending[name].whole(state.shape[2]) if name in pending else torch.zeros_like(state)
                joined[name] = Change(reduce(planes.contiguous()), mean)
        return joined

    def forget(self) -> None:
        """Drop what is pending, as ``zero_grad`` drops gradients."""
        self.pending = {}

    @contextmanager
    def _substituted(self, forward: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
        """Within, mapped layers that are trainable run by ``forward``, and what nobody trains asks for no gradient."""
        layers = {name: self.grids[name].layer for name in self.live}
        trained = {id(parameter) for layer in layers.values() for parameter in layer.parameters()}
        parameters = [
            parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and id(parameter) not in trained and name not in self.to_optimizer
        ]
        try:
            for parameter in parameters:
                parameter.requires_grad_(False)
            for name, layer in layers.items():
                layer.forward = partial(forward, name)
            yield
        finally:
            for layer in layers.values():
                vars(layer).pop("forward", None)
            for parameter in parameters:
                parameter.requires_grad_(True)

    def _drop_gradients(self) -> None:
        """Of weights that the loss also uses outside of their layer's calls: nothing learns from that part."""
        for name in self.live:
            for parameter in self.grids[name].layer.parameters():
                if parameter.grad is not None:
                    parameter.grad = None
                    self.used_directly.add(name)

    def _forward(self, name: str, input: Tensor) -> Tensor:
        """A mapped layer's forward while attached."""
        grid, algorithm = self.grids[name], self.algorithms[name]
        try:
            grid.check(input)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {name!r}: {error}") from None
        recording, sent = torch.is_grad_enabled(), None
        with torch.no_grad():
            if self.forward_by == "module":
                output = type(grid.layer).forward(grid.layer, input)
            else:
                dtype = grid.output_dtype(input)
                with torch.autocast(input.device.type, enabled=False):
                    site = grid.site(input, algorithm.cell.W.dtype)
                    sent = algorithm.send(self.states[name], site)
                    output = grid.output(sent[0], input).to(dtype)
                    grid.observe(input)
        return self.tape.record(name, input, output, sent) if recording else output

    def _learn(self, call: Call, scale: float, samples: int) -> tuple[Site, Tensor, Change]:
        """Feedback in, backward message out: returns the site, e and the layer's change."""
        grid, algorithm, state = self.grids[call.name], self.algorithms[call.name], self.states[call.name]
        assert call.leaf.grad is not None
        dtype = algorithm.cell.W.dtype
        with torch.enable_grad():
            site = grid.site(call.x, dtype)
        exact, _ = algorithm.exact_calls()
        with torch.no_grad():
            e = grid.feedback(call.leaf.grad.to(dtype)) * -scale  # e = -S dLoss/dy, times the gain
            used = site.detach()
            wanted = site.x.requires_grad or (self.measurements is not None and self.measurements.cosines)
            change, message = algorithm.learn(state, used, e, samples, call.sent, wanted)
        now, reason = algorithm.exact_calls()
        if now > exact:
            self.exact_ticks[call.name] = reason
        call.send_back(site.x, message / -scale)
        if self.measurements is not None:
            self.measurements.learned(call.name, algorithm, state, site, e, message)
        return used, e, change

    def _gradients(self, tape: Tape, loss: Tensor) -> dict[str, Tensor]:
        """The true gradient of each layer's weights ``(G, A, B)``, where it is to be compared."""
        if self.measurements is None or not self.measurements.cosines:
            return {}
        weights = {name: self.algorithms[name].decode(state) for name, state in self.states.items()}
        others = [p for name, p in self.model.named_parameters() if name in self.to_optimizer]
        return true_gradients(tape, loss, self.grids, weights, others)

    @torch.no_grad()
    def _read_weights(self, names: list[str]) -> None:
        """Follow weights that somebody else changed (clamping, averaging, loading); else exactly the identity."""
        for name in names:
            grid, algorithm = self.grids[name], self.algorithms[name]
            if name in self.states and name in self._seen and self._seen[name].unchanged(grid):
                continue
            weights = grid.read(grid.layer.weight.dtype)
            if name in self.states:
                self.states[name] = algorithm.overwrite(self.states[name], weights)
            else:
                self.states[name] = algorithm.encode(weights)
            self._seen[name] = Marks.of(grid)

    def _placement(self, name: str) -> tuple[torch.device, torch.dtype]:
        weight = self.grids[name].layer.weight
        return weight.device, torch.float64 if weight.dtype == torch.float64 else torch.float32

    def history(self) -> list[dict[str, Any]]:
        """What the next step depends on besides the states, see :meth:`LearningAlgorithm.history`."""
        return [algorithm.history() for algorithm in dict.fromkeys(self.algorithms.values())]

    def go_on(self, history: list[dict[str, Any]]) -> None:
        """Continue as the run that had this history."""
        for algorithm, its in zip(dict.fromkeys(self.algorithms.values()), history, strict=False):
            algorithm.go_on(its)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """The states by layer, as plain tensors."""
        return {name: {"planes": state} for name, state in self.states.items()}

    def _place(self, states: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        placed = {}
        for name, parts in states.items():
            layout = next(iter(self.algorithms.values())).layout
            planes = planes_of(name, parts, layout)
            want = (len(layout.planes), *self.grids[name].shape) if name in self.grids else "no such layer"
            if tuple(planes.shape) != want:
                raise ValueError(
                    f"the states of layer {name!r} in the checkpoint have shape {tuple(planes.shape)}, but the model "
                    f"has {want}. Resume with the model that the checkpoint was made with."
                )
            device, dtype = self._placement(name)
            placed[name] = empty_grid(tuple(planes.shape), planes.to(device, dtype)).copy_(planes)
        return placed


def _eager() -> AbstractContextManager[None]:
    """Compiled graphs do not see substituted forwards; where nothing can have been compiled, spare the import."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
