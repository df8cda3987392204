"""The main oracle: ``VSMLLearner("backprop", lr=r)`` follows ``torch.optim.SGD(lr=r)`` on arbitrary models."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from helpers import Loss, Module, classification, cross_entropy, relative_differences, trainer
from models import (
    Checkpointed,
    Residual,
    ResNet,
    Sequence,
    Shared,
    Transformer,
    TwoHeads,
    autoencoder,
    cnn,
    perceptron,
    temporal,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import VSMLLearner, programs


def two_losses(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits, value = net(x)
    return nn.functional.cross_entropy(logits, y) + 0.5 * nn.functional.mse_loss(value, x[:, :1])


def summed(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x), y, reduction="sum")


def squared(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.mse_loss(net(x), nn.functional.one_hot(y, 4).to(x.dtype))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Loss, float]] = {
    "mlp-relu": (partial(perceptron, nn.ReLU), (6,), cross_entropy, 0.1),
    "mlp-tanh": (partial(perceptron, nn.Tanh), (6,), cross_entropy, 0.3),
    "mlp-gelu": (partial(perceptron, nn.GELU), (6,), cross_entropy, 0.1),
    "cnn": (partial(cnn, nn.AvgPool2d), (2, 8, 8), cross_entropy, 0.05),
    "cnn with max pooling": (partial(cnn, nn.MaxPool2d), (2, 8, 8), cross_entropy, 0.05),
    "residual": (Residual, (6,), cross_entropy, 0.05),
    "shared layer": (Shared, (6,), cross_entropy, 0.1),
    "sequence": (Sequence, (5, 3), cross_entropy, 0.1),
    "two losses": (TwoHeads, (6,), two_losses, 0.1),
    "sum": (partial(perceptron, nn.ReLU), (6,), summed, 0.1 / 8),
    "transformer": (Transformer, (6,), cross_entropy, 0.1),
    "resnet": (ResNet, (2, 6, 6), cross_entropy, 0.05),
    "smooth resnet": (partial(ResNet, torch.tanh), (2, 6, 6), cross_entropy, 0.05),
    "checkpointed": (Checkpointed, (6,), cross_entropy, 0.1),
    "temporal": (temporal, (3, 9), cross_entropy, 0.05),
    "autoencoder": (autoencoder, (2, 6, 6), cross_entropy, 0.05),
    "mse": (partial(perceptron, nn.Tanh), (6,), squared, 0.2),
}


def fit(net: nn.Module, loss: Loss, lr: float, data: DataLoader, steps: int, *callbacks: VSMLLearner) -> Module:
    module = Module(deepcopy(net), loss, lr)
    torch.manual_seed(3)  # the same dropout masks
    trainer(*callbacks, max_steps=steps).fit(module, data)
    return module


@cache
def by_sgd(case: str, dtype: torch.dtype, steps: int) -> tuple[nn.Module, DataLoader, Module]:
    """A net, its data, and what SGD makes of it."""
    build, shape, loss, lr = CASES[case]
    torch.manual_seed(0)
    net = build().to(dtype)
    data = classification(160, shape, dtype=dtype)
    net(next(iter(data))[0])  # lazy layers get their shapes
    return net, data, fit(net, loss, lr, data, steps)


def compare(case: str, dtype: torch.dtype, steps: int, learner: VSMLLearner) -> tuple[float, float]:
    """The largest relative weight difference of a layer, and the largest difference of a loss."""
    _, _, loss, lr = CASES[case]
    net, data, sgd = by_sgd(case, dtype, steps)
    learner.lr = lr
    ours = fit(net, loss, lr, data, steps, learner)
    assert len(sgd.losses) == len(ours.losses) == steps
    assert max(relative_differences(sgd.net, net).values()) > 0.05  # it did learn something
    losses = torch.tensor([sgd.losses, ours.losses])
    return max(relative_differences(ours.net, sgd.net).values()), float((losses[0] - losses[1]).abs().max())


# The readable tick subtracts numbers near 1/2: its rounding shows, and depends on the processor (0.9e-3 to 1.05e-3
# seen with two losses).
LIMIT = {"reference": 2e-3, "fused": 1e-3, "native": 1e-3}

# Which pixel is the largest, or which unit is on, flips under rounding, and the trajectories part: SGD itself, started
# from weights perturbed by 1e-5, is 7e-3 away after 200 steps with max pooling, and 0.5 with batch norm before ReLU.
# In float64 nothing flips.
FLIPPING = {"cnn with max pooling", "resnet"}

LARGE = {"transformer", "resnet", "smooth resnet"}
LONG = {"mlp-relu", "cnn", "shared layer", "sequence", "two losses", "mse"}  # 200 steps in all ticks


def not_too_slow(case: str, ticks: str, steps: int) -> None:
    if (ticks == "reference" and case in LARGE) or (ticks != "native" and steps > 50 and case not in LONG):
        pytest.skip("takes long in the readable ticks, which other tests hold to the compiled one")


@pytest.mark.parametrize("case", [case for case in CASES if case not in FLIPPING])
def test_follows_sgd_in_float32(case: str, ticks: str) -> None:
    not_too_slow(case, ticks, steps=200)
    weights, losses = compare(case, torch.float32, 200, VSMLLearner("backprop", ticks=ticks))
    assert weights < LIMIT[ticks]
    assert losses < 1e-3


@pytest.mark.parametrize("case", CASES)
def test_follows_sgd_in_float64(case: str, ticks: str) -> None:
    not_too_slow(case, ticks, steps=50)
    weights, losses = compare(case, torch.float64, 50, VSMLLearner(programs.backprop(dtype=torch.float64), ticks=ticks))
    assert weights < 1e-5
    assert losses < 1e-5


@pytest.mark.filterwarnings("ignore:.*exceeds .*, the reach of 'cloned_backprop'")  # true, and harmless here
@pytest.mark.parametrize("case", [case for case in CASES if case != "resnet"])  # a percent is far more than it takes
def test_the_clone_follows_sgd_on_models_it_was_never_shown(case: str) -> None:
    """As far as its errors of a percent let it; trained on random numbers, it has never seen a network."""
    weights, losses = compare(case, torch.float32, 200, VSMLLearner("cloned_backprop"))
    assert weights < 0.15
    assert losses < 0.15


@pytest.mark.parametrize("case", ["mlp-relu", "cnn", "shared layer", "sequence"])
def test_follows_sgd_with_the_modules_own_forward(case: str) -> None:
    weights, losses = compare(case, torch.float32, 200, VSMLLearner("backprop", forward="module"))
    assert weights < 1e-3
    assert losses < 1e-3


def test_last_batch_may_be_shorter() -> None:
    data = classification(20, batch=8)  # 8, 8, 4
    net = perceptron(nn.ReLU)
    sgd = fit(net, cross_entropy, 0.1, data, 30)
    ours = fit(net, cross_entropy, 0.1, data, 30, VSMLLearner(lr=0.1))
    assert max(relative_differences(ours.net, sgd.net).values()) < 1e-4


def test_without_batch_dimension() -> None:
    """One sample at a time, as (A,) and (C, H, W)."""
    x, y = torch.randn(40, 2, 6, 6), torch.randint(0, 4, (40,))
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(0), nn.Linear(48, 4))
    data = DataLoader(TensorDataset(x, y), batch_size=None)
    sgd = fit(net, cross_entropy, 0.02, data, 40)
    ours = fit(net, cross_entropy, 0.02, data, 40, VSMLLearner(lr=0.02))
    assert max(relative_differences(ours.net, sgd.net).values()) < 1e-4
