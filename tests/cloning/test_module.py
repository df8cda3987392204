"""Cloning as a Lightning fit: it learns, resumes exactly, and takes nothing but random numbers."""

import builtins
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import trainer
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

from lightning_vsml import datasets, programs
from lightning_vsml.algorithms.parts import Stability
from lightning_vsml.cloning import PRESETS, TARGETS, CloningModule, Recipe
from lightning_vsml.cloning.errors import compare, outputs
from lightning_vsml.cloning.pool import Worlds
from lightning_vsml.cloning.structure import Clone, Symmetric

SMALL = Worlds(grids=4, inputs=4, outputs=4, samples=4)
RECIPE = Recipe(iterations=30, prune=0.5, worlds=SMALL)


def fit(module: CloningModule, *callbacks, ckpt_path: str | None = None, **settings) -> CloningModule:
    trainer(*callbacks, max_epochs=module.epochs, **settings).fit(module, ckpt_path=ckpt_path)
    return module


class Constructed(Clone):
    """The constructed program, in place of a cell in training."""

    def __init__(self) -> None:
        super().__init__()
        program = programs.backprop(dtype=torch.float64)
        self.memory, self._cell = program.memory, program.cell
        self._code = tuple(vector.unsqueeze(1) for vector in program.codec)

    def cell(self):
        # forward messages on channels 0, then 1 and 1: here each tick has its own
        V = torch.cat([self._cell.V, self._cell.V[1:]])
        return self._cell._replace(V=V, U=torch.cat([self._cell.U, torch.zeros_like(self._cell.U)]))

    def code(self):
        return self._code


@pytest.mark.parametrize("seed", range(3))
def test_the_constructed_program_has_no_errors(seed: int) -> None:
    """The yardstick, against an algorithm that is known to be right."""
    torch.manual_seed(seed)
    x, e, w = torch.randn(7, 2, 5).double(), torch.randn(7, 2, 3).double(), torch.randn(2, 5, 3).double()
    clone = Constructed()
    errors, state = compare(clone, TARGETS["sgd"], clone.encode((w,)), x, e)
    assert all(float(error.abs().max()) < 1e-4 for error in errors)
    change = torch.einsum("sga,sgb->gab", x, e) * 0.1 / 7
    torch.testing.assert_close(clone.decode(state.c)[0], w + change, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outputs(TARGETS["sgd"], (w,), x), torch.einsum("sga,gab->sgb", x, w))


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_errors_shrink(target: str) -> None:
    module = CloningModule(Recipe(target=target, iterations=200, prune=0.0, worlds=SMALL), every=50, drift_steps=(1,))
    losses: list[float] = []
    fit(
        module,
        LambdaCallback(
            on_train_epoch_end=lambda running, _: losses.append(float(running.logged_metrics["loss_epoch"]))
        ),
    )
    assert losses[-1] < 0.8 * losses[0]


def test_curves_are_logged() -> None:
    module = CloningModule(RECIPE, every=30)
    running = trainer(max_epochs=module.epochs)
    running.fit(module)
    wanted = {f"error/{name}" for name in ("forward", "backward", "change", "systematic")}
    wanted |= {"drift/10", "drift/100", "drift/1000", "retention", "loss", "skipped"}
    assert wanted <= set(running.callback_metrics)
    assert float(running.callback_metrics["retention"]) < 1e-5


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_stopped_run_resumes_to_the_same_end(tmp_path: Path) -> None:
    whole = fit(CloningModule(RECIPE, every=10, drift_steps=(1,)))
    stopped = CloningModule(RECIPE, every=10, drift_steps=(1,))
    first, second = (ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False) for _ in range(2))
    trainer(first, max_epochs=2, enable_checkpointing=True).fit(stopped)
    resumed = CloningModule(RECIPE, every=10, drift_steps=(1,))
    fit(resumed, second, ckpt_path=str(tmp_path / "last.ckpt"), enable_checkpointing=True)
    assert int(resumed.iteration) == 30
    for (name, want), got in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(want, got), name


