"""What should change nothing, changes little: scales and constants of inputs, repeated inputs, units of the loss.

Networks compute the same at the start (weights take back what is done to the inputs) and see the same batches; losses
over 300 steps are compared, window by window. docs/meta_learning.md has these figures.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.lab.ensembles import Ensemble, Judge, classification, regression
from lightning_vsml.meta.wide.learning import ByFormula

WINDOWS = ((0, 50), (50, 150), (150, 300))


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(4000, 20, dtype=torch.float64) @ (torch.eye(20) + 0.3 * torch.randn(20, 20)).double()
    return x, torch.tanh(x @ torch.randn(20, 5).double())


def network(outputs: int = 5) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, outputs)).double()


def first_layer(weight: Tensor, bias: Tensor) -> nn.Sequential:
    """The network with another first layer."""
    model = network()
    layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    model[0] = layer
    return model


def learned(model: nn.Module, x: Tensor, y: Tensor, judge: Judge = classification, batch: int = 16) -> Tensor:
    """Mean losses in windows."""
    learner = ByFormula(Ensemble(model, judge, 1), torch.tensor([Coordinates()]).double())
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(WINDOWS[-1][1]):
        chosen = torch.randint(len(x), (batch,), generator=generator)
        losses.append(learner.step(x[chosen], y[chosen])[0])
    curve = torch.cat(losses)
    return torch.stack([curve[first:last].mean() for first, last in WINDOWS])


def differs(one: Tensor, other: Tensor) -> float:
    return float((one / other - 1).abs().max())


@pytest.fixture
def task() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, classes, and what the network as it is comes to."""
    x, targets = data()
    y = (targets + 0.3 * torch.randn(4000, 5)).argmax(1)
    return x, y, learned(network(), x, y)


@pytest.mark.parametrize("scale", [1 / 8, 1 / 3, 8.0])
def test_the_scale_of_inputs(task: tuple[Tensor, Tensor, Tensor], scale: float) -> None:
    x, y, as_it_is = task
    layer = network()[0]
    scaled = first_layer(layer.weight / scale, layer.bias)
    assert differs(learned(scaled, x * scale, y), as_it_is) < 0.01


@pytest.mark.parametrize("constant", [-3.0, 1.0, 10.0])
def test_a_constant_in_all_inputs(task: tuple[Tensor, Tensor, Tensor], constant: float) -> None:
    x, y, as_it_is = task
    layer = network()[0]
    moved = first_layer(layer.weight, layer.bias - constant * layer.weight.sum(1))
    assert differs(learned(moved, x + constant, y), as_it_is) < 0.05  # the first step knows no mean


@pytest.mark.parametrize("times", [2, 4])
def test_repeated_inputs(task: tuple[Tensor, Tensor, Tensor], times: int) -> None:
    x, y, as_it_is = task
    layer = network()[0]
    repeated = first_layer(layer.weight.repeat(1, times) / times, layer.bias)
    assert differs(learned(repeated, x.repeat(1, times), y), as_it_is) < 0.04


@pytest.mark.parametrize("units", [1e-3, 1e3])
def test_units_of_the_loss(task: tuple[Tensor, Tensor, Tensor], units: float) -> None:
    x, y, as_it_is = task

    def judge(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        loss, metric = classification(outputs, y)
        return loss * units, metric

    assert differs(learned(network(), x, y, judge) / units, as_it_is) < 1e-6


def test_units_of_a_target_are_found() -> None:
    x, targets = data()
    metres = targets[:, :1]
    as_it_is = learned(network(1), x, metres, regression)
    for units in (1e-1, 10.0, 1e3):
        scaled = learned(network(1), x, metres * units, regression) / units**2
        assert scaled[2] < 0.1 * metres.var()  # nine tenths are explained, as in metres
        assert as_it_is[2] < 0.1 * metres.var()


def test_batches_of_any_size() -> None:
    x, targets = data()
    y = targets.argmax(1)
    last = [learned(network(), x, y, batch=size)[2] for size in (1, 4, 16, 64, 256)]
    assert all(larger < smaller for smaller, larger in pairwise(last))
    assert last[0] < 1.3  # log 5 is 1.61
