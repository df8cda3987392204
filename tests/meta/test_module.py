"""Meta-training as a Lightning fit: every outer optimizer runs, resumes exactly, on any number of processes."""

import csv
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vsml import datasets
from lightning_vsml.meta import BPTT, CMAES, ES, MetaLearningModule, Outer, Space, Tasks
from lightning_vsml.meta import unroll as inner

OUTERS: dict[str, Callable[[int], Outer]] = {
    "CMAES": partial(CMAES, population=4),
    "ES": partial(ES, population=4),
    "persistent ES": partial(ES, population=4, persistent=True),
    "BPTT": BPTT,
}
TASKS = Tasks(datasets=["clusters"], hidden=(3, 5), batch=(3, 5), examples=60)
TINY: dict[str, Any] = {
    "tasks": TASKS, "tasks_per_step": 1, "horizon": (2, 4), "every": 2, "held_out": 1, "held_out_steps": 4, "segment": 2
}  # fmt: skip


@pytest.fixture(params=OUTERS)
def outer(request: pytest.FixtureRequest) -> Callable[[int], Outer]:
    """Every outer optimizer."""
    return OUTERS[request.param]


def tiny(outer: Callable[[int], Outer] = OUTERS["CMAES"], **settings: Any) -> MetaLearningModule:
    return MetaLearningModule(outer=outer, **{**TINY, **settings})


def alone(module: MetaLearningModule) -> MetaLearningModule:
    """With a Trainer, and without a fit."""
    module.trainer = trainer()
    return module


def saving(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="last", enable_version_counter=False)


def test_it_runs_without_data(outer: Callable[[int], Outer], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a data set was asked for")

    monkeypatch.setattr(datasets, "load", refuse)
    module, running = tiny(outer), trainer(max_epochs=2)
    running.fit(module)
    assert module.search.steps == running.global_step == 4 and module.search.skipped == 0
    assert torch.equal(module.u.detach(), module.search.best) and float(module.u.detach().abs().max()) > 0
    assert bool(module.u.isfinite().all()) and bool(module.best_gain.isfinite())
    assert {"meta_loss", "skipped", "u/W g 0.1562", "held_out_gain"} <= set(running.callback_metrics)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_stopped_run_resumes_to_the_same_end(outer: Callable[[int], Outer], tmp_path: Path) -> None:
    whole = tiny(outer)
    trainer(max_epochs=3).fit(whole)
    trainer(saving(tmp_path), max_epochs=1, enable_checkpointing=True).fit(tiny(outer))
    resumed = tiny(outer)
    running = trainer(saving(tmp_path), max_epochs=3, enable_checkpointing=True)
    running.fit(resumed, ckpt_path=str(tmp_path / "last.ckpt"))
    assert resumed.search.steps == 6
    for (name, want), got in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(want, got), name


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    trainer(saving(tmp_path), max_epochs=1, enable_checkpointing=True).fit(tiny())
    for other, parts in (
        (tiny(seed=1), "seed"),
        (tiny(partial(CMAES, population=6)), "outer"),
        (tiny(OUTERS["ES"], horizon=(3, 5)), "horizon, outer"),
        (tiny(tasks=Tasks(datasets=["sparse"])), "tasks"),
    ):
        with pytest.raises(MisconfigurationException, match=f"another recipe: {parts} differ. Resume with the same"):
            trainer(max_epochs=2).fit(other, ckpt_path=str(tmp_path / "last.ckpt"))


def test_the_best_by_held_out_tasks_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gains that rise and fall, as a held-out set would tell them."""
    module, places, gains = tiny(), [], [0.1, 0.3, float("nan"), 0.2]

    class Told:
        def judge(self, algorithm: object) -> Any:
            places.append(module.u.detach().clone())
            return type("Standing", (), {"gain": gains[len(places) - 1]})()

    module.__dict__["standing"] = Told()
    monkeypatch.setattr(module, "_show", lambda standing: None)
    trainer(max_epochs=4).fit(module)
    assert float(module.best_gain) == pytest.approx(0.3)
    assert torch.equal(module.best, places[1]) and not torch.equal(places[1], places[3])


def test_without_held_out_tasks_the_last_is_the_best() -> None:
    module = tiny(held_out=0)
    trainer(max_epochs=1).fit(module)
    assert torch.equal(module.best, module.u.detach())


def test_gradients_are_finite_differences_of_judging() -> None:
    """Judged in float64; the module's own float32 serves judging well, and gradients by no means."""
    exact = alone(tiny(tasks_per_step=2, errors=0.0))
    exact.trials.space = Space(exact.space.start.to(dtype=torch.float64).on("reference"), exact.space.coordinates)
    module = alone(tiny(tasks_per_step=2, errors=0.5))
    u = 0.1 * torch.randn(module.space.size, dtype=torch.float64)
    steps = 1e-3 * torch.eye(len(u), dtype=torch.float64)
    slope = (exact.trials.judge(u + steps) - exact.trials.judge(u - steps)) / 2e-3
    loss, gradient = module.trials.gradient(u)
    torch.testing.assert_close(gradient, slope, rtol=1e-2, atol=1e-5)
    assert float(loss) == pytest.approx(float(exact.trials.judge(u.unsqueeze(0))), rel=1e-4)
    whole = alone(tiny(tasks_per_step=2, errors=0.5, segment=0))
    torch.testing.assert_close(whole.trials.gradient(u)[1], gradient)  # whatever segments


def test_one_candidate_that_diverges_does_not_touch_the_others() -> None:
    module = alone(tiny())
    candidates = 0.1 * torch.randn(3, module.space.size, dtype=torch.float64)
    want = module.trials.judge(candidates)
    candidates[1, [coordinate.name for coordinate in module.space.coordinates].index("W g 0.1562")] = 1e37
    got = module.trials.judge(candidates)
    assert got[1] == torch.inf and bool(want.isfinite().all())
    torch.testing.assert_close(got[[0, 2]], want[[0, 2]], rtol=1e-4, atol=1e-5)
    module = alone(tiny())
    losses, fresh = module.trials.go_on(candidates, torch.zeros(module.space.size))
    assert losses.isfinite().tolist() == [True, False, True] and bool(fresh.all())


def test_particles_live_to_the_longest_horizon() -> None:
    """Truncated unrolls together are the whole one, and then others begin."""
    module = alone(tiny(horizon=(2, 6), errors=0.0))
    still, u = torch.zeros(2, module.space.size, dtype=torch.float64), torch.zeros(module.space.size)
    told = []
    for _ in range(4):
        told.append(module.trials.go_on(still, u))
        module.trials.step += 1
    assert [bool(fresh.all()) for _, fresh in told] == [True, False, False, True]
    task = TASKS.sample(0, {})
    algorithm = module.space.algorithm(u)
    whole = inner.unroll(algorithm, task.network, inner.begin(algorithm, task), task.batches(6, 1)).loss[:, 0, 0]
    for place in range(3):
        want = whole[2 * place : 2 * place + 2].mean().log()
        assert told[place][0].tolist() == pytest.approx([float(want)] * 2, rel=1e-3, abs=1e-4)


def test_horizons_lengthen_from_the_shortest() -> None:
    module = tiny(horizon=(10, 1000), lengthen=100, tasks_per_step=8)
    for step, (low, high) in {0: (10, 11), 49: (10, 100), 99: (10, 1000), 500: (10, 1000)}.items():
        module.trials.step = step
        lengths = [length for _, length in module.trials.drawn()]
        assert low <= min(lengths) and max(lengths) <= high and (step == 0 or max(lengths) > high**0.7)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, partial(RuntimeError, "can't allocate")])
