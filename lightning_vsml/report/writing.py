"""A report's files."""

import csv
import importlib.util
import io
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from lightning_vsml.algorithms.files import replace_file
from lightning_vsml.report.errors import ReportError
from lightning_vsml.report.figures import metric_of

if TYPE_CHECKING:
    from lightning_vsml.report.result import Parity

PAGE, CURVES, LAYERS, BOARD = "report.html", "curves.csv", "layers.csv", "tensorboard"


def check_folder(folder: Path) -> None:
    """Make the folder, and see that a report can be written there.

    Raises:
        ReportError: it cannot, or there is one.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ReportError("the report's pictures need matplotlib: pip install matplotlib.")
    if (folder / PAGE).exists():
        raise ReportError(f"{folder} holds a report already: choose another folder, or delete it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ReportError(f"{folder} cannot be written ({error.strerror}). Choose another folder.") from error


def write(parity: "Parity", folder: Path) -> Path:
    """All files; the page last, so that where it is, all are."""
    check_folder(folder)
    from lightning_vsml.report.page import page

    content = page(parity)
    replace_file(folder / CURVES, curves(parity).encode())
    replace_file(folder / LAYERS, layers(parity).encode())
    board(parity, folder / BOARD)
    replace_file(folder / PAGE, content.encode())
    return folder / PAGE


def curves(parity: "Parity") -> str:
    """A line for each learner and step: loss, seconds, and what the module logged."""
    names = metric_of(parity.outcomes)
    rows: list[list[object]] = [["learner", "kind", "lr", "step", "loss", "seconds", *names]]
    for outcome in parity.outcomes:
        for step, loss in enumerate(outcome.losses):
            logged = [_blank(outcome.metrics[name][step]) if name in outcome.metrics else "" for name in names]
            plan = outcome.plan
            lr = "" if plan.lr is None else plan.lr
            rows.append([plan.name, plan.kind, lr, step, loss, _blank(outcome.seconds[step]), *logged])
    return _csv(rows)


def layers(parity: "Parity") -> str:
    """A line for each algorithm, layer and measured step."""
    rows: list[list[object]] = [["learner", "layer", "step", "cosine", "difference", "rate"]]
    for outcome in parity.outcomes:
        for name, steps in outcome.layers.items():
            rows += [[outcome.plan.name, name, step, *values] for step, values in steps.items()]
    return _csv(rows)


def board(parity: "Parity", folder: Path) -> None:
    """Scalars, a run of TensorBoard for each learner."""
    names = metric_of(parity.outcomes)
    for outcome in parity.outcomes:
        with SummaryWriter(str(folder / outcome.plan.name.replace(", ", "_").replace(" ", "_"))) as writer:
            for step, loss in enumerate(outcome.losses):
                writer.add_scalar("loss", loss, step)
                for name in names:
                    if name in outcome.metrics and math.isfinite(outcome.metrics[name][step]):
                        writer.add_scalar(name, outcome.metrics[name][step], step)
            for name, steps in outcome.layers.items():
                for step, values in steps.items():
                    for what, value in values._asdict().items():
                        writer.add_scalar(f"{what}/{name}", value, step)


def _blank(value: float) -> object:
    return value if math.isfinite(value) else ""


def _csv(rows: list[list[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
