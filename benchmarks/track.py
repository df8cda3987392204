"""The speed of learning steps over commits: ratios to SGD, one line of JSON for each run, and a picture of all.

    python benchmarks/track.py                          # measure, add to track.jsonl beside it, and draw track.png
    python benchmarks/track.py --draw                   # draw what is there
    python benchmarks/track.py --algorithms backprop --layers 784x128 --samples 64 --seconds 0.1

Steps are those of ``ticks.py``: all that a loop does with one layer, over SGD's step, both measured in turn, of which
the median ratio counts. Times differ between machines and hours; ratios do so less: lines of the picture are of one
machine each, and no times are kept. On a machine that is busy with other work ratios say little, too.
"""

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from ticks import CELLS, LAYERS, Case, median

import lightning_vsml
from lightning_vsml.algorithms.files import replace_file
from lightning_vsml.algorithms.options import Parser, count, file_to_write, positive

HERE = Path(__file__).resolve().parent
ALGORITHMS = ("backprop", "cloned_backprop", "adaptive")
SIZES = ("784x10", "512x512", "3x3x32x32")
ROUNDS = 3
MARKERS = "os^vDP*X"


def ratio(algorithm: str, layer: str, samples: int, seconds: float) -> float:
    """Time of a learning step over SGD's: the median of some rounds, in each of which both take ``seconds``."""
    found = []
    for _ in range(ROUNDS):
        case = Case(layer, samples, CELLS[algorithm](), "cpu")
        with torch.no_grad():
            ours = median(case.step("auto"), seconds, "cpu")
            found.append(ours / median(case.sgd(), seconds, "cpu"))
    return statistics.median(found)


def commit() -> tuple[str, bool]:
    """The commit that is checked out, and whether files of the package differ from it.

    Raises:
        ValueError: there is none.
    """
    words = ["git", "-C", str(HERE)]
    try:
        asked = [
            subprocess.run([*words, *more], check=True, capture_output=True, text=True).stdout.strip()
            for more in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "../lightning_vsml"])
        ]
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"a run is of a commit, so {HERE} should be in a checkout of git: {error}.") from error
    return asked[0], bool(asked[1])


def machine() -> str:
    """The processor, and how many threads torch uses."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def measure(algorithms: Sequence[str], layers: Sequence[str], samples: Sequence[int], seconds: float) -> dict[str, Any]:
    """A run, as a line holds it."""
    at, changed = commit()
    cases = [(algorithm, layer, S) for algorithm in algorithms for layer in layers for S in samples]
    return {
        "commit": at,
        "changed": changed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {
            "lightning_vsml": lightning_vsml.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "ratios": {f"{a} {layer} S={S}": round(ratio(a, layer, S, seconds), 3) for a, layer, S in cases},
    }


def read(path: Path) -> list[dict[str, Any]]:
    """All runs of a file.

    Raises:
        ValueError: a line is no run; says which.
    """
    runs = []
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            run = json.loads(line)
            known = run["commit"], run["date"], run["machine"]
            fine = all(isinstance(part, str) for part in known)
            fine = fine and all(0 < float(value) < math.inf for value in run["ratios"].values())
        except (ValueError, TypeError, KeyError, AttributeError):
            fine = False
        if not fine:
            raise ValueError(f"line {place} of {path} is not a run of track.py: {line[:80]!r}. Take it out.")
        runs.append(run)
    return runs


def draw(runs: Sequence[dict[str, Any]]) -> Figure:
    """A panel for each algorithm; over commits in the order of runs, a line for each case and machine."""
    cases = list(dict.fromkeys(case for run in runs for case in run["ratios"]))
    algorithms = list(dict.fromkeys(case.split(" ", 1)[0] for case in cases))
    machines = list(dict.fromkeys(run["machine"] for run in runs))
    figure = Figure(figsize=(max(6.0, 2 + 0.35 * len(runs)), 1 + 2.6 * len(algorithms)), layout="constrained")
    axes = figure.subplots(len(algorithms), 1, squeeze=False, sharex=True)[:, 0]
    for axis, algorithm in zip(axes, algorithms, strict=True):
        own = [case for case in cases if case.split(" ", 1)[0] == algorithm]
        for place, case in enumerate(own):
            for number, one in enumerate(machines):
                at = [x for x, run in enumerate(runs) if run["machine"] == one and case in run["ratios"]]
                style = {"color": f"C{place % 10}", "marker": MARKERS[number % len(MARKERS)], "markersize": 4}
                label = case.split(" ", 1)[1] + (f", machine {number + 1}" if len(machines) > 1 else "")
                axis.plot(at, [runs[x]["ratios"][case] for x in at], label=label if at else None, **style)
        axis.set(title=algorithm, ylabel="step / SGD's", yscale="log")
        axis.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axis.grid(alpha=0.25, which="both")
        axis.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    names = [f"{run['commit'][:7]}{'+' if run.get('changed') else ''} {run['date'][:10]}" for run in runs]
    axes[-1].set_xticks(range(len(runs)), names, rotation=90, fontsize="x-small")
    where = "; ".join(f"machine {number}: {one}" for number, one in enumerate(machines, 1))
    figure.suptitle(f"A learning step's time over SGD's\n{where}", fontsize="small")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(__doc__)
    parser.add_argument("--algorithms", nargs="+", choices=CELLS, default=list(ALGORITHMS))
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(SIZES))
    parser.add_argument("--samples", type=count, nargs="+", default=[16, 64])
    parser.add_argument("--seconds", type=positive, default=0.2, help="for each measurement")
    parser.add_argument(
        "--out", type=file_to_write(), default=HERE / "track.jsonl", help="of runs; the picture lies beside it"
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    if options.out.suffix == ".png":
        parser.error(f"--out should be a file of runs, beside which the picture lies, got {options.out}.")
    try:
        runs = read(options.out) if options.out.is_file() else []
        run = None if options.draw else measure(options.algorithms, options.layers, options.samples, options.seconds)
    except ValueError as error:
        parser.error(str(error))
    if run is not None:
        runs.append(run)
        replace_file(options.out, "".join(json.dumps(one) + "\n" for one in runs).encode())
        for case, value in run["ratios"].items():
            print(f"{case:40} {value:8.2f}")
    if not runs:
        parser.error(f"{options.out} has no runs yet. Leave out --draw to measure one.")
    picture = options.out.with_suffix(".png")
    draw(runs).savefig(picture, dpi=120)
    print(f"{options.out}: {len(runs)} runs; {picture}")


if __name__ == "__main__":
    main()
