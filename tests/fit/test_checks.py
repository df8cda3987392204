"""What is refused: each with what was expected, what came, and how to fix it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, mlp, trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import CheckpointError, MappingError, NonFiniteError, VSMLLearner


def fit_error(
    message: str, module: Module, *callbacks: Any, error: type[Exception] = MisconfigurationException
) -> None:
    """The fit fails with ``message``, and leaves the weights and the strategy as they were."""
    before = [parameter.clone() for parameter in module.parameters()]
    run = trainer(*callbacks, max_steps=3)
    with pytest.raises(error, match=message):
        run.fit(module, classification())
    assert all(torch.equal(now, then) for now, then in zip(module.parameters(), before, strict=True))
    assert not any("lightning_vsml" in str(vars(optimizer).get("step")) for optimizer in run.optimizers)


def test_two_learners() -> None:
    class Own(VSMLLearner):
        pass

    fit_error("expected one VSMLLearner, the Trainer has 2", Module(mlp()), VSMLLearner(), Own(lr=0.2))
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `VSMLLearner`"):  # Lightning's own
        trainer(VSMLLearner(), VSMLLearner(lr=0.2))


@pytest.mark.parametrize("finder", [LearningRateFinder, BatchSizeFinder])
def test_tuner_callbacks(finder: Any) -> None:
    class WithData(Module):
        batch_size = 8

        def train_dataloader(self) -> Any:
            return classification(batch=self.batch_size)

    with pytest.raises(
        MisconfigurationException, match=f"{finder.__name__} trains the model with its optimizer before"
    ):
        trainer(VSMLLearner(), finder()).fit(WithData(mlp()))


def test_the_tuner_itself() -> None:
    with pytest.raises(MisconfigurationException, match="LearningRateFinder trains the model with its optimizer"):
        Tuner(trainer(VSMLLearner())).lr_find(Module(mlp()), classification())


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy])
def test_sharded_strategies(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer()
    monkeypatch.setattr(run.strategy, "__class__", strategy)  # none can be made without its hardware
    message = f"whole weights on every process, but {strategy.__name__}"
    with pytest.raises(MisconfigurationException, match=message) as refused:
        VSMLLearner().setup(run, Module(mlp()), "fit")
    page = str(refused.value).split()[-1].rstrip(".")
    assert strategy.__name__ in (Path(__file__).parents[2] / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"algorithm": "adam"}, CheckpointError, "unknown learning algorithm 'adam'; the shipped ones are: .*backprop"),
        ({"algorithm": Path("x.safetensors")}, CheckpointError, "does not exist"),
        (
            {"unmapped": "ignore"},
            ValueError,
            "unmapped should be one of 'synapse', 'error', 'freeze', 'optimizer', got 'ignore'",
        ),
        ({"forward": "fast"}, ValueError, "forward should be one of 'cell', 'module', got 'fast'"),
        (
            {"ticks": "quick"},
            ValueError,
            "ticks should be one of 'auto', 'products', 'reference', .*, got 'quick'",
        ),
        ({"optimizer": 3}, ValueError, r"optimizer should be names of modules .*, got 3"),
        ({"lr": -0.1}, ValueError, "lr should be a finite number of at least 0"),
        ({"lr": "0.1"}, ValueError, "lr should be a finite number of at least 0, or None for the default, got '0.1'"),
        ({"algorithm": 3}, CheckpointError, r"expected the name of a learning algorithm \(.*backprop, .* got 3"),
        ({"lr": math.nan}, ValueError, "lr should be a finite number of at least 0"),
    ],
)
def test_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        VSMLLearner(**arguments)


def test_nothing_to_map() -> None:
    fit_error(
        "has nothing to train by synapses", Module(mlp().requires_grad_(False)), VSMLLearner(), error=MappingError
    )


def test_unmapped_parameters() -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.PReLU(4))
    fit_error('these do not: net.1.weight\n.*"synapse"', Module(net), VSMLLearner(unmapped="error"), error=MappingError)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_loss(bad: float) -> None:
    """Steps before it count; the step itself writes nothing."""

    class Spoilt(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.before = [parameter.clone() for parameter in self.parameters()]
            return super().training_step(batch, batch_idx) * (bad if batch_idx == 2 else 1)

    module = Spoilt(mlp())
    with pytest.raises(NonFiniteError, match=r"step 2: .* the loss is not \(loss = (nan|inf)\). No weight was changed"):
        trainer(VSMLLearner(), max_steps=5).fit(module, classification())
    assert all(torch.equal(now, then) for now, then in zip(module.parameters(), module.before, strict=True))


def test_layers_that_feedback_never_reaches_are_named() -> None:
    class Unused(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](x)

    with pytest.warns(UserWarning, match=r"no feedback reached net.1 in the first epoch") as caught:
        trainer(VSMLLearner(), max_epochs=3).fit(Module(Unused(nn.Linear(6, 4), nn.Linear(4, 4))), classification(16))
    assert sum("no feedback" in str(warning.message) for warning in caught) == 1


def test_an_optimizer_that_lacks_what_is_left_to_it() -> None:
    class HeadOnly(Module):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.net[0].parameters(), lr=0.1)

    net = nn.Sequential(nn.Linear(6, 4), nn.PReLU(4))
    fit_error("it lacks net.1.weight. Add them in", HeadOnly(net), VSMLLearner(unmapped="optimizer"))


def test_saturation_is_named_once_per_layer() -> None:
    """Inputs, a feedback and weights far too large."""
    x, y = next(iter(classification()))
    data = DataLoader(TensorDataset(x * 10_000, y), batch_size=4)
    with pytest.warns(
        UserWarning, match=r"step 1: the input of net.0, net.2 exceeds ±2048, .* Normalise the data"
    ) as caught:
        trainer(VSMLLearner(lr=1e-9), max_epochs=3).fit(Module(mlp()), data)
    assert sum("exceeds" in str(warning.message) for warning in caught) == 1
    with pytest.warns(
        UserWarning, match=r"the feedback of net.0, net.2 exceeds ±2048, .* Lower lr or rescale the loss"
    ):
        trainer(VSMLLearner(lr=1e5), max_steps=1).fit(Module(mlp()), classification())


def test_weights_beyond_reach_are_named_once() -> None:
    net = mlp()
    net[2].weight.data[1, 3] = 1e6
    with pytest.warns(UserWarning, match=r"the weights of net.2 exceed ±524288, .* Scale the targets") as caught:
        trainer(VSMLLearner(lr=1e-9), max_steps=3).fit(Module(net), classification())
    assert sum("the weights of" in str(warning.message) for warning in caught) == 1


def test_an_infinite_input_is_named() -> None:
    """Saturation would hide it: tanh(inf) is 1."""
    x, y = next(iter(classification()))
    x[1, 2] = math.inf
    with pytest.raises(NonFiniteError, match=r"the input of layer 'net.0' is not"):
        trainer(VSMLLearner(), max_steps=1).fit(Module(mlp()), DataLoader(TensorDataset(x, y), batch_size=4))


def test_settings_without_effect_are_named(caplog: pytest.LogCaptureFixture) -> None:
    class Moving(Module):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)

    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(VSMLLearner(), max_steps=1).fit(Moving(mlp()), classification())
    assert (
        "SGD: VSMLLearner begins at its own lr, 0.1, and follows how rates change, and weight decay; momentum=0.9"
        in caplog.text
    )
    caplog.clear()
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(VSMLLearner(), max_steps=1).fit(Module(mlp()), classification())
        trainer(VSMLLearner(follow_optimizer=False), max_steps=1).fit(Moving(mlp()), classification())
    assert "mean nothing to synapses" not in caplog.text


def test_what_no_optimizer_holds_is_named() -> None:
    class HeadOnly(Module):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.net[2].parameters(), lr=0.1)

    net = mlp()
    before = net[0].weight.clone()
    with pytest.warns(UserWarning, match=r"no optimizer holds net.0.weight, net.0.bias: they do not learn, as with"):
        trainer(VSMLLearner(), max_steps=3).fit(HeadOnly(net), classification())
    assert torch.equal(net[0].weight, before)


def test_a_wrong_input_says_which_layer() -> None:
    with pytest.raises(ValueError, match=r"layer 'net.0': Linear\(in_features=6.*\(..., 6\), got \(8, 5\)"):
        trainer(VSMLLearner(), max_steps=1).fit(Module(mlp()), classification(shape=(5,)))
