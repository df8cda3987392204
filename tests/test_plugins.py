"""Families and layer grids of other installed packages, here of one that is only written, not installed."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_vsml import CheckpointError, PluginError, attach, checkpoints
from lightning_vsml.algorithms.base import FAMILIES
from lightning_vsml.binding.grids import GRIDS, choice
from lightning_vsml.binding.grids.dense import LinearGrid

FAMILY = """
from dataclasses import dataclass
from typing import ClassVar
from lightning_vsml.algorithms.rules.hebb import Hebb

@dataclass(frozen=True)
class Elsewhere(Hebb):
    family: ClassVar[str] = "elsewhere"
"""
GRID = """
from torch import nn
from lightning_vsml.binding.grids.dense import LinearGrid

class Doubled(nn.Linear):
    def forward(self, x):
        return super().forward(2 * x)

class DoubledGrid(LinearGrid):
    pass

GRIDS = {Doubled: DoubledGrid}
TAKEN = {nn.Linear: DoubledGrid}
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a package, with modules by name and entry points by group, to where Python looks for installed ones."""
    monkeypatch.syspath_prepend(tmp_path)
    families, grids = dict(FAMILIES), dict(GRIDS)

    def write(package: str, modules: dict[str, str], **groups: str) -> None:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        info = tmp_path / f"{package}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        lines = [f"[lightning_vsml.{group}]\n{entry}\n" for group, entry in groups.items()]
        (info / "entry_points.txt").write_text("".join(lines))
        choice.take_up.cache_clear()

    yield write
    for registry, before in ((FAMILIES, families), (GRIDS, grids)):
        registry.clear()
        registry.update(before)
    for name in [n for n, m in sys.modules.items() if str(tmp_path) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]
    choice.take_up.cache_clear()


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A checkpoint whose card says that it is of the family "elsewhere"."""
    path = tmp_path / "foreign.safetensors"
    checkpoints.save(checkpoints.load("hebb"), path, made_by={"command": "test"})
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"family": "hebb"', '"family": "elsewhere"'))
    return path


def test_a_family_is_imported_as_a_checkpoint_asks_for_it(foreign: Path, install: Install) -> None:
    with pytest.raises(CheckpointError, match=r"family 'elsewhere'; known are .* Install the package"):
        checkpoints.load(foreign)
    install("maker", {"maker": FAMILY}, families="elsewhere = maker:Elsewhere\nother = nowhere:Other")
    checkpoints.load("backprop")
    assert "maker" not in sys.modules
    loaded = checkpoints.load(foreign)
    assert (type(loaded).__module__, type(loaded).__name__) == ("maker", "Elsewhere")
    with attach(nn.Linear(3, 2), foreign) as synapses:
        assert synapses.algorithm.family == "elsewhere"


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("import lost", "maker:Elsewhere", r"cannot be imported: ModuleNotFoundError\(.No module named 'lost'"),
        (FAMILY, "maker:Missing", r"cannot be imported: AttributeError\(.*'Missing'"),
        (FAMILY, "maker:dataclass", r"should be a subclass of lightning_vsml.Algorithm with family = 'elsewhere', got"),
        (FAMILY, "maker:Hebb", r"should be .* with family = 'elsewhere', got <class '.*Hebb'>"),
    ],
)
def test_a_family_that_is_none(foreign: Path, install: Install, source: str, entry: str, message: str) -> None:
    install("maker", {"maker": source}, families=f"elsewhere = {entry}")
    whose = r"the entry point 'elsewhere' \(.*\) of maker 1.5 in the group 'lightning_vsml.families' "
    with pytest.raises(PluginError, match=whose + message):
        checkpoints.load(foreign)


def test_two_families_of_a_name(foreign: Path, install: Install) -> None:
    install("maker", {"maker": FAMILY}, families="elsewhere = maker:Elsewhere")
    install("copier", {}, families="elsewhere = maker:Elsewhere")
    with pytest.raises(PluginError, match=r"of (maker|copier) 1.5 .* of (maker|copier) 1.5 .* have the same name"):
        checkpoints.load(foreign)


def test_grids_are_taken_up_as_a_model_is_mapped(install: Install) -> None:
    install("layers", {"layers": GRID}, grids="all = layers:GRIDS")
    assert "layers" not in sys.modules
    attach(nn.Linear(3, 2)).detach()
    from layers import Doubled, DoubledGrid

    model = nn.Sequential(nn.Linear(3, 3), Doubled(3, 2))
    plain, x = nn.Linear(3, 2), torch.randn(4, 3)
    plain.load_state_dict(model[1].state_dict())
    with attach(model) as synapses:
        assert [type(grid) for grid in synapses.grids.values()] == [LinearGrid, DoubledGrid]
        torch.testing.assert_close(model[1](x), plain(2 * x))


def test_the_users_own_grid_counts_over_a_packages(install: Install) -> None:
    install("layers", {"layers": GRID}, grids="all = layers:GRIDS")
    from layers import Doubled

    GRIDS[Doubled] = LinearGrid
    with attach(Doubled(3, 2)) as synapses:
        assert [type(grid) for grid in synapses.grids.values()] == [LinearGrid]


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("1 / 0", "layers:GRIDS", r"cannot be imported: ZeroDivisionError"),
        (
            GRID,
            "layers:DoubledGrid",
            r"should be a dict from layer types .* to subclasses of .*, got <class",
        ),
        (
            "GRIDS = {str: int}",
            "layers:GRIDS",
            r"should be a dict from layer types .*, got {<class 'str'>",
        ),
        (GRID, "layers:TAKEN", r"is for Linear, which has a grid already. Uninstall"),
    ],
)
def test_grids_that_are_none(install: Install, source: str, entry: str, message: str) -> None:
    before = dict(GRIDS)
    install("layers", {"layers": source}, grids=f"all = {entry}")
    whose = r"the entry point 'all' \(.*\) of layers 1.5 in the group 'lightning_vsml.grids' "
    for _ in range(2):  # it does not go away
        with pytest.raises(PluginError, match=whose + message):
            attach(nn.Linear(3, 2))
    assert before == GRIDS
