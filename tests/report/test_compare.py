"""Learners side by side, against loops in plain torch."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, cross_entropy, mlp
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lightning_vsml
from lightning_vsml import Parity, ReportError
from lightning_vsml.report.outcome import Outcome

STEPS = 30


def by_hand(net: nn.Module, batches: list[Any], optimizer: torch.optim.Optimizer) -> list[float]:
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        loss = cross_entropy(net, x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def find(result: Parity, name: str) -> Outcome:
    [found] = [outcome for outcome in result.outcomes if outcome.plan.name == name]
    return found


@pytest.fixture(scope="module")
def result() -> Parity:
    module = Module(mlp(), optimizer="Adam", lr=0.02)
    settings: dict[str, Any] = {"sgd": (0.1,), "adam": (0.003,), "progress": False}
    return lightning_vsml.parity(module, classification(), steps=STEPS, **settings)


@pytest.mark.parametrize("name", ["SGD, lr 0.1", "Adam, lr 0.003", "your Adam, lr 0.02"])
def test_optimizers_learn_as_in_a_loop_of_ones_own(result: Parity, name: str) -> None:
    """Over several epochs of a loader with 12 batches, whose order is the same in each."""
    net, kind = mlp(), torch.optim.SGD if "SGD" in name else torch.optim.Adam
    batches = [batch for _ in range(3) for batch in classification()][:STEPS]
    expected = by_hand(net, batches, kind(net.parameters(), lr=float(name.split()[-1])))
    torch.testing.assert_close(find(result, name).losses, expected, rtol=1e-5, atol=1e-6)


def test_algorithms_are_measured_beside_the_gradient_step(result: Parity) -> None:
    backprop, adaptive = find(result, "backprop"), find(result, "adaptive")
    assert backprop.complete and backprop.distance < 1e-4 and math.isnan(adaptive.distance)
    assert list(backprop.layers) == ["net.0", "net.2"]
    assert {0, STEPS - 1} <= set(backprop.layers["net.0"])
    steps = [step for layer in backprop.layers.values() for step in layer.values()]
    assert all(step.cosine > 0.999999 and step.difference < 1e-3 for step in steps)
    assert all(abs(step.rate - 0.1) < 1e-4 for step in steps)
    other = [step for layer in adaptive.layers.values() for step in layer.values()]
    assert all(0 < step.cosine < 0.9999 for step in other)
    assert all(step.difference == pytest.approx(math.sqrt(2 - 2 * step.cosine), rel=0.01) for step in other)
    assert result.verdicts[0].word == "follows"
    assert "weights are" in result.verdict and "SGD, lr 0.1" in result.verdict


def test_costs_are_of_what_learners_keep(result: Parity) -> None:
    kept = {outcome.plan.name: outcome.kept for outcome in result.outcomes}
    assert kept["SGD, lr 0.1"] == 0 and kept["Adam, lr 0.003"] == 2 and kept["backprop"] == 1
    assert find(result, "Adam, lr 0.003").kept_bytes == 2 * 4 * result.weights
    assert all(sum(map(math.isfinite, outcome.seconds)) >= STEPS - 16 for outcome in result.outcomes)


def test_the_module_and_the_world_stay_as_they_are() -> None:
    module = Module(mlp())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    lightning_vsml.parity(module, classification(), steps=2, sgd=(), adam=(), progress=False)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module.losses and "configure_optimizers" not in vars(module)


class Decaying(Module):
    """Two groups, weight decay, a scheduler; its own accuracy is logged as tensors."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean(), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        first, second = self.net[0].parameters(), self.net[2].parameters()
        optimizer = torch.optim.AdamW([{"params": first}, {"params": second, "lr": 0.01}], lr=0.02, weight_decay=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}


def test_groups_weight_decay_and_metrics() -> None:
    result = lightning_vsml.parity(
        Decaying(mlp()), classification(), algorithms=["backprop"], steps=20, sgd=[], adam=[], progress=False
    )
    net = mlp()
    first, second = net[0].parameters(), net[2].parameters()
    optimizer = torch.optim.SGD([{"params": first, "lr": 0.1}, {"params": second, "lr": 0.05}], weight_decay=0.1)
    batches = [batch for _ in range(2) for batch in classification()][:20]
    torch.testing.assert_close(find(result, "SGD, lr 0.1").losses, by_hand(net, batches, optimizer), rtol=1e-5, atol=0)
    backprop = find(result, "backprop")
    assert backprop.distance < 1e-4
    steps = [step for layer in backprop.layers.values() for step in layer.values()]
    assert all(step.difference < 1e-3 for step in steps), "weight decay is no part of the comparison"
    accuracy = backprop.metrics["accuracy"]
    assert len(accuracy) == 20 and all(value * 8 == round(value * 8) for value in accuracy)


