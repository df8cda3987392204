"""The command, as a user runs it."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vsml.report.__main__ import main

DIGITS = "lightning_vsml.report.example:digits"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


class Page(HTMLParser):
    """Tags that are open, and whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        assert tag not in ("link", "script", "iframe")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_writes_a_report_that_needs_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    main([DIGITS, "--steps", "12", "--sgd-lr", "0.1", "--adam-lr", "0.003", "0.01", "--out", "out/mine"])
    out, page = Path("out/mine"), Page()
    page.feed((out / "report.html").read_text(encoding="utf-8"))
    assert not page.open and all(link.startswith(("#", "data:")) for link in page.fetched)
    for expected in ("backprop: follows.", "What is mapped how", "net.1", "accuracy", "Adam, lr 0.01", "65 x 32"):
        assert expected in page.text
    said = " ".join(capsys.readouterr().out.split())
    assert "learned from 12 batches (less than an epoch)" in said and "wrote out/mine/report.html" in said

    rows = list(csv.DictReader((out / "curves.csv").read_text().splitlines()))
    learners = {row["learner"] for row in rows}
    names = {"backprop", "adaptive", "SGD, lr 0.1", "Adam, lr 0.003", "Adam, lr 0.01", "your Adam, lr 0.001"}
    assert learners == names and len(rows) == 12 * len(names)
    assert all(0 <= float(row["accuracy"]) <= 1 and float(row["loss"]) > 0 for row in rows)
    layers = list(csv.DictReader((out / "layers.csv").read_text().splitlines()))
    assert {(row["learner"], row["layer"]) for row in layers} == {
        (name, layer) for name in ("backprop", "adaptive") for layer in ("net.1", "net.3")
    }
    board = EventAccumulator(str(out / "tensorboard" / "backprop")).Reload()
    assert {"loss", "accuracy", "cosine/net.1"} <= set(board.Tags()["scalars"])
    losses = [float(row["loss"]) for row in rows if row["learner"] == "backprop"]
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:Net"], "there is no module 'nowhere' to import"),
        ([DIGITS, "--data", "nowhere:data"], "there is no module 'nowhere' to import"),
        (["lightning_vsml.report.example:Digits"], "Digits has no train_dataloader, so there is no data to train on"),
        ([DIGITS, "--steps", "-5"], "argument --steps: expected a whole number of at least 1, got '-5'"),
        ([DIGITS, "--sgd-lr", "nan"], "argument --sgd-lr: expected a finite number above 0, got 'nan'"),
        ([DIGITS, "--adam-lr", "-1"], "argument --adam-lr: expected a finite number above 0, got '-1'"),
        ([DIGITS, "--algorithms", "backprop@x"], "expected NAME or NAME@LR, such as backprop@0.3, got 'backprop@x'"),
        ([DIGITS, "--algorithms", "backporp"], "backporp"),
        ([DIGITS, "--out", "taken"], "taken holds a report already: choose another folder, or delete it"),
        ([DIGITS, "--out", "file/folder"], "file/folder cannot be written"),
        ([DIGITS, "--seed", "-1"], "argument --seed: expected a whole number from 0 to 4294967295, got '-1'"),
    ],
)
def test_wrong_arguments_are_errors_before_any_work(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").mkdir()
    Path("taken/report.html").touch()
    Path("file").touch()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main([*arguments] if "--out" in arguments else [*arguments, "--out", "new"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2
    assert said.startswith("python -m lightning_vsml.report: error: ") and message in said
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "new"}
    assert not list(Path("new").glob("*"))
