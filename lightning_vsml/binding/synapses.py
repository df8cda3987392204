"""A model bound to a learning algorithm.

Layers run by forward ticks, the backward pass of autograd runs learn ticks where it meets them, and ``step`` commits:
states move, and the weights are written back into the model's own parameters. No gradient passes a weight.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.binding.changes import Changes
from lightning_vsml.binding.following import Following
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.health import Health
from lightning_vsml.binding.holding import Holding
from lightning_vsml.binding.news import News
from lightning_vsml.binding.parameter import GraphError, plainly
from lightning_vsml.binding.passes import Passes
from lightning_vsml.binding.processes import mean_by, wrapper_of
from lightning_vsml.binding.rates import Rates
from lightning_vsml.binding.settings import check_chained, check_settings, is_compiled, patterns_of
from lightning_vsml.binding.states import States


class Synapses:
    """What :func:`attach` gives, until :meth:`detach`.

    Attributes:
        model: the user's, without what it is wrapped in.
        algorithm: how the synapses run.
        holding: which parameters are synapses.
        grids: theirs, of layers and of parameters, by name.
        rates: learning rates of parameters.
        changes: what is to change.
        passes: what the model's own calls come to, and what was noted of them.
        steps: how many there were.
    """

    def __init__(
        self,
        model: nn.Module,
        algorithm: Algorithm,
        *,
        lr: float | None = None,
        unmapped: str = "synapse",
        forward: str = "cell",
        optimizer: Sequence[str] = (),
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        check_settings(lr, unmapped, forward)
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module to attach to, got {type(model).__name__}.")
        patterns = patterns_of(optimizer)
        check_chained(algorithm, lr, forward, patterns, unmapped)
        self._wrapper = wrapper_of(model)
        self.model = model if self._wrapper is None or self._wrapper is not model else self._wrapper.module
        self.algorithm = algorithm
        self.holding = Holding(self.model, self, unmapped, patterns)
        self.grids = self.holding.grids
        self.rates = Rates(algorithm.lr, algorithm.lr if lr is None else float(lr))
        self.rates.scaler = scaler
        mean = None if self._wrapper is None else mean_by(self._wrapper)
        states = States(algorithm, self.grids)
        self.changes = Changes(self.grids, states, self.rates, Health(algorithm.reach), mean)
        self.passes = Passes(self.changes, forward == "cell")
        self.steps = 0
        self._news = News(algorithm.name, self._wrapper is not None)
        self._following: Following | None = None
        self._undo = ExitStack()
        self._attached = True
        with plainly():
            self._take()
        if self._wrapper is not None:  # its reducer awaits gradients that do not come
            before = self._wrapper.require_backward_grad_sync
            self._undo.callback(setattr, self._wrapper, "require_backward_grad_sync", before)
            self._wrapper.require_backward_grad_sync = False
        elif dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            warnings.warn(
                f"{dist.get_world_size()} processes run, but the model is not wrapped in DistributedDataParallel: each "
                "learns alone. Wrap it (or let Fabric set it up) first, and attach to what comes out.",
                stacklevel=3,
            )
        if is_compiled(model):
            self._undo.enter_context(torch.compiler.set_stance("force_eager"))
            self._news.tell(
                "torch.compile has no effect while the model is attached: compiled graphs do not see synapses"
            )

    # --- what a training loop calls

    def step(self, parameters: Iterable[nn.Parameter] | None = None) -> bool:
        """Commit what is to change, and write the weights back.

        Args:
            parameters: only what belongs to these. ``None`` for all.

        Returns:
            Whether anything was to change.
        """
        with torch.no_grad(), plainly():
            if self.holding.replaced():
                self._take_again()
            wanted = None if parameters is None else {id(parameter) for parameter in parameters}
            names = [
                name
                for name, grid in self.grids.items()
                if wanted is None or any(id(parameter) in wanted for parameter in grid.parameters)
            ]
            self.changes.merge(names)  # all of it, so that nothing is written if any number is not finite
            committed = [self.passes.commit(name, wanted) for name in names]
        self.steps = self.changes.health.step = self.steps + 1
        self.passes.end()
        self._news.after(self.steps, self.changes.health, self.passes.exact_ticks)
        return any(committed)

    def zero_grad(self, parameters: Iterable[nn.Parameter] | None = None) -> None:
        """Drop what is to change, of all parameters or of these."""
        wanted = None if parameters is None else {id(parameter) for parameter in parameters}
        with plainly():
            for name, grid in self.grids.items():
                for parameter in grid.parameters:
                    if wanted is not None and id(parameter) in wanted:
                        self.changes.replace(parameter, None)
                if wanted is None:
                    self.changes.drop([name])
        self.passes.end()

    def follow(
        self,
        *optimizers: Optimizer,
        schedulers: Sequence[Any] = (),
        settings: bool = True,
        initial: float | None = None,
    ) -> Following:
        """Let ``optimizer.step()`` commit what belongs to the optimizer's parameters, and its settings count.

        Args:
            optimizers: whose parameters learn here. What is left to them they step themselves.
            schedulers: of their learning rates.
            settings: whether learning rates and weight decay count.
            initial: the initial learning rate, where the run was resumed and the optimizer does not know.
        """
        if self._following is not None:
            self._following.release()
        self._following = Following(self, optimizers, schedulers, settings=settings, initial=initial)
        return self._following

    @property
    def lr(self) -> float:
        """The learning rate; with a followed optimizer, the initial one of its first group."""
        return self.rates.lr

    @lr.setter
    def lr(self, lr: float) -> None:
        check_settings(lr)
        self.rates.lr = float(lr)

    @property
    def news(self) -> list[str]:
        """What was noticed of the model, as it was logged."""
        return self._news.said

    def parameters(self) -> list[nn.Parameter]:
        """Those that are synapses."""
        return [parameter for grid in self.grids.values() for parameter in grid.parameters]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """As an optimizer has them, so that ``GradScaler.unscale_(synapses)`` and ``.step(synapses)`` work."""
        return [{"params": self.parameters(), "lr": self.lr}]

    @property
    def live(self) -> list[str]:
        """Names of the grids that are trainable now."""
        with plainly():
            return [name for name, grid in self.grids.items() if any(p.requires_grad for p in grid.parameters)]

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on bitwise: plain tensors and numbers."""
        return {
            "algorithm": self.algorithm.name,
            "fingerprint": self.algorithm.fingerprint,
            "states": self.changes.states.state_dict(),
            "history": self.changes.states.history(),
            "steps": self.steps,
            "initial_lr": self.rates.initial,
            "depths": dict(self.changes.depths.known),
            "peaks": {name: dict(peaks) for name, peaks in self.rates.peaks.items()},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; load the model's own weights first.

        Raises:
            ValueError: it is of another algorithm or model.
        """
        if saved["fingerprint"] != self.algorithm.fingerprint:
            raise ValueError(
                f"the checkpoint was made by the learning algorithm {saved['algorithm']!r} (fingerprint "
                f"{saved['fingerprint'][:12]}), here {self.algorithm.name!r} runs ({self.algorithm.fingerprint[:12]}). "
                "Resume with the same algorithm, or load only the weights and start anew."
            )
        with plainly():
            states = States(self.algorithm, self.grids, saved["states"])
            states.go_on(saved.get("history", []))
            self.changes.states = states
        self.steps = self.changes.health.step = saved.get("steps", 0)
        self.rates.initial = saved.get("initial_lr", self.rates.initial)
        self.changes.depths.known = dict(saved.get("depths", {}))
        self.rates.peaks = {name: dict(peaks) for name, peaks in saved.get("peaks", {}).items()}

    def detach(self) -> None:
        """Give the model back as it was, with the weights that it has learned; states stay readable."""
        if not self._attached:
            return
        self._attached = False
        if self._following is not None:
            self._following.release()
        with plainly():
            self.changes.drop(self.grids)
            self.holding.release()
        self._undo.close()
        self._wrapper = self.changes.mean = None  # processes part when nobody holds their group

    def __enter__(self) -> "Synapses":
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    # --- what parameters ask

    def runs(self, grid: Grid) -> bool:
        """Whether a grid's function is to run by ticks now; else it runs as it is, on the weights."""
        if not self.algorithm.readable:
            if torch._C._are_functorch_transforms_active() or torch.jit.is_tracing():
                raise GraphError(
                    f"the model was traced or transformed, but what {self.algorithm.name!r} has learned lies in states "
                    "that no plain module holds. Run it as it is, while attached."
                )
            return True
        return (
            (torch.is_grad_enabled() or self.model.training)
            and (self.algorithm.chained or any(parameter.requires_grad for parameter in grid.parameters))
            and not torch._C._are_functorch_transforms_active()
            and not torch.jit.is_tracing()
        )

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The function that uses a grid, by ticks; see :meth:`Passes.call`."""
        if self._following is not None and self.passes.begins(name):
            self._following.look()
        return self.passes.call(name, self.grids[name], args, kwargs)

    def copied(self) -> None:
        """A parameter was copied: its values, and nothing else."""
        if not self.algorithm.readable:
            self._news.copied()

    # --- the model's parameters

    @torch.no_grad()
    def average_left(self, optimizer: Optimizer) -> None:
        """Gradients of what is left to an optimizer, over processes."""
        if self.changes.mean is not None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) in self.holding.left:
                        if parameter.grad is None:
                            parameter.grad = torch.zeros_like(parameter)
                        self.changes.mean(parameter.grad)

    def _take(self) -> None:
        """Hold the model as it is now; what grids that are gone had to change goes with them."""
        known = {id(parameter) for parameter in self.parameters()}
        gone = self.holding.take()
        self.changes.forget(gone)
        if self.changes.mean is not None:
            for parameter in self.parameters():
                if id(parameter) not in known:
                    self._undo.callback(parameter.register_post_accumulate_grad_hook(self._fed).remove)

    def _fed(self, parameter: Tensor) -> None:
        self.changes.fed = True

    def _take_again(self) -> None:
        before = {place: id(parameter) for place, *_, parameter in self.holding.mapping.places}
        self._take()
        now = {place: id(parameter) for place, *_, parameter in self.holding.mapping.places}
        named = ", ".join(place for place in now | before if now.get(place) != before.get(place))
        self._news.tell(f"step {self.steps}: parameters of the model were replaced ({named}), and it was mapped anew")
