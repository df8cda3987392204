"""Copies of any module that see the same batches, many at once, and torch's optimizers over grids of learning rates.

Parameters of K copies are stacked, and ``torch.func`` differentiates all of them in one pass; a copy learns as it would
alone. Whoever makes a learning rule of their own gets gradients from :meth:`Ensemble.gradients` and moves
:attr:`Ensemble.parameters`.

>>> net = nn.Linear(3, 2)
>>> x, y = torch.randn(8, 3), torch.arange(8) % 2
>>> curves = tuned(net, classification, [(x, y)] * 5, "adam", (0.01, 0.1), steps=5)
>>> curves.loss.shape
torch.Size([5, 2])
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

Parameters = dict[str, Tensor]  # by name, (K, *shape)
Judge = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # outputs, targets -> loss, metric; both scalars
Watch = Callable[[nn.Module, Tensor], tuple[Tensor, ...]]  # a layer, its input -> what is to be known of it

BETAS, EPSILON, DECAY = (0.9, 0.999), 1e-8, 0.01  # as torch.optim has them


def classification(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy of logits ``(S, ..., C)`` for labels ``(S, ...)``."""
    return F.cross_entropy(outputs.flatten(0, -2), y.flatten()), (outputs.argmax(-1) == y).float().mean()


def binary(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and accuracy of logits for targets of 0 or 1 of the same shape."""
    return F.binary_cross_entropy_with_logits(outputs, y), ((outputs > 0) == (y > 0.5)).float().mean()


def regression(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error; there is no accuracy, nan."""
    loss = F.mse_loss(outputs, y)
    return loss, torch.full_like(loss, math.nan)


class Judged(NamedTuple):
    """What a batch says of each copy.

    Attributes:
        gradients: of the loss, by name of the parameter, ``(K, *shape)``.
        loss, metric: ``(K,)``.
    """

    gradients: Parameters
    loss: Tensor
    metric: Tensor


class Ensemble:
    """K copies of a module, which start alike.

    Args:
        module: any that ``torch.func`` takes. Buffers are shared, so running statistics are refused.
        judge: loss and metric, as :func:`classification`.
        copies: K.

    Attributes:
        parameters: the trainable ones of all copies, by name, ``(K, *shape)``; to be changed by whoever learns.

    Raises:
        ValueError: the module has nothing to train, or keeps running statistics.
    """

    def __init__(self, module: nn.Module, judge: Judge, copies: int) -> None:
        keeping = [name for name, part in module.named_modules() if getattr(part, "running_mean", None) is not None]
        if keeping:
            raise ValueError(f"copies would share running statistics: set track_running_stats=False in {keeping}.")
        self.module, self.judge, self.copies = module, judge, copies
        self.parameters: Parameters = {
            name: parameter.detach().expand(copies, *parameter.shape).clone()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        if not self.parameters:
            raise ValueError(f"{type(module).__name__} has no trainable parameters.")
        self._judged = vmap(grad_and_value(self._judge, has_aux=True), in_dims=(0, None, None))

    def gradients(self, x: Tensor, y: Tensor) -> Judged:
        """Judge all copies by one batch, and differentiate."""
        gradients, (loss, metric) = self._judged(self.parameters, x, y)
        return Judged(gradients, loss, metric)

    def watched(
        self, x: Tensor, y: Tensor, watches: Mapping[str, Watch]
    ) -> tuple[Judged, dict[str, tuple[Tensor, ...]]]:
        """As :meth:`gradients`; and what watches, by name of a layer, make of its input, ``(K, ...)`` each.

        A layer that is called several times is seen in the last call.
        """

        def judge(own: Parameters) -> tuple[Tensor, tuple[Tensor, dict[str, tuple[Tensor, ...]]]]:
            seen: dict[str, tuple[Tensor, ...]] = {}
            with ExitStack() as hooks:
                for name, watch in watches.items():

                    def look(layer: nn.Module, inputs: tuple, name: str = name, watch: Watch = watch) -> None:
                        seen[name] = watch(layer, inputs[0].detach())

                    hooks.callback(self.module.get_submodule(name).register_forward_pre_hook(look).remove)
                loss, metric = self._judge(own, x, y)
            return loss, (metric, seen)

        gradients, (loss, (metric, seen)) = vmap(grad_and_value(judge, has_aux=True))(self.parameters)
        return Judged(gradients, loss, metric), seen

    def outputs(self, x: Tensor) -> Tensor:
        """Of each copy, ``(K, ...)``."""
        return vmap(lambda own: functional_call(self.module, own, (x,)))(self.parameters)

    def _judge(self, own: Parameters, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.judge(functional_call(self.module, own, (x,)), y)


class Optimizer(ABC):
    """An optimizer that gives each copy of an ensemble a learning rate of its own.

    Args:
        ensemble: learns.
        rates: K of them.
        steps: of the whole run, for schedules.

    Raises:
        ValueError: there are not as many rates as copies.
    """

    def __init__(self, ensemble: Ensemble, rates: Sequence[float], steps: int) -> None:
        if len(rates) != ensemble.copies:
            raise ValueError(f"there should be a learning rate for each of {ensemble.copies} copies, got {len(rates)}.")
        self.ensemble, self.rates, self.steps = ensemble, rates, steps
        self.done = 0

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from a batch; returns loss and metric from before, ``(K,)``."""
        gradients, loss, metric = self.ensemble.gradients(x, y)
        for name, parameter in self.ensemble.parameters.items():
            rates = torch.tensor(self.rates, dtype=parameter.dtype, device=parameter.device)
            self.move(name, parameter, gradients[name], rates.view(-1, *[1] * (parameter.dim() - 1)))
        self.done += 1
        return loss, metric

    @abstractmethod
    def move(self, name: str, parameter: Tensor, gradient: Tensor, rates: Tensor) -> None:
        """Change a parameter in place."""


class SGD(Optimizer):
    """Plain."""

    def move(self, name: str, parameter: Tensor, gradient: Tensor, rates: Tensor) -> None:
        parameter -= rates * gradient


class Momentum(Optimizer):
    """SGD with momentum 0.9."""

    def __init__(self, ensemble: Ensemble, rates: Sequence[float], steps: int) -> None:
        super().__init__(ensemble, rates, steps)
        self.velocity = {name: torch.zeros_like(parameter) for name, parameter in ensemble.parameters.items()}

    def move(self, name: str, parameter: Tensor, gradient: Tensor, rates: Tensor) -> None:
        parameter -= rates * self.velocity[name].mul_(0.9).add_(gradient)


class Adam(Optimizer):
    """With torch's defaults."""

    def __init__(self, ensemble: Ensemble, rates: Sequence[float], steps: int) -> None:
        super().__init__(ensemble, rates, steps)
        self.first = {name: torch.zeros_like(parameter) for name, parameter in ensemble.parameters.items()}
        self.second = {name: torch.zeros_like(parameter) for name, parameter in ensemble.parameters.items()}

    def move(self, name: str, parameter: Tensor, gradient: Tensor, rates: Tensor) -> None:
        fast, slow = (1 - beta ** (self.done + 1) for beta in BETAS)
        first = self.first[name].lerp_(gradient, 1 - BETAS[0])
        second = self.second[name].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        parameter -= rates / fast * first / (second.sqrt() / math.sqrt(slow)).add_(EPSILON)


class AdamW(Adam):
    """With decoupled weight decay, and a learning rate that falls to 0 by a cosine over the run."""

    def move(self, name: str, parameter: Tensor, gradient: Tensor, rates: Tensor) -> None:
        rates = rates * (1 + math.cos(math.pi * self.done / self.steps)) / 2
        parameter *= 1 - DECAY * rates
        super().move(name, parameter, gradient, rates)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "momentum": Momentum, "adam": Adam, "adamw-cosine": AdamW}
RATES = {  # ten of each, a factor of two apart
    "sgd": tuple(2.0**power for power in range(-6, 4)),
    "momentum": tuple(2.0**power for power in range(-9, 1)),
    "adam": tuple(2.0**power for power in range(-11, -1)),
    "adamw-cosine": tuple(2.0**power for power in range(-11, -1)),
}


class Curves(NamedTuple):
    """Of each copy on each batch before learning from it, ``(steps, K)``."""

    loss: Tensor
    metric: Tensor


def tuned(
    module: nn.Module,
    judge: Judge,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: str,
    rates: Sequence[float] | None = None,
    *,
    steps: int,
) -> Curves:
    """Learn by an optimizer at every learning rate of a grid at once.

    Args:
        module: where all start; it stays as it is.
        judge: loss and metric.
        batches: ``steps`` of them, inputs and targets.
        optimizer: one of :data:`OPTIMIZERS`.
        rates: the grid; default: that of :data:`RATES`.
        steps: of the whole run.

    Raises:
        ValueError: the optimizer is unknown, there are no batches, or the module cannot be an ensemble.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer should be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}.")
    grid = RATES[optimizer] if rates is None else tuple(rates)
    learner = OPTIMIZERS[optimizer](Ensemble(module, judge, len(grid)), grid, steps)
    judged = [learner.step(x, y) for x, y in batches]
    if not judged:
        raise ValueError("there are no batches to learn from.")
    return Curves(*(torch.stack(values) for values in zip(*judged, strict=True)))
