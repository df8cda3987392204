"""Meta-training of dense cells: it improves them, and a run that was stopped comes to the same end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lightning_vsml import Cell, checkpoints
from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.meta.sequences import Episode, Problem, SequenceModule
from lightning_vsml.meta.sequences.outer import bptt, evolution
from lightning_vsml.meta.sequences.problem import Parameters
from lightning_vsml.ticks.dense import tick


class Recall(Problem):
    """A synapse is told a number once, and is asked for it in every tick after that."""

    def start(self, seed: int) -> dict[str, Tensor]:
        return initial(4, 2, seed, forget=1.0)._asdict()

    def algorithm(self, V: Parameters, name: str, card: dict[str, Any]) -> Algorithm:
        return Emergent(name, Cell(**V), card=card)

    def episode(self, number: int, progress: float, seed: int) -> "Told":
        return Told(torch.randn(16, generator=torch.Generator().manual_seed(1000 * seed + number)))

    def held_out(self, V: Parameters) -> dict[str, float]:
        told = Told(torch.linspace(-1, 1, 16))
        with torch.no_grad():
            return {"gain": -float(told.run(V, told.fresh(V), 0)[0])}


class Told(Episode):
    segments = 2

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    def fresh(self, V: Parameters) -> Sequence[Tensor]:
        return (torch.zeros(8, 16, 1, 1),)

    def run(self, V: Parameters, state: Sequence[Tensor], segment: int) -> tuple[Tensor, Sequence[Tensor]]:
        (planes,), errors = state, []
        for step in range(4):
            told = self.numbers * float(segment == 0 and step == 0)
            x = torch.stack([told, torch.ones(16)], -1).unsqueeze(1)
            planes, y, _ = tick(Cell(**V), planes, x, torch.zeros(16, 1, 2))
            errors.append((y[:, 0, 0] - self.numbers).square().mean())
        return torch.stack(errors).mean(), (planes,)


def fit(
    folder: Path, epochs: int, resume: bool = False, stop: Callback | None = None, **settings: Any
) -> SequenceModule:
    module = SequenceModule(Recall(), every=7, lr=0.03, **settings)
    saving = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
    run = trainer(saving, *([stop] if stop else []), max_epochs=epochs, enable_checkpointing=True)
    run.fit(module, ckpt_path=folder / "last.ckpt" if resume else None)
    return module


class StopAfter(Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


@pytest.mark.parametrize("outer", ["bptt", "es"])
def test_it_learns(outer: str, tmp_path: Path) -> None:
    module = fit(tmp_path, 20, outer=outer, population=32)
    problem = Recall()
    first, last = (problem.held_out(V)["gain"] for V in (problem.start(0), module.best))
    assert last > first / 2 and float(module.best_gain) == pytest.approx(last)  # half the error; chance is 0.38
    algorithm, made_by, measured = module.result("mine")
    assert algorithm.name == "mine" and made_by["steps"] == 140 and measured is not None
    assert made_by["recipe"]["problem"] == "Recall" and made_by["recipe"]["outer"] == outer


@pytest.mark.parametrize("outer", ["bptt", "es"])
@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_run_that_was_stopped_comes_to_the_same_end(outer: str, tmp_path: Path) -> None:
    """After 7 steps, in the middle of an episode of 2 segments."""
    straight = fit(tmp_path / "straight", 4, outer=outer, population=4)
    fit(tmp_path / "stopped", 4, stop=StopAfter(1), outer=outer, population=4)
    resumed = fit(tmp_path / "stopped", 4, resume=True, outer=outer, population=4)
    assert resumed.taken == straight.taken == 28
    for name in Cell._fields:
        assert torch.equal(straight.current[name], resumed.current[name]) and torch.equal(
            straight.best[name], resumed.best[name]
        )
    with pytest.raises(MisconfigurationException, match="another recipe: seed differ"):
        fit(tmp_path / "stopped", 4, resume=True, outer=outer, population=4, seed=1)


def test_it_goes_on_from_an_algorithm(tmp_path: Path) -> None:
    cell = initial(4, 2, seed=9)
    path = tmp_path / "mine.safetensors"
    checkpoints.save(Emergent("", cell, card={"kind": "meta-learned"}), path, made_by={"command": "a test"})
    module = SequenceModule(Recall(), start=str(path))
    assert all(torch.equal(own, theirs) for own, theirs in zip(module.current.values(), cell, strict=True))
    assert module.recipe["start"] == "mine"
    with pytest.raises(ValueError, match=r"start should have the tensors P_b, .*, but 'backprop' has"):
        SequenceModule(Recall(), start="backprop")


def test_evolution_estimates_the_gradient() -> None:
    problem = Recall()
    V, episode = problem.start(0), problem.episode(0, 0.0, 0)
    loss, exact, after = bptt(V, {}, episode, episode.fresh(V), 0)
    estimated_loss, estimate, estimated_after = evolution(
        V, {}, episode, episode.fresh(V), 0, pairs=2000, std=0.01, seed=0
    )
    assert loss == pytest.approx(estimated_loss)
    torch.testing.assert_close(after[0], estimated_after[0])
    ours, theirs = (torch.cat([part.flatten() for part in parts.values()]) for parts in (estimate, exact))
    assert torch.cosine_similarity(ours, theirs, 0) > 0.9
    assert float(ours.norm() / theirs.norm()) == pytest.approx(1.0, abs=0.15)


def test_a_segment_that_is_not_finite_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Told.run

    def broken(self: Told, V: Parameters, state: Sequence[Tensor], segment: int) -> tuple[Tensor, Sequence[Tensor]]:
        loss, after = run(self, V, state, segment)
        return (loss * torch.nan if segment else loss), after

    monkeypatch.setattr(Told, "run", broken)
    monkeypatch.setattr(Recall, "held_out", lambda *_: {"gain": 0.0})
    module = fit(tmp_path, 2)
    assert module.skipped == 7 and module.number == 7
    assert all(torch.isfinite(parameter).all() for parameter in module.current.values())


def test_settings_out_of_range(tmp_path: Path) -> None:
    for settings, message in (
        ({"outer": "cma"}, "outer should be one of 'bptt', 'es', got 'cma'"),
        ({"lr": 0.0}, "lr should be positive"),
        ({"population": 3}, "population should be even"),
    ):
        with pytest.raises(ValueError, match=message):
            SequenceModule(Recall(), **settings)  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match="should be a positive number, got -1"):
        fit(tmp_path, -1)