class Two(LightningModule):
    """Manual optimization, two optimizers and a scheduler that it steps itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 4)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            loss = nn.functional.cross_entropy(self.b(self.a(batch[0])), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        a, b = torch.optim.Adam(self.a.parameters(), 0.01), torch.optim.Adam(self.b.parameters(), 0.02)
        return [a, b], [torch.optim.lr_scheduler.StepLR(a, 5)]


def test_manual_optimization_with_two_optimizers() -> None:
    result = lightning_vsml.parity(Two(), classification(), algorithms=["backprop"], steps=14, adam=[], progress=False)
    assert all(outcome.complete for outcome in result.outcomes), [o.stopped for o in result.outcomes]
    assert find(result, "backprop").distance < 1e-4


class Data(LightningDataModule):
    """Batches that a hook of its own makes ready."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = False

    def setup(self, stage: str) -> None:
        self.ready = True

    def train_dataloader(self) -> DataLoader:
        assert self.ready
        return classification()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [-batch[0], batch[1]]


def test_hooks_of_a_data_module_are_kept() -> None:
    result = lightning_vsml.parity(Module(mlp()), Data(), steps=5, adam=[], progress=False)
    net = mlp()
    batches = [(-x, y) for x, y in classification()][:5]
    expected = by_hand(net, batches, torch.optim.SGD(net.parameters(), 0.1))
    torch.testing.assert_close(find(result, "SGD, lr 0.1").losses, expected, rtol=1e-5, atol=0)


def test_a_learner_that_fails_leaves_the_others() -> None:
    """MPLP has rules for one hidden layer, and takes no batch norm; SGD diverges."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    module = Module(net, lambda net, x, y: 50 * nn.functional.mse_loss(net(x), 9 * nn.functional.one_hot(y, 4).float()))
    result = lightning_vsml.parity(
        module, classification(), algorithms=["mplp_mnist"], steps=40, sgd=[30.0], adam=[0.01], progress=False
    )
    [verdict] = result.verdicts
    assert verdict.word == "failed" and "BatchNorm1d" in verdict.text and "MappingError" in verdict.text
    assert "the loss of step" in find(result, "SGD, lr 30").stopped
    assert find(result, "Adam, lr 0.01").complete


def test_ctrl_c_keeps_what_there_is(tmp_path: Path) -> None:
    class Interrupted(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            calls.append(batch_idx)
            if len(calls) == 36:  # the check's one step, 30 of backprop, 5 of adaptive
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    calls: list[int] = []
    result = lightning_vsml.parity(
        Interrupted(mlp()), classification(), steps=STEPS, out=tmp_path / "out", progress=False
    )
    assert result.stopped and [len(outcome.losses) for outcome in result.outcomes] == [STEPS, 4]
    assert [verdict.word for verdict in result.verdicts] == ["unknown", "unknown"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Ctrl-C ended it early" in page and "stopped after 4 of 30 steps" in page


class Broken(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.missing(batch)


class Once:
    """Cannot be iterated again."""

    def __init__(self) -> None:
        self.batches = iter(classification())

    def __iter__(self) -> Iterator[Any]:
        return self.batches


@pytest.mark.parametrize(
    ("module", "data", "settings", "message"),
    [
        (nn.Linear(2, 2), [], {}, "expected a LightningModule, got torch.nn.modules.linear.Linear"),
        (Module(mlp()), None, {}, "Module has no train_dataloader, so there is no data"),
        (Module(mlp()), 3, {}, "data should be a LightningDataModule, a DataLoader or a list of batches, got int"),
        (Module(mlp()), [], {}, "but the data gave none"),
        (Module(mlp()), Once(), {"steps": 30}, "but the data gave no more"),
        (Broken(mlp()), classification(), {}, r"without any algorithm.*no attribute 'missing' \(test_compare.py, line"),
        (Module(mlp()), [], {"steps": 0}, "steps should be a whole number of at least 1, got 0"),
        (Module(mlp()), [], {"sgd": [-0.1]}, "sgd: learning rates should be finite numbers above 0, got -0.1"),
        (Module(mlp()), [], {"adam": [math.inf]}, "adam: learning rates should be .* got inf"),
        (Module(mlp()), [], {"algorithms": [("backprop", 0)]}, "algorithms: learning rates should be .* got 0"),
        (Module(mlp()), [], {"max_epochs": 3}, "max_epochs=3: the report sets that itself"),
        (Module(mlp()), [], {"precison": 16}, "precison=16: a Trainer has no such setting"),
        (Module(mlp()), [], {"algorithms": []}, "expected at least one learning algorithm"),
        (Module(mlp()), [], {"algorithms": ["backprop"] * 2}, "expected different algorithms"),
        (Module(mlp()), [], {"algorithms": ["backporp"]}, "backporp"),
    ],
)
def test_what_cannot_be_run_is_an_error_before_any_work(
    module: Any, data: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ReportError, lightning_vsml.CheckpointError), match=message):
        lightning_vsml.parity(module, data, out=tmp_path / "out", progress=False, **settings)
    assert not list(tmp_path.rglob("*.*"))
