"""Training loops in plain PyTorch, by synapses and by ``torch.optim.SGD`` on a copy of the model."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import cycle, islice
from typing import Any

import torch
from helpers import classification, mlp
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lightning_vsml import attach

LR = 0.1
STEPS = 20
BATCHES = list(classification())

Batch = tuple[Tensor, Tensor]
Loop = Callable[..., Any]  # takes the model, and what has step() and zero_grad()


def tanh() -> nn.Sequential:
    """Two layers without kinks."""
    return mlp(activation=nn.Tanh)


def batches(steps: int = STEPS) -> Iterator[Batch]:
    """The same ones in the same order."""
    return islice(cycle(BATCHES), steps)


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def plain_loop(net: nn.Module, *learners: Any) -> None:
    for batch in batches():
        for learner in learners:
            learner.zero_grad()
        loss_of(net, batch).backward()
        for learner in learners:
            learner.step()


def same_as_sgd(net: nn.Module, loop: Loop = plain_loop, **settings: Any) -> None:
    """``loop(net, synapses)`` and ``loop(copy, SGD)``."""
    start, theirs = deepcopy(net), deepcopy(net)
    torch.manual_seed(3)
    with attach(net, lr=LR, **settings) as synapses:
        loop(net, synapses)
    torch.manual_seed(3)
    loop(theirs, SGD(theirs.parameters(), LR))
    assert_same(net, theirs, start)


def same_when_followed(
    net: nn.Module, make: Callable[[Any], Iterable[Optimizer]], loop: Loop = plain_loop, **settings: Any
) -> None:
    """``loop(net, *optimizers)`` with optimizers whose steps synapses follow, and with them alone."""
    start, theirs = deepcopy(net), deepcopy(net)
    with attach(net, lr=LR, **settings) as synapses:
        optimizers = list(make(net))
        synapses.follow(*optimizers)
        loop(net, *optimizers)
    loop(theirs, *make(theirs))
    assert_same(net, theirs, start)


def assert_same(ours: nn.Module, theirs: nn.Module, start: nn.Module | None, limit: float = 1e-4) -> None:
    """Each parameter has gone the same way, and one that stayed there has stayed here; from ``start`` or from 0."""
    befores = [torch.zeros_like(p) for p in theirs.parameters()] if start is None else start.parameters()
    ways = []
    for (name, one), other, before in zip(ours.named_parameters(), theirs.parameters(), befores, strict=True):
        apart, way = float((one - other).detach().norm()), float((other - before).detach().norm())
        assert apart <= limit * way, f"{name} is {apart:.3g} from where it went, which is {way:.3g} away"
        ways.append(way)
    assert max(ways) > 0.01
