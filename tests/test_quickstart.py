"""docs/quickstart.ipynb runs from top to bottom, as Jupyter would run it, and holds nothing but its source."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


@pytest.fixture
def _without_windows() -> Iterator[None]:
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    matplotlib.pyplot.close("all")
    matplotlib.use(before)


@pytest.mark.usefixtures("_without_windows")
def test_it_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for place, cell in enumerate(CODE):
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, code cell {place}", "exec"), namespace)
    assert namespace["accuracy"](namespace["module"].net) > 0.93
    assert namespace["accuracy"](namespace["net"]) > 0.93
    curves = namespace["curves"]
    assert len(namespace["axes"].lines) == len(curves) == 4
    ours, sgd = torch.tensor(curves["backprop, lr 0.1"]), torch.tensor(curves["SGD, lr 0.1"])
    assert (ours - sgd).abs().max() < 0.01  # the text says that they are one curve
    assert namespace["loaded"].lr == 0.05 and namespace["slow"][-1] < sgd[-1]
    assert "test accuracy after three epochs" in capsys.readouterr().out


def test_it_is_stripped() -> None:
    assert CODE and not [cell for cell in CODE if cell["outputs"] or cell["execution_count"] is not None]
