"""Features of the Trainer and of other callbacks: with the learner they do what they do with SGD.

Each test runs both and compares losses and weights. docs/compatibility.md names these tests.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Loss, Module, classification, cross_entropy, mlp, relative_differences, trainer
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from models import ResNet
from torch import Tensor, nn

from lightning_vsml import VSMLLearner

LR = 0.1


def as_sgd(
    settings: dict[str, Any],
    callbacks: Callable[[], list[Callback]] = list,
    build: Callable[[], Module] = lambda: Module(mlp(), lr=LR),
    limit: float = 1e-4,
    **data: Any,
) -> tuple[Module, Module]:
    """Fit with SGD and with the learner; what remains must be the same."""
    fits = []
    for learner in ([], [VSMLLearner("backprop", lr=LR)]):
        torch.manual_seed(0)
        module = build()
        loader = classification(**data)
        trainer(*learner, *callbacks(), **settings).fit(module, loader, loader)
        fits.append(module)
    sgd, ours = fits
    assert len(ours.losses) == len(sgd.losses) > 0
    assert max(relative_differences(ours.net, sgd.net).values()) < limit
    torch.testing.assert_close(torch.tensor(ours.losses), torch.tensor(sgd.losses), rtol=limit, atol=limit)
    return sgd, ours


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_grad_batches": 5, "max_epochs": 2},
        {"overfit_batches": 3, "max_epochs": 5},
        {"fast_dev_run": 3},
        {"limit_train_batches": 0.5, "max_epochs": 3},
        {"limit_train_batches": 4, "limit_val_batches": 0, "max_epochs": 3},
        {"val_check_interval": 3, "max_epochs": 2},
        {"check_val_every_n_epoch": 2, "max_epochs": 4},
        {"num_sanity_val_steps": 2, "max_epochs": 2},
        {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2},
        {"detect_anomaly": True, "max_steps": 10},
        {"inference_mode": False, "max_steps": 10},
        {"profiler": "simple", "max_steps": 10},
        {"barebones": True, "max_steps": 10},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.filterwarnings("ignore:.*barebones", "ignore:You requested to overfit")
def test_settings(settings: dict[str, Any]) -> None:
    if settings.get("barebones"):
        absent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        settings |= dict.fromkeys(absent)
    as_sgd(settings)


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [GradientAccumulationScheduler({0: 1, 1: 3})],
        lambda: [EarlyStopping("val_loss", patience=0, min_delta=0.2)],
        lambda: [StochasticWeightAveraging(swa_lrs=LR, swa_epoch_start=2, annealing_epochs=1)],
    ],
    ids=["GradientAccumulationScheduler", "EarlyStopping", "StochasticWeightAveraging"],
)
def test_callbacks(callbacks: Callable[[], list[Callback]]) -> None:
    as_sgd({"max_epochs": 4, "enable_model_summary": False}, callbacks)


def test_stochastic_weight_averaging_of_batch_norms() -> None:
    """The extra epoch for their statistics learns nothing."""
    as_sgd(
        {"max_epochs": 3},
        lambda: [StochasticWeightAveraging(swa_lrs=LR, swa_epoch_start=1, annealing_epochs=1)],
        lambda: Module(ResNet(torch.tanh), lr=LR),
        limit=1e-3,
        n=32,
        shape=(2, 6, 6),
    )


def test_weight_averaging() -> None:
    averaging = pytest.importorskip("lightning.pytorch.callbacks", reason="Lightning >= 2.6")
    if not hasattr(averaging, "EMAWeightAveraging"):
        pytest.skip("Lightning has it from 2.6")
    as_sgd({"max_epochs": 3}, lambda: [averaging.EMAWeightAveraging(decay=0.9)])


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")  # said once in a process
def test_steps_without_loss() -> None:
    class Skipping(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
            return super().training_step(batch, batch_idx) if batch_idx % 3 else None

    as_sgd({"max_epochs": 3, "accumulate_grad_batches": 2}, build=lambda: Skipping(mlp(), lr=LR))


def test_batches_of_one() -> None:
    as_sgd({"max_steps": 40}, batch=1)


def test_configure_model() -> None:
    class Late(Module):
        def configure_model(self) -> None:
            if self.net is None:
                self.net = mlp()

    as_sgd({"max_epochs": 1}, build=lambda: Late(None, lr=LR))


def test_several_fits_in_a_row_with_other_data() -> None:
    fits = []
    for learner in ([], [VSMLLearner("backprop", lr=LR)]):
        module = Module(mlp(), lr=LR)
        for n in (40, 64, 24):
            trainer(*learner, max_epochs=1).fit(module, classification(n))
        fits.append(module)
    assert max(relative_differences(fits[1].net, fits[0].net).values()) < 1e-4


# --- changing from an optimizer to the learner and back


def test_fit_by_the_learner_and_then_by_adam() -> None:
    module, plain = Module(mlp(), optimizer="Adam", lr=0.01), Module(mlp(), optimizer="Adam", lr=0.01)
    trainer(VSMLLearner(), max_steps=10).fit(module, classification())
    plain.load_state_dict(module.state_dict())
    for each in (module, plain):
        trainer(max_steps=10).fit(each, classification())
    assert max(relative_differences(module.net, plain.net).values()) == 0


@pytest.mark.parametrize("learner_first", [True, False])
@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_a_checkpoint_resumes_with_the_other(tmp_path: Path, learner_first: bool) -> None:
    """Of Adam with the learner, and of the learner with Adam: the weights and the step go on."""

    def callbacks(learner: bool) -> list[Callback]:
        return [VSMLLearner("backprop", lr=LR)] if learner else []

    def module() -> Module:
        return Module(mlp(), optimizer="Adam", lr=0.01)

    batch = classification(8)  # a single one, as Lightning may resume within an epoch
    first = trainer(*callbacks(learner_first), max_steps=12)
    first.fit(before := module(), batch)
    first.save_checkpoint(tmp_path / "12.ckpt")
    run = trainer(*callbacks(not learner_first), max_steps=30)
    run.fit(after := module(), batch, ckpt_path=str(tmp_path / "12.ckpt"))
    assert run.global_step == 30 and len(after.losses) == 18
    with torch.no_grad():
        at_12 = float(cross_entropy(before.net, *next(iter(batch))))
    assert after.losses[0] == pytest.approx(at_12, rel=1e-4)
    assert sum(after.losses[-5:]) < sum(before.losses[-5:])

    if not learner_first:  # as SGD from there
        sgd = Module(mlp(), lr=LR)
        sgd.load_state_dict(before.state_dict())
        trainer(max_steps=18).fit(sgd, batch)
        assert max(relative_differences(after.net, sgd.net).values()) < 1e-4


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_the_best_checkpoint_is_a_plain_modules(tmp_path: Path) -> None:
    save = ModelCheckpoint(tmp_path, monitor="val_loss")
    module, loader = Module(mlp()), classification()
    run = trainer(VSMLLearner(), save, max_epochs=3, enable_checkpointing=True)
    run.fit(module, loader, loader)
    [plain] = trainer().validate(Module(mlp()), loader, ckpt_path=save.best_model_path, verbose=False)
    assert plain["val_loss"] == pytest.approx(float(save.best_model_score), rel=1e-6)


def test_losses_of_any_kind() -> None:
    def entropy(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits = net(x)
        return nn.functional.cross_entropy(logits, y, label_smoothing=0.1, reduction="sum") / len(x) + 0.01 * (
            logits.square().mean()
        )

    loss: Loss = entropy
    as_sgd({"max_epochs": 2}, build=lambda: Module(mlp(), loss, lr=LR))
