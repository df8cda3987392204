"""The callback with an algorithm whose states are no weights: every stage runs by states."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, cross_entropy, trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from lightning_vsml import VSMLLearner
from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.fit import report

ALGORITHM = Emergent("scratch", initial(8, 3, seed=2))


class Evaluated(Module):
    """With all the other stages."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("seen", self.net(batch[0]).square().sum().as_subclass(Tensor))

    test_step = validation_step

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.net(batch[0])


def module() -> Evaluated:
    torch.manual_seed(0)
    return Evaluated(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)), cross_entropy, 0.1)


@pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path")
def test_all_stages_see_what_was_learned(tmp_path: Path) -> None:
    data, mine, learner = classification(16, (6,)), module(), VSMLLearner(ALGORITHM, diagnostics=True)
    before = [parameter.detach().clone() for parameter in mine.parameters()]
    saving = ModelCheckpoint(tmp_path, save_last=True)
    run = trainer(learner, saving, max_epochs=2, enable_checkpointing=True)
    run.fit(mine, data, data)
    at_end = run.callback_metrics["seen"]
    assert all(torch.equal(p, b) for p, b in zip(mine.parameters(), before, strict=True))
    assert float(run.validate(mine, data, verbose=False)[0]["seen"]) == pytest.approx(float(at_end))
    assert float(run.test(mine, data, verbose=False)[0]["seen"]) == pytest.approx(float(at_end))
    predicted = run.predict(mine, data)
    assert predicted is not None
    plain = mine.net(next(iter(data))[0])  # after every stage the module is the user's own again
    assert type(plain) is Tensor and not torch.allclose(plain, torch.as_tensor(predicted[0]))
    other = trainer(VSMLLearner(ALGORITHM))  # another process, so to say, from the checkpoint
    again = other.test(module(), data, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert float(again[0]["seen"]) == pytest.approx(float(at_end))
    on = trainer(VSMLLearner(ALGORITHM), max_epochs=3)
    on.fit(module(), data, data, ckpt_path=tmp_path / "last.ckpt")
    straight = trainer(VSMLLearner(ALGORITHM), max_epochs=3)
    straight.fit(module(), data, data)
    assert float(on.callback_metrics["seen"]) == pytest.approx(float(straight.callback_metrics["seen"]))


def test_nothing_was_learned_yet() -> None:
    with pytest.raises(MisconfigurationException, match=r"'scratch' keeps what it learns.* Fit with it first"):
        trainer(VSMLLearner(ALGORITHM)).test(module(), classification(8, (6,)), verbose=False)


@pytest.mark.parametrize("settings", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}])
def test_settings_of_a_trainer_that_are_about_gradients(settings: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match="is about gradients, which 'scratch' has none of"):
        trainer(VSMLLearner(ALGORITHM), max_steps=1, **settings).fit(module(), classification(8, (6,)))


def test_settings_of_the_learner_that_are_about_weights() -> None:
    for settings in ({"lr": 0.1}, {"forward": "module"}, {"optimizer": ["net.0"]}, {"unmapped": "optimizer"}):
        with pytest.raises(ValueError, match="has no meaning for 'scratch'"):
            VSMLLearner(ALGORITHM, **settings)  # type: ignore[arg-type]


def test_the_table_says_what_is_left_out() -> None:
    learner = VSMLLearner(ALGORITHM)
    run = trainer(learner, max_steps=1)
    run.fit(module(), classification(8, (6,)))
    assert learner._synapses is not None
    table = report.summary(learner._synapses, "synapse")
    assert "left out between layers, whose messages go from one to the next: ReLU" in str(table.caption)
    assert "weights stay as they are" in str(table.caption) and "lr" not in str(table.title)
