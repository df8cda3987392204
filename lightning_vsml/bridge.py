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

import torch
from torch import Tensor, nn

from lightning_vsml.algorithm import Change, LearningAlgorithm
from lightning_vsml.health import Health
from lightning_vsml.mapping import map_layers
from lightning_vsml.measure import Measurements
from lightning_vsml.tape import Call, Tape
from lightning_vsml.ticks import State

FORWARD = ("cell", "module")


class Bridge:
    """A model bound to a learning algorithm for the duration of a fit.

    Args:
        model: the user's module, on its device.
        algorithm: how the synapses run.
        unmapped: what to do with parameters no mapped layer owns; see :func:`~lightning_vsml.mapping.map_layers`.
        forward: ``"cell"`` computes layers by forward ticks, ``"module"`` by the layers themselves.
        states: states to continue from, by layer name; layers without are encoded from their weights.

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
        states: dict[str, State] | None = None,
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

    @property
    def live(self) -> list[str]:
        """Names of the mapped layers that are trainable now."""
        return [name for name, grid in self.grids.items() if grid.layer.weight.requires_grad]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within, mapped layers run by their states, and no parameter but the optimizer's own asks for a gradient."""
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
        with self._substituted(tape.replay):
            self._sweep(tape, loss, gain, step)

    def _sweep(self, tape: Tape, loss: Tensor, gain: float, step: int) -> None:
        samples = max(1, self.grids[tape.calls[0].name].samples(tape.calls[0].x)) if tape.calls else 1
        scale = samples * (gain or 1.0)  # with a gain of 0 messages still flow, and changes are dropped
        health = Health(self.algorithm.reach)
        gradients = self._gradients(tape, loss) if self.measurements is not None and self.measurements.cosines else {}
        changes: dict[str, Change] = {}
        for call in tape.reverse(loss):
            x, e, change = self._learn(call, scale, samples)
            health.watch(call.name, x, e, change)
            changes[call.name] = changes[call.name].plus(change) if call.name in changes else change
        self.beyond_reach |= health.verify(loss, step)
        self.reached.update(changes)
        for name, gradient in gradients.items():
            assert self.measurements is not None
            self.measurements.compared(name, self.algorithms[name], changes[name], gradient)
        for name, change in changes.items() if gain else []:
            self.pending[name] = self.pending[name].plus(change) if name in self.pending else change

    @torch.no_grad()
    def commit(self, reduce: Callable[[Tensor], Tensor] | None = None) -> bool:
        """Merge pending changes into the states and write the weights back.

        Args:
            reduce: mean over processes, where there are several; of a layer's change, and of how many rows it had.

        Returns:
            Whether anything was pending.
        """
        pending, self.pending = self.pending, {}
        for name, change in pending.items():
            grid, algorithm, old = self.grids[name], self.algorithms[name], self.states[name]
            if reduce is not None:
                rows = float(reduce(change.h.new_tensor(float(change.rows))))
                change = Change(reduce(change.h), reduce(change.c), rows)
            new = self.states[name] = algorithm.commit(old, change)
            weights = algorithm.decode(new)
            grid.write(weights)
            if self.measurements is not None:
                self.measurements.committed(name, new, weights - algorithm.decode(old))
        return bool(pending)

    def forget(self) -> None:
        """Drop what is pending, as ``zero_grad`` drops gradients."""
        self.pending = {}

    @contextmanager
    def _substituted(self, forward: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
        """Within, mapped layers that are trainable run by ``forward``, and weights ask for no gradient."""
        layers = {name: self.grids[name].layer for name in self.live}
        parameters = [
            parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and name not in self.to_optimizer
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

    def _forward(self, name: str, input: Tensor) -> Tensor:
        """A mapped layer's forward while attached."""
        grid, algorithm = self.grids[name], self.algorithms[name]
        grid.check(input)
        recording = torch.is_grad_enabled()
        with torch.no_grad():
            if self.forward_by == "module":
                output = type(grid.layer).forward(grid.layer, input)
            else:
                dtype = grid.output_dtype(input)
                with torch.autocast(input.device.type, enabled=False):
                    y = algorithm.forward(self.states[name], grid.messages(input, algorithm.cell.W.dtype))
                    output = grid.output(y, input).to(dtype)
                    grid.observe(input)
        return self.tape.record(name, input, output) if recording else output

    def _learn(self, call: Call, scale: float, samples: int) -> tuple[Tensor, Tensor, Change]:
        """Feedback in, backward message out: returns x (R, G, A), e (R, G, B) and the layer's change."""
        grid, algorithm, state = self.grids[call.name], self.algorithms[call.name], self.states[call.name]
        assert call.leaf.grad is not None
        dtype = algorithm.cell.W.dtype
        with torch.enable_grad():
            x = grid.messages(call.x, dtype)
        with torch.no_grad():
            e = -scale * grid.feedback(call.leaf.grad.to(dtype))  # e = -S dLoss/dy, times the gain
            change, message = algorithm.learn(state, x.detach(), e, samples)
        call.send_back(x, message / -scale)
        if self.measurements is not None:
            self.measurements.learned(call.name, algorithm, state, e, message)
        return x.detach(), e, change

    def _gradients(self, tape: Tape, loss: Tensor) -> dict[str, Tensor]:
        """The true gradient of each layer's weights, ``(G, A, B)``, for comparison: an extra way back by weights."""
        others = [p for name, p in self.model.named_parameters() if name in self.to_optimizer]
        kept = [None if p.grad is None else p.grad.clone() for p in others]
        gradients: dict[str, Tensor] = {}
        for call in tape.reverse(loss):
            grid, weights = self.grids[call.name], self.algorithms[call.name].decode(self.states[call.name])
            assert call.leaf.grad is not None
            with torch.enable_grad():
                x = grid.messages(call.x, weights.dtype)
            g = grid.feedback(call.leaf.grad.to(weights.dtype))
            gradient = torch.einsum("rga,rgb->gab", x.detach(), g)
            gradients[call.name] = gradients.get(call.name, 0) + gradient
            call.send_back(x, torch.einsum("rgb,gab->rga", g, weights))
        for parameter, gradient_before in zip(others, kept, strict=True):
            parameter.grad = gradient_before
        return gradients

    @torch.no_grad()
    def _read_weights(self, names: list[str]) -> None:
        """Follow weights that somebody else changed (clamping, averaging, loading); else exactly the identity."""
        for name in names:
            grid, algorithm = self.grids[name], self.algorithms[name]
            weights = grid.read(grid.layer.weight.dtype)
            if name in self.states:
                self.states[name] = algorithm.overwrite(self.states[name], weights)
            else:
                self.states[name] = algorithm.encode(weights)

    def _placement(self, name: str) -> tuple[torch.device, torch.dtype]:
        weight = self.grids[name].layer.weight
        return weight.device, torch.float64 if weight.dtype == torch.float64 else torch.float32

    def _place(self, states: dict[str, State]) -> dict[str, State]:
        placed = {}
        for name, state in states.items():
            units = next(iter(self.algorithms.values())).cell.units
            want = (*self.grids[name].shape, units) if name in self.grids else "no such layer"
            if any(tuple(tensor.shape) != want for tensor in state):
                raise ValueError(
                    f"the states of layer {name!r} in the checkpoint have shape {tuple(state.c.shape)}, but the model "
                    f"has {want}. Resume with the model that the checkpoint was made with."
                )
            placed[name] = State(*(tensor.to(*self._placement(name)) for tensor in state))
        return placed


def _eager() -> AbstractContextManager[None]:
    """Compiled graphs do not see substituted forwards; where nothing can have been compiled, spare the import."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
