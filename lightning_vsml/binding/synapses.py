"""A model bound to a learning algorithm, in plain PyTorch.

    synapses = attach(model)
    loss(model(x), y).backward()
    synapses.step()
    synapses.zero_grad()

Layers run by forward ticks, the backward pass of autograd runs learn ticks where it meets them, and ``step`` commits:
states move, and the weights are written back into the model's own parameters. No gradient passes a weight.
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.binding.call import MappedCall, Use
from lightning_vsml.binding.changes import Changes
from lightning_vsml.binding.following import Following
from lightning_vsml.binding.gradients import Gradients
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.health import Health, NonFiniteError, is_finite
from lightning_vsml.binding.mapping import UNMAPPED, MappingError, map_model
from lightning_vsml.binding.measure import Measurements
from lightning_vsml.binding.parameter import become, owner_of, plainly, unbecome
from lightning_vsml.binding.processes import mean_by, wrapper_of
from lightning_vsml.binding.rates import Rates
from lightning_vsml.binding.states import States
from lightning_vsml.ticks import Site
from lightning_vsml.ticks.ranges import interval

FORWARD = ("cell", "module")


def attach(
    model: nn.Module,
    algorithm: str | os.PathLike[str] | LearningAlgorithm = "backprop",
    *,
    lr: float | None = None,
    unmapped: str = "synapse",
    forward: str = "cell",
    optimizer: Sequence[str] = (),
) -> "Synapses":
    """Make a model learn by a learning algorithm instead of an optimizer.

    >>> model = nn.Linear(2, 1)
    >>> with attach(model, lr=0.1) as synapses:
    ...     model(torch.ones(4, 2)).mean().backward()
    ...     synapses.step()
    True

    Args:
        model: any module, on its device; wrapped in ``DistributedDataParallel`` or by Fabric, too.
        algorithm: name of a shipped algorithm, path of a ``.safetensors`` file, or a
            :class:`~lightning_vsml.LearningAlgorithm`.
        lr: scales the feedback so that ``backprop`` follows ``torch.optim.SGD(lr=lr)``. ``None`` takes the default of
            the algorithm's card.
        unmapped: trainable parameters that no layer grid owns: ``"synapse"`` makes each of their numbers a synapse,
            ``"freeze"`` keeps them as they are, ``"optimizer"`` leaves them to the user's optimizer, ``"error"`` names
            them.
        forward: ``"cell"`` computes layers by forward ticks; ``"module"`` with the decoded weights, and keeps only
            learning in the cell.
        optimizer: patterns (as :mod:`fnmatch` has them) of modules and parameters that stay with the user's optimizer.

    Raises:
        CheckpointError: unknown name, or a missing, damaged, foreign or newer file.
        MappingError: the model has nothing to train, or is attached already.
        ValueError: another argument is out of range.
    """
    return Synapses(model, algorithm_of(algorithm), lr=lr, unmapped=unmapped, forward=forward, optimizer=optimizer)


def algorithm_of(algorithm: str | os.PathLike[str] | LearningAlgorithm) -> LearningAlgorithm:
    """An algorithm, by name, path or itself.

    Raises:
        CheckpointError: see :func:`attach`.
        ValueError: it is a population.
    """
    loaded = algorithm if isinstance(algorithm, LearningAlgorithm) else checkpoints.load(algorithm)
    if loaded.cell.population is not None:
        raise ValueError(
            f"A model runs one cell, got a population of {loaded.cell.population}: choose one, "
            "Cell(*(parameter[k] for parameter in algorithm.cell))."
        )
    return loaded


def check_settings(lr: float | None, unmapped: str, forward: str) -> None:
    """Refuse settings out of range.

    Raises:
        ValueError: names what was expected.
    """
    for what, value, known in (("unmapped", unmapped, UNMAPPED), ("forward", forward, FORWARD)):
        if value not in known:
            raise ValueError(f"{what} should be one of {', '.join(map(repr, known))}, got {value!r}.")
    if lr is not None and (isinstance(lr, bool) or not isinstance(lr, Real) or not 0 <= lr < math.inf):
        raise ValueError(f"lr should be a finite number of at least 0, or None for the default, got {lr!r}.")


def is_compiled(model: nn.Module) -> bool:
    """Whether any of it runs by ``torch.compile``."""
    return getattr(model, "_compiler_ctx", None) is not None or any(  # Lightning's mark
        module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"
        for module in model.modules()
    )


class Synapses:
    """What :func:`attach` gives, until :meth:`detach`.

    Attributes:
        model: the user's, without what it is wrapped in.
        algorithm: how the synapses run.
        grids: of layers and of parameters, by name.
        states: theirs.
        changes: what is to change.
        rates: learning rates of parameters; ``rates.lr`` may be set at any time.
        left: identities of the parameters that stay with the user's optimizer.
        steps: how many there were.
        measurements: what to note of the next step, if anything.
        reached: grids that feedback has reached.
        beyond_reach: (input, feedback or weights; grid) beyond the algorithm's reach.
        exact_ticks: grids that took exact ticks since the last step, and why.
        news: what was noticed of the model, as it was logged.
    """

    def __init__(
        self,
        model: nn.Module,
        algorithm: LearningAlgorithm,
        *,
        lr: float | None = None,
        unmapped: str = "synapse",
        forward: str = "cell",
        optimizer: Sequence[str] = (),
    ) -> None:
        check_settings(lr, unmapped, forward)
        self._wrapper = wrapper_of(model)
        self.model = model if self._wrapper is None or self._wrapper is not model else self._wrapper.module
        self.algorithm = algorithm
        self.forward_by, self._unmapped, self._patterns = forward, unmapped, tuple(optimizer)
        self.grids: dict[str, Grid] = {}
        self.states = States(algorithm, self.grids)
        self.rates = Rates(algorithm.lr, algorithm.lr if lr is None else float(lr))
        mean = None if self._wrapper is None else mean_by(self._wrapper)
        self.changes = Changes(self.grids, self.states, self.rates, mean, self._watch)
        self.health = Health(algorithm.reach)
        self.measurements: Measurements | None = None
        self.steps = 0
        self.reached: set[str] = set()
        self.beyond_reach: set[tuple[str, str]] = set()
        self.exact_ticks: dict[str, str] = {}
        self.left: set[int] = set()
        self.news: list[str] = []
        self._gradients: Gradients | None = None
        self._following: Following | None = None
        self._frozen: list[nn.Parameter] = []
        self._anchor = torch.zeros((), requires_grad=True)
        self._node = torch.autograd.graph.get_gradient_edge(self._anchor).node
        self._samples, self._new_pass = 1, True  # S of the pass that is going on; whether the next call begins another
        self._seen: set[str] = set()  # grids whose weights were looked at in it
        self._attached = True
        with plainly():
            self._bind()
        self._undo = ExitStack()
        if self._wrapper is not None:  # its reducer awaits gradients that do not come
            before = self._wrapper.require_backward_grad_sync
            self._undo.callback(setattr, self._wrapper, "require_backward_grad_sync", before)
            self._wrapper.require_backward_grad_sync = False
        if is_compiled(model):
            self._undo.enter_context(torch.compiler.set_stance("force_eager"))
            self._tell("torch.compile has no effect while the model is attached: compiled graphs do not see synapses")

    # --- what a training loop calls

    @torch.no_grad()
    def step(self, parameters: Iterable[nn.Parameter] | None = None) -> bool:
        """Commit what is to change, and write the weights back.

        Args:
            parameters: only what belongs to these. ``None`` for all.

        Returns:
            Whether anything was to change.
        """
        with plainly():
            self._notice()
            wanted = None if parameters is None else {id(parameter) for parameter in parameters}
            names = [
                name
                for name, grid in self.grids.items()
                if wanted is None or any(id(parameter) in wanted for parameter in grid.parameters)
            ]
            self.changes.merge(names)  # all of it, so that nothing is written if any number is not finite
            committed = [self._commit(name, wanted) for name in names]
        self.steps += 1
        self._new_pass = True
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
        self._new_pass = True

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
        check_settings(lr, self._unmapped, self.forward_by)
        self.rates.lr = float(lr)

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
            "states": self.states.state_dict(),
            "history": self.states.history(),
            "steps": self.steps,
            "initial_lr": self.rates.initial,
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
            self.states = self.changes.states = states
        self.steps = saved.get("steps", 0)
        self.rates.initial = saved.get("initial_lr", self.rates.initial)

    def detach(self) -> None:
        """Give the model back as it was, with the weights that it has learned; states stay readable."""
        if not self._attached:
            return
        self._attached = False
        if self._following is not None:
            self._following.release()
        with plainly():
            self.changes.drop(self.grids)
            for parameter in self.parameters():
                unbecome(parameter)
            for parameter in self._frozen:
                parameter.requires_grad_(True)
        self._undo.close()

    def __enter__(self) -> "Synapses":
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    # --- what the model's own calls come to

    def runs(self, grid: Grid) -> bool:
        """Whether a grid's function is to run by ticks now; else it runs as it is, on the weights."""
        return (
            (torch.is_grad_enabled() or self.model.training)
            and any(parameter.requires_grad for parameter in grid.parameters)
            and not torch._C._are_functorch_transforms_active()
        )

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The function that uses a grid, by ticks, with its arguments.

        Raises:
            TypeError, ValueError, IndexError: the input is none of this layer; the message names it.
        """
        grid = self.grids[name]
        args = args or (kwargs.pop("input" if "input" in kwargs else "input1"),)
        x = args[0]
        try:
            grid.check(x)
        except (TypeError, ValueError, IndexError) as error:
            raise type(error)(f"layer {name!r}: {error}") from None
        if self._new_pass and torch._C._current_graph_task_id() == -1:  # not one that is computed again on the way back
            self._samples, self._new_pass, self._seen = max(1, grid.samples(x)), False, set()
            self.exact_ticks = {}
            if self._following is not None:
                self._following.look()
        state = self.states.current(name, thorough=name not in self._seen)
        self._seen.add(name)
        trainable = tuple(parameter.requires_grad for parameter in grid.parameters)
        use = Use(
            name,
            grid,
            self.states.runs(name),
            state,
            trainable,
            self._samples,
            self._learn,
            self.forward_by == "cell",
        )

        def run(site: Site) -> Tensor:
            return MappedCall.apply(site.x, self._anchor, site, use)

        dtype = grid.output_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(state.dtype) if x.is_floating_point() else x
            return grid.call(run, wide, *args[1:], **kwargs).to(dtype)

    def _learn(self, use: Use, site: Site, own: list[Tensor] | None, g: Tensor, wanted: bool) -> Tensor | None:
        """The way back through a use: learn ticks; returns dLoss/dInput."""
        if self._gradients is not None:
            return self._gradients.learn(use, site, g, wanted)
        algorithm, measurements = use.algorithm, self.measurements
        gain = self.rates.gain(use.grid)
        scale = use.samples * (gain or 1.0) / self.rates.loss_scale  # with a gain of 0 messages still flow
        exact, _ = algorithm.exact_calls()
        e = g.to(use.state.dtype) * -scale  # e = -S dLoss/dy, times the gain
        needed = wanted or (measurements is not None and measurements.cosines)
        sent = None if own is None else [g, *own]  # of what was sent only what neurons told themselves counts
        change, message = algorithm.learn(use.state, site, e, use.samples, sent, needed)
        now, reason = algorithm.exact_calls()
        if now > exact:
            self.exact_ticks[use.name] = reason
        self._new_pass = True
        if torch._C._will_engine_execute_node(self._node):  # else autograd.grad, which is nobody's learning
            self._note(use, site, e, message, change, bool(gain))
        return message / -scale if wanted else None

    def _note(self, use: Use, site: Site, e: Tensor, message: Tensor, change: Any, learns: bool) -> None:
        """Keep what a way back gave."""
        kept = site.select(use.state)
        if self.rates.loss_scale == 1.0:
            with self._dropping():
                self.beyond_reach |= self.health.watch(use.name, site, e, kept, change, self.steps)
        elif not is_finite(e):  # which a cell that saturates would hide from the scaler
            change.planes.fill_(torch.inf)
        self.reached.add(use.name)
        if self.measurements is not None:
            self.measurements.learned(use.name, use.algorithm, use.state, site, e, message)
        if learns:
            self.changes.add(use.name, change, use.trainable)

    def _watch(self, name: str, e: Tensor) -> None:
        """Look at direct feedback of a grid; infinities of a scaled loss are the scaler's business."""
        if self.rates.loss_scale == 1.0:
            with self._dropping():
                self.beyond_reach |= self.health.magnitude("feedback", name, interval(e), self.steps)

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Where numbers are not finite, nothing is to change any more."""
        try:
            yield
        except NonFiniteError:
            self.changes.drop(self.grids)
            raise

    def _commit(self, name: str, wanted: set[int] | None) -> bool:
        change = self.changes.take(name, wanted)
        if change is None:
            return False
        algorithm, old = self.states.runs(name), self.states.current(name, thorough=False)
        self.reached.add(name)
        if self.measurements is None:
            self.states.commit(name, change)
            return True
        before = algorithm.decode(old).clone()
        self.measurements.compared(name, algorithm, old, change)
        new, weights = self.states.commit(name, change)
        self.measurements.committed(name, new, weights - before)
        return True

    @torch.no_grad()
    def average_left(self, optimizer: Optimizer) -> None:
        """Gradients of what is left to an optimizer, over processes."""
        if self.changes.mean is not None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) in self.left:
                        if parameter.grad is None:
                            parameter.grad = torch.zeros_like(parameter)
                        self.changes.mean(parameter.grad)

    # --- which parameters are synapses

    def _bind(self) -> None:
        """Map the model, and take its parameters."""
        mapping = map_model(self.model, self._unmapped, self._patterns)
        if any(owner_of(grid) not in (None, self) for grid in mapping.grids.values()):
            raise MappingError(
                f"{type(self.model).__name__} is attached already; a weight can follow one algorithm only. Call "
                "detach() on what attach() gave before, or share that."
            )
        before = {id(parameter): parameter for parameter in self.parameters()}
        shapes = {name: (grid.shape, [id(p) for p in grid.parameters]) for name, grid in self.grids.items()}
        gone = {
            name
            for name, kept in shapes.items()
            if name not in mapping.grids
            or kept != (mapping.grids[name].shape, [id(p) for p in mapping.grids[name].parameters])
        }
        for name in gone:
            self.changes.pending.pop(name, None)
            self.changes.merged.pop(name, None)
        self.states.forget(gone)
        self.grids.clear()
        self.grids.update(mapping.grids)
        self.mapping = mapping
        self.left = {id(parameter) for parameter in mapping.left.values()} if self._unmapped != "freeze" else set()
        self.left |= {id(parameter) for parameter in mapping.chosen.values()}
        if self._unmapped == "freeze":
            for parameter in mapping.left.values():
                parameter.requires_grad_(False)
                self._frozen.append(parameter)
        for name, grid in self.grids.items():
            for parameter in grid.parameters:
                before.pop(id(parameter), None)
                become(parameter, self, name)
                if self.changes.mean is not None:
                    parameter.register_post_accumulate_grad_hook(self._fed)
        for parameter in before.values():
            unbecome(parameter)
        self._bound, self._kept = self._structure(), list(self.model.modules())  # kept, so that no identity returns

    def _fed(self, parameter: Tensor) -> None:
        self.changes.fed = True

    def _notice(self) -> None:
        """Follow parameters that were replaced, pruned or parametrized."""
        if self._structure() != self._bound:
            before = {place for place, *_ in self.mapping.places}
            known = {id(parameter) for parameter in self.parameters()}
            self._bind()
            new = [
                place
                for place, *_, parameter in self.mapping.places
                if id(parameter) not in known or place not in before
            ]
            gone = before - {place for place, *_ in self.mapping.places}
            named = ", ".join([*new, *sorted(gone)])
            self._tell(f"step {self.steps}: parameters of the model were replaced ({named}), and it was mapped anew")

    def _tell(self, news: str) -> None:
        """Once for all processes."""
        self.news.append(news)
        if self._wrapper is None or dist.get_rank() == 0:
            logging.getLogger("lightning_vsml").info(news)

    def _structure(self) -> list[int]:
        """Identities of all modules and parameters."""
        return [
            id(part)
            for module in self.model.modules()
            for part in (module, *module._modules.values(), *module._parameters.values())
        ]
