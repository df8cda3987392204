"""Speed over commits: what a line holds, what a picture shows, what is refused."""

import json
import subprocess
from pathlib import Path

import pytest
import ticks
import track
from torch import nn

TINY = ["--algorithms", "backprop", "--layers", "4x3", "--samples", "2", "--seconds", "1e-4"]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(ticks.LAYERS, "4x3", (lambda: nn.Linear(4, 3), (4,)))
    monkeypatch.setattr(track, "commit", lambda: ("0123456789abcdef", True))
    return tmp_path / "runs.jsonl"


def test_a_run_is_a_line_and_no_time_is_kept(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for runs in (1, 2):
        track.main([*TINY, "--out", str(out)])
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(lines) == runs
    assert set(lines[0]) == {"commit", "changed", "date", "machine", "versions", "ratios"}
    assert lines[0]["commit"] == "0123456789abcdef" and list(lines[0]["ratios"]) == ["backprop 4x3 S=2"]
    assert lines[0]["ratios"]["backprop 4x3 S=2"] > 1, "a tiny layer's step is mostly Python, of which SGD has less"
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "2 runs" in capsys.readouterr().out


def test_a_ratio_is_of_both_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds of ours and SGD's, of which the median counts: 6 / 2 of 6 / 3, 6 / 2, 6 / 1."""
    times = iter([6.0, 3.0, 6.0, 2.0, 6.0, 1.0])
    monkeypatch.setitem(ticks.LAYERS, "4x3", (lambda: nn.Linear(4, 3), (4,)))
    monkeypatch.setattr(track, "median", lambda *_: next(times))
    assert track.ratio("backprop", "4x3", 2, 1.0) == 3.0


def test_a_picture_has_a_line_for_each_case_and_machine() -> None:
    def run(commit: str, machine: str, **ratios: float) -> dict[str, object]:
        named = {f"{name.replace('_', ' ')} S=1": value for name, value in ratios.items()}
        return {"commit": commit, "date": "2026-11-27T00:00:00", "machine": machine, "ratios": named}

    runs = [
        run("aaaaaaaa", "one", backprop_4x3=2.0, adaptive_4x3=5.0),
        run("bbbbbbbb", "other", backprop_4x3=3.0),
        run("cccccccc", "one", backprop_4x3=1.5),
    ]
    first, second = track.draw(runs).axes
    assert [axis.get_title() for axis in (first, second)] == ["backprop", "adaptive"]
    points = [[list(map(float, part)) for part in line.get_data()] for line in first.lines]
    assert points == [[[0, 2], [2.0, 1.5]], [[1], [3.0]]]
    assert [label.get_text()[:7] for label in second.get_xticklabels()] == ["aaaaaaa", "bbbbbbb", "ccccccc"]


def test_the_commit_is_git_s() -> None:
    root = Path(track.__file__).parents[1]
    asked = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("not a checkout")
    assert track.commit()[0] == asked.stdout.strip()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "0"], "expected a whole number of at least 1"),
        (["--seconds", "inf"], "expected a finite number above 0"),
        (["--draw"], "has no runs yet"),
        (["--out", "nowhere/runs.jsonl"], "does not exist: make it"),
    ],
)
def test_wrong_options_say_so(options: list[str], message: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        track.main([*TINY, "--out", str(out), *options])
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("line", ["{", "[]", '{"commit": "a"}', "1"])
def test_a_foreign_line_is_named(line: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out.write_text(f"{line}\n")
    with pytest.raises(SystemExit):
        track.main([*TINY, "--out", str(out)])
    assert "line 1 of" in capsys.readouterr().err and out.read_text() == f"{line}\n"


def test_outside_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "HERE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ValueError, match="should be in a checkout of git"):
        track.commit()
