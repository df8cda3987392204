"""What is refused: each with what was expected, what came, and how to fix it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, mlp, trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
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
    assert not {"training_step", "backward", "optimizer_step"} & set(vars(run.strategy))


@pytest.mark.parametrize("where", ["__init__", "setup"])
def test_manual_optimization(where: str) -> None:
    class Manual(Module):
        def setup(self, stage: str) -> None:
            self.automatic_optimization = False

    module = Manual(mlp()) if where == "setup" else Module(mlp())
    if where == "__init__":
        module.automatic_optimization = False
    fit_error(
        "sets automatic_optimization = False. Return the loss from training_step and one optimizer",
        module,
        VSMLLearner(),
    )


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


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy])
def test_sharded_strategies(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer()
    monkeypatch.setattr(run.strategy, "__class__", strategy)  # neither can be made without its hardware
    with pytest.raises(MisconfigurationException, match=f"whole weights on every process, but {strategy.__name__}"):
        VSMLLearner().setup(run, Module(mlp()), "fit")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"algorithm": "adam"}, CheckpointError, "unknown learning algorithm 'adam'; the shipped ones are: .*backprop"),
        ({"algorithm": Path("x.safetensors")}, CheckpointError, "does not exist"),
        ({"unmapped": "ignore"}, ValueError, "unmapped should be one of 'error', 'freeze', 'optimizer', got 'ignore'"),
        ({"forward": "fast"}, ValueError, "forward should be one of 'cell', 'module', got 'fast'"),
        (
            {"ticks": "quick"},
            ValueError,
            "ticks should be one of 'auto', 'products', 'reference', .*, got 'quick'",
        ),
        ({"lr": -0.1}, ValueError, "lr should be a finite number of at least 0"),
        ({"lr": "0.1"}, ValueError, "lr should be a finite number of at least 0, or None for the default, got '0.1'"),
        ({"algorithm": 3}, CheckpointError, r"expected the name of a learning algorithm \(backprop, .* got 3"),
        ({"lr": math.nan}, ValueError, "lr should be a finite number of at least 0"),
    ],
)
def test_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        VSMLLearner(**arguments)


def test_nothing_to_map() -> None:
    fit_error("no trainable layer that can be mapped", Module(nn.PReLU(6)), VSMLLearner(), error=MappingError)


def test_unmapped_parameters() -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.PReLU(4))
    fit_error(r"net.1.weight \(PReLU\)", Module(net), VSMLLearner(), error=MappingError)


def test_hybrid_where_it_is_not_supported() -> None:
    run = trainer()
    run.precision_plugin.precision = "16-mixed"
    with pytest.raises(MisconfigurationException, match="in one process and without gradient scaling"):
        VSMLLearner(unmapped="optimizer").setup(run, Module(mlp()), "fit")


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


def test_a_module_that_goes_around_the_learner() -> None:
    class Raw(Module):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            optimizer.optimizer.step(closure=closure)

    fit_error("no step was taken: expected Raw.optimizer_step to call", Raw(mlp()), VSMLLearner())


def test_layers_that_feedback_never_reaches_are_named() -> None:
    class Unused(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](x)

    with pytest.warns(UserWarning, match=r"no feedback reached these mapped layers .*: net.1\. They") as caught:
        trainer(VSMLLearner(), max_epochs=3).fit(Module(Unused(nn.Linear(6, 4), nn.Linear(4, 4))), classification(16))
    assert sum("no feedback" in str(warning.message) for warning in caught) == 1


@pytest.mark.parametrize("tied", [False, True])
def test_weights_used_outside_of_their_layer_are_named_once(tied: bool) -> None:
    def penalised(net: Any, x: Tensor, y: Tensor) -> Tensor:
        more = net[2](torch.relu(x @ net[0].weight.T)) if tied else 0
        return nn.functional.cross_entropy(net(x) + more, y) + (0 if tied else net[0].weight.square().sum())

    net = mlp()
    with pytest.warns(UserWarning, match="the loss uses weights of net.0 outside of the layer's own call") as caught:
        trainer(VSMLLearner(), max_steps=3).fit(Module(net, penalised), classification())
    assert len([warning for warning in caught if "outside of the layer" in str(warning.message)]) == 1
    assert all(parameter.grad is None for parameter in net.parameters())


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


def test_settings_without_effect_are_named() -> None:
    class Own(Module):
        def backward(self, loss: torch.Tensor) -> None:
            loss.backward()

    with pytest.warns(UserWarning, match="Own.backward is not called"):
        trainer(VSMLLearner(), max_steps=1).fit(Own(mlp()), classification())
    with pytest.warns(UserWarning, match="gradient_clip_val has no effect on layers that VSMLLearner trains"):
        trainer(VSMLLearner(), max_steps=1, gradient_clip_val=1.0).fit(Module(mlp()), classification())


def test_a_wrong_input_says_which_layer() -> None:
    with pytest.raises(ValueError, match=r"layer 'net.0': Linear\(in_features=6.*\(..., 6\), got \(8, 5\)"):
        trainer(VSMLLearner(), max_steps=1).fit(Module(mlp()), classification(shape=(5,)))