def test_pruning_leaves_what_was_asked_for_and_what_matters() -> None:
    recipe = Recipe(iterations=200, prune=0.6, worlds=SMALL)
    module = CloningModule(recipe, every=200, drift_steps=(1,))
    masks = [getattr(module.clone, f"mask_{name}") for name in module.pruning.NAMES]
    before = sum(int(mask.count_nonzero()) for mask in masks)
    fit(module)
    after = sum(int(mask.count_nonzero()) for mask in masks)
    assert abs(after - round(0.4 * before)) <= 1
    cell = module.algorithm().cell
    assert sum(int(parameter.count_nonzero()) for parameter in cell) < 0.35 * cell.size
    assert int(cell.P_f.count_nonzero()) and float(cell.V[0].abs().max()) > 0  # inputs still reach the outputs


def test_dense_cells_are_not_pruned() -> None:
    with pytest.raises(ValueError, match="only symmetric cells are pruned, got Dense; set prune=0"):
        CloningModule(Recipe(structure="dense", prune=0.5))


@pytest.mark.parametrize("scale", [20.0, None])
def test_a_dense_cell_trains_too(scale: float | None) -> None:
    recipe = Recipe(structure="dense", units=8, scale=scale, prune=0.0, tidy=1.0, iterations=20, worlds=SMALL)
    module = fit(CloningModule(recipe, every=20, drift_steps=(1,)))
    assert module.algorithm().cell.units == 8 and int(module.skipped) == 0


def test_what_is_not_finite_is_skipped_and_counted() -> None:
    module = CloningModule(replace(RECIPE, prune=0.0), every=15, drift_steps=(1,))
    with torch.no_grad():
        module.pool_c[0, 0, 0, 0] = torch.inf
        module.pool_x_std[1] = torch.nan
    fit(module)
    assert 0 < int(module.skipped) < 30  # such grids die, in time
    assert all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def test_no_data_set_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone is made of random numbers: neither the loader nor any file of data is opened."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a data set was asked for")

    opened: list[str] = []
    plain_open = builtins.open
    monkeypatch.setattr(datasets, "load", refuse)
    monkeypatch.setattr(datasets, "_digits", refuse)
    monkeypatch.setattr(
        builtins, "open", lambda file, *a, **k: (opened.append(str(file)), plain_open(file, *a, **k))[1]
    )
    fit(CloningModule(RECIPE, every=15, drift_steps=(1,)))
    assert not [file for file in opened if any(part in file for part in ("ubyte", "sklearn", ".csv", ".npz"))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "adam"}, "target should be one of 'sgd', 'tanh-sgd', 'momentum', 'oja', got 'adam'"),
        ({"structure": "sparse"}, "structure should be one of 'symmetric', 'dense', got 'sparse'"),
        ({"prune": 1.0}, "prune should be a fraction from 0 to below 1, got 1.0"),
        ({"iterations": 0}, "iterations should be at least 1, got 0"),
    ],
)
def test_a_wrong_recipe_is_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_an_epoch_has_iterations() -> None:
    with pytest.raises(ValueError, match="every should be at least 1 iteration, got 0"):
        CloningModule(Recipe(), every=0)


def test_the_paper_s_preset_is_its_table() -> None:
    paper = PRESETS["paper"]
    worlds = paper.worlds
    assert (paper.units, paper.lr, paper.iterations, worlds.x_std) == (32, 5e-3, 1_000_000, (2.0, 2.0))
    assert worlds.grids * worlds.inputs * worlds.outputs * worlds.samples == 32_768
    assert paper.stability == Stability(state_clip=4.0, change_clamp=1.0)
    assert isinstance(PRESETS["cpu"].build(), Symmetric)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    module = CloningModule(RECIPE, every=15)
    fit(module, accelerator="gpu")
    assert int(module.skipped) == 0
    assert module.cpu().algorithm().cell.W.device.type == "cpu"
