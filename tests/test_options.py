"""Every command and example refuses bad options: one line, exit status 2, before any work."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_vsml import datasets
from lightning_vsml.algorithms import options
from lightning_vsml.algorithms.__main__ import NAMES, constructed

ROOT = Path(__file__).parents[1]
OTHERS = ("common", "cli", "batch_one")  # no command; a LightningCLI; without options
EXAMPLES = sorted(file for file in (ROOT / "examples").glob("*.py") if file.stem not in OTHERS)
SCRIPTS = [file for file in sorted((ROOT / "benchmarks").glob("*.py")) if "Parser(" in file.read_text()]
PACKAGE = [
    ROOT / "lightning_vsml" / name for name in ("algorithms/__main__.py", "cloning/__main__.py", "lab/products.py")
]
BAD = {
    "--steps": "-5",
    "--max-steps": "0",
    "--examples": "many",
    "--iterations": "0",
    "--every": "-1",
    "--epochs": "0",
    "--seeds": "0",
    "--seed": "-1",
    "--hidden": "0",
    "--width": "0",
    "--channels": "-2",
    "--batch-size": "0",
    "--devices": "0",
    "--threads": "0",
    "--streams": "0",
    "--runs": "1.5",
    "--lr": "-0.1",
    "--range": "nan",
    "--noise": "inf",
    "--seconds": "0",
    "--prune": "1",
    "--tidy": "-1",
    "--device": "gpu",
    "--dataset": "mnits",
    "--run-dir": "a_file/below",
    "--out": "missing/tiny.safetensors",
    "--csv": "missing/table.csv",
}

REQUIRED = {
    "benchmarks/closeness": ["curves"],
    "algorithms/__main__": ["oja"],
    "lab/products": ["backprop"],
    "benchmarks/probe": ["travel=0.1"],
}


def ended(file: Path, *arguments: str) -> SystemExit:
    """How a script ends, within this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr(sys, "argv", [file.name, *arguments])
        patch.syspath_prepend(str(file.parent))
        runpy.run_path(str(file), run_name="__main__")
    return exit_.value


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("")


@pytest.mark.parametrize("file", [*EXAMPLES, *SCRIPTS, *PACKAGE], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_bad_values_are_refused_in_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(file, "--help").code == 0
    has = set(re.findall(r"(?<![\w-])--[\w-]+", capsys.readouterr().out))
    for option in has & set(BAD):
        arguments = [*REQUIRED.get(f"{file.parent.name}/{file.stem}", []), option, BAD[option]]
        assert ended(file, *arguments).code == 2, option
        said = capsys.readouterr()
        assert re.fullmatch(rf".*: error: .*{option}.*\n", said.err), said.err
        assert not said.out
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a_file"]


def test_the_list_above_asks_something() -> None:
    """Of nearly every command."""
    assert len(EXAMPLES) >= 10 and len(SCRIPTS) >= 15


@pytest.mark.parametrize(
    ("example", "arguments"),
    [
        ("transformer_lm", ()),
        ("cnn", ()),
        ("tabular", ()),
        ("gan", ()),
        ("plain_loop", ()),
        ("fabric", ()),
        ("mnist_mlp", ("--dataset", "digits")),
        ("learning_curves", ("--dataset", "digits")),
    ],
)
def test_batches_of_more_than_there_is_are_refused(
    example: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(ROOT / "examples" / f"{example}.py", "--batch-size", "100000", *arguments).code == 2
    assert re.fullmatch(
        r".*error: argument --batch-size: expected at most \d+, .*, got 100000",
        capsys.readouterr().err.splitlines()[-1],
    )
    assert not Path("logs").exists()


@pytest.mark.parametrize(
    ("file", "arguments", "option"),
    [
        ("examples/mnist_mlp.py", ("--learner", "sgd", "--algorithm", "adaptive"), "--algorithm"),
        ("examples/mnist_mlp.py", ("--dataset=digits", "--data-dir=data"), "--data-dir"),
        ("examples/learning_curves.py", ("--dataset", "digits", "--data-dir", "data"), "--data-dir"),
        ("benchmarks/closeness.py", ("rule", "--seeds", "3"), "--seeds"),
        ("benchmarks/mplp.py", ("--ablation", "--runs", "3"), "--runs"),
        ("benchmarks/mplp.py", ("--seeds", "3"), "--seeds"),
        ("benchmarks/online.py", ("--steps", "10", "--no-race"), "--no-race"),
        ("lightning_vsml/cloning/__main__.py", ("--out", "t.safetensors", "--units", "3"), "--units"),
        ("lightning_vsml/lab/products.py", ("backprop", "--data-dir", "data"), "--data-dir"),
    ],
)
def test_options_without_effect_are_refused(
    file: str, arguments: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(ROOT / file, *arguments).code == 2
    assert f"error: {option} has no effect " in capsys.readouterr().err


def test_help_does_not_wait_for_torch() -> None:
    """Of examples, of what makes algorithms by hand, and of reports."""
    report = ROOT / "lightning_vsml" / "report" / "__main__.py"
    files = [str(file) for file in (*EXAMPLES, PACKAGE[0], report)]
    program = f"""
import runpy, sys
for file in {files!r}:
    sys.argv = [file, "--help"]
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, file
    assert not {{"torch", "lightning"}} & set(sys.modules), file
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_names_that_are_known_before_torch_is_imported() -> None:
    assert set(options.DATASETS) == set(datasets.NAMES)
    assert set(NAMES) == set(constructed())


def test_a_folder_with_a_run_is_not_given_to_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "events.out.tfevents.0").write_text("")
    assert ended(ROOT / "examples" / "cnn.py", "--run-dir", str(run)).code == 2
    assert "holds a run already" in capsys.readouterr().err


def test_ctrl_c_is_one_line() -> None:
    code = """
from lightning_vsml.algorithms.options import Parser
Parser(None, "command").parse_args([])
raise KeyboardInterrupt
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode and ended.stderr == "command: stopped.\n"
