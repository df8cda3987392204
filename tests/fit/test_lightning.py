"""The learner in Trainers of ``pytorch_lightning``, which has classes of its own, and of ``lightning.pytorch``."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning.pytorch
import lightning_utilities.core.rank_zero
import pytest
import torch
import yaml
from helpers import QUIET, classification, cross_entropy, mlp
from torch import Tensor

from lightning_vsml import VSMLLearner


@pytest.fixture(scope="module")
def pl() -> Iterator[ModuleType]:
    """Imported here and not above, as every process that collects tests would, and others' messages went its way."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("log", "rank_zero_deprecation_category"):
            patch.setattr(lightning_utilities.core.rank_zero, name, getattr(lightning_utilities.core.rank_zero, name))
        yield pytest.importorskip("pytorch_lightning")


def module(package: ModuleType) -> Any:
    class Classifier(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net, self.losses = mlp(), []

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = cross_entropy(self.net, *batch)
            self.losses.append(loss.item())
            return loss

        def train_dataloader(self) -> Any:
            return classification()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Classifier()


def fit(package: ModuleType, callbacks: Any, ckpt_path: Path | None = None, **settings: Any) -> tuple[Any, Any]:
    model, run = module(package), package.Trainer(callbacks=callbacks, **{**QUIET, "max_epochs": 2, **settings})
    run.fit(model, ckpt_path=ckpt_path)
    return model, run


def test_learns_as_sgd(pl: ModuleType) -> None:
    sgd, _ = fit(pl, [])
    for callbacks in (VSMLLearner(lr=0.1), [VSMLLearner(lr=0.1)]):
        ours, run = fit(pl, callbacks)
        assert isinstance(run, pl.Trainer) and ours.losses[-1] < ours.losses[0]
        torch.testing.assert_close(torch.tensor(ours.losses), torch.tensor(sgd.losses), rtol=1e-4, atol=1e-4)


def test_a_run_goes_on_in_the_other_package(pl: ModuleType, tmp_path: Path) -> None:
    whole, _ = fit(pl, [VSMLLearner()], max_epochs=2)
    for first, then in ((pl, lightning.pytorch), (lightning.pytorch, pl)):
        _, run = fit(first, [VSMLLearner()], max_epochs=1)
        run.save_checkpoint(tmp_path / "run.ckpt")
        rest, _ = fit(then, [VSMLLearner()], tmp_path / "run.ckpt", max_epochs=2)
        assert rest.losses == whole.losses[12:]


def test_what_is_refused(pl: ModuleType) -> None:
    class Own(VSMLLearner):
        pass

    refused = pl.utilities.exceptions.MisconfigurationException
    with pytest.raises(refused, match="expected one VSMLLearner, the Trainer has 2"):
        fit(pl, [VSMLLearner(), Own()])
    with pytest.raises(refused, match="LearningRateFinder trains the model with its optimizer before"):
        fit(pl, [VSMLLearner(), pl.callbacks.LearningRateFinder()])
    with pytest.raises(refused, match="FSDPStrategy shards them"):
        run = pl.Trainer(callbacks=VSMLLearner(), **QUIET)
        run.strategy.__class__ = pl.strategies.FSDPStrategy  # it would need a GPU
        VSMLLearner().setup(run, module(pl), "fit")


def test_the_table_is_shown_beside_the_model_summary(pl: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    fit(pl, [VSMLLearner()], enable_model_summary=True, max_steps=1)
    assert "|V_L| / |V_M|" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as in test_configuration.py
def test_its_command_line(pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_lightning.cli import LightningCLI

    monkeypatch.setattr(sys, "argv", ["program"])
    learner = {"class_path": "lightning_vsml.VSMLLearner", "init_args": {"lr": 0.05}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"trainer": {**QUIET, "max_steps": 3, "callbacks": [learner]}}))
    VSMLLearner()  # with which pytorch_lightning is known to be there
    cli = LightningCLI(
        type(module(pl)), args=["fit", "--config", str(config)], save_config_callback=None, seed_everything_default=0
    )
    assert len(cli.model.losses) == 3
    assert [callback.lr for callback in cli.trainer.callbacks if isinstance(callback, VSMLLearner)] == [0.05]


def test_a_module_of_the_one_in_a_trainer_of_the_other(pl: ModuleType) -> None:
    for ours, theirs in ((pl, lightning.pytorch), (lightning.pytorch, pl)):
        run = theirs.Trainer(callbacks=[VSMLLearner()], **QUIET)
        with pytest.raises(TypeError, match=r"must be a `LightningModule` .* got `.*Classifier`"):  # Lightning's own
            run.fit(module(ours))


def test_a_learner_older_than_the_import(pl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    early = VSMLLearner()
    VSMLLearner.__bases__ = (lightning.pytorch.Callback,)  # as before pytorch_lightning was imported
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    VSMLLearner()
    assert not isinstance(early, pl.Callback)
    monkeypatch.undo()
    VSMLLearner()
    assert isinstance(early, pl.Callback) and isinstance(early, lightning.pytorch.Callback)
    assert type(pickle.loads(pickle.dumps(early))) is VSMLLearner