def test_short_memory_says_what_to_lower(error: Callable[..., Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise error("CUDA out of memory") if error is not MemoryError else MemoryError

    for outer in OUTERS.values():
        with monkeypatch.context() as patch, pytest.raises(MemoryError, match=r"population of \d.*outer\.population"):
            patch.setattr(inner, "learn", short)
            alone(tiny(outer)).search.step(tiny(outer).trials)


def test_other_errors_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(inner, "learn", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        alone(tiny()).trials.judge(torch.zeros(2, tiny().space.size))


def test_tensorboard_shows_curves_and_the_figure(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer(max_epochs=2, logger=logger, log_every_n_steps=1).fit(tiny())
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("meta_loss")] == [0, 1, 2, 3]
    held_out = {f"held_out/{name}" for name in ("meta-learned", "SGD", "Adam", "gain")}
    assert {*held_out, "held_out_gain", "skipped", "u/W g 0.1562"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("held_out/gain")] == [2, 4]
    assert events.Tags()["images"] == ["held-out tasks"]
    assert all(0 <= event.value <= 1 for name in ("SGD", "Adam") for event in events.Scalars(f"held_out/{name}"))


def test_a_csv_logger_does_too(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trainer(max_epochs=2, logger=logger, log_every_n_steps=1).fit(tiny())
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["meta_loss"]]) == 4
    assert len([row for row in rows if row["held_out/gain"]]) == 2


# Rankings are the same to the bit. The value of a loss depends on who is judged together by its rounding, and ES
# divides small differences of losses.
TOLERANCE = {"CMAES": 0.0, "persistent ES": 1e-4, "BPTT": 1e-6}
TWO = """
import sys, torch
sys.path[:0] = {paths!r}
from helpers import trainer
from test_module import TOLERANCE, shared
torch.set_num_threads(1)  # and nothing ran before: a forked process has no threads of its parent
for name in TOLERANCE:
    module = shared(name)
    trainer(max_epochs=1, devices=2, strategy="ddp_fork").fit(module)
    torch.save([module.u.detach(), module.best, module.best_gain], {out!r} + "/" + name)
"""


def shared(name: str) -> MetaLearningModule:
    """What the processes share; what is best is told by the first of them, whatever the optimizer."""
    return tiny(OUTERS[name], tasks_per_step=2, held_out=int(name == "CMAES"))


def test_two_processes_come_to_the_same_end_as_one(tmp_path: Path) -> None:
    here = Path(__file__).parent
    script = TWO.format(paths=[str(here.parent), str(here)], out=str(tmp_path))
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    for name, rtol in TOLERANCE.items():
        one = shared(name)
        trainer(max_epochs=1).fit(one)
        for got, want in zip(torch.load(tmp_path / name), (one.u.detach(), one.best, one.best_gain), strict=True):
            torch.testing.assert_close(got, want, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "lstm"}, "space should be one of 'backprop', 'cloned_backprop', got 'lstm'"),
        ({"horizon": (5, 2)}, "horizon should be a range from short to long, got 5 to 2"),
        ({"horizon": (0, 2)}, "horizon should be a range from short to long, got 0 to 2"),
        ({"tasks_per_step": 0}, "tasks_per_step should be at least 1, got 0"),
        ({"seeds": 0}, "seeds should be at least 1, got 0"),
        ({"every": 0}, "every should be at least 1, got 0"),
        ({"segment": -1}, "segment should be at least 0, got -1"),
        ({"held_out": -1}, "held_out should be at least 0, got -1"),
        ({"held_out_steps": 2}, "held_out_steps should be at least 3, got 2"),
        ({"outer": OUTERS["persistent ES"], "horizon": (2, 5)}, r"at least horizon\[1\], got 2 \* 2 < 5. Raise every"),
        ({"errors": 1.5}, r"errors should be a share from 0 to 1, got 1\.5"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**settings)
