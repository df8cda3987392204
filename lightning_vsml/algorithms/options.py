"""Options of commands and examples: checked before any work, and refused in one line.

Only the standard library is imported before options are parsed, so that ``--help`` answers at once.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

SEEDS = 2**32  # of numpy's and Lightning's
DATASETS = ("mnist", "fashion_mnist", "digits")  # of datasets.NAMES, which torch comes with


class Refused(SystemExit):
    """Ends a command with exit status 2 after its message went to stderr."""

    def __init__(self, command: str, message: str) -> None:
        line = f"{command}: error: {' '.join(message.split())}"
        print(line, file=sys.stderr)
        super().__init__(line)
        self.code = 2


def _in_one_line(
    command: str, otherwise: Callable[..., None], kind: type[BaseException], error: BaseException, trace: Any
) -> None:
    """An excepthook: a command that nothing else stops says on Ctrl-C that it was, without a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print(f"{command}: stopped.", file=sys.stderr)
    else:
        otherwise(kind, error, trace)


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are one line, the last that is printed, without the usage before it.

    Args:
        description: shown by ``--help`` as it is.
        prog: the command; default: the script's name.
    """

    def __init__(self, description: str | None, prog: str | None = None, *, add_help: bool = True) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, formatter_class=form, allow_abbrev=False, add_help=add_help)
        self._words: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        raise Refused(self.prog, message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = list(sys.argv[1:] if args is None else args)
        found = super().parse_args(args, namespace)
        sys.excepthook = partial(_in_one_line, self.prog, sys.excepthook)
        return found

    def given(self, option: str) -> bool:
        """Whether ``option``, as ``--steps``, was on the command line."""
        return any(word == option or word.startswith(f"{option}=") for word in self._words)

    def without_effect(self, when: bool, why: str, *options: str) -> None:
        """Refuse ``options`` that were given although they do nothing ``when`` something else is chosen."""
        for option in options if when else ():
            if self.given(option):
                self.error(f"{option} has no effect {why}: leave it out.")

    def at_most(self, option: str, value: int, most: int, of: str) -> None:
        """Refuse more than there is, as a batch of more examples than the data have."""
        if value > most:
            self.error(f"argument {option}: expected at most {most}, {of}, got {value}")

    @contextmanager
    def refusing(self, *kinds: type[Exception]) -> Iterator[None]:
        """What is wrong with an option that only loading shows is refused, too: ``ValueError``, and what else is given.

        That is an unknown algorithm, or with ``datasets.DatasetError`` missing data.
        """
        refused: tuple[type[Exception], ...] = (ValueError, *kinds)
        try:
            yield
        except refused as error:
            self.error(str(error))

    # --- options that are the same everywhere

    def add_algorithm(self, default: str) -> None:
        """``--algorithm`` and ``--lr``."""
        self.add_argument("--algorithm", default=default, help=f"name or path of the algorithm (default {default})")
        self.add_argument("--lr", type=positive, help="learning rate (default: the algorithm's own)")

    def add_count(self, option: str, default: int, of: str = "", *also: str) -> None:
        """A whole number, at least 1; ``also``: other spellings."""
        self.add_argument(option, *also, type=count, default=default, help=f"{of} (default {default})".strip())

    def add_dataset(self, *default: str, extra: tuple[str, ...] = ()) -> None:
        """``--dataset``: one, or several if there are several by default."""
        many: dict[str, Any] = {"nargs": "+", "default": list(default)} if len(default) > 1 else {"default": default[0]}
        shown = " ".join(default)
        self.add_argument("--dataset", choices=(*extra, *DATASETS), help=f"(default {shown})", **many)

    def add_seed(self) -> None:
        """``--seed`` of everything random."""
        self.add_argument("--seed", type=seed, default=0, help="of everything that is random (default 0)")

    def add_seeds(self, default: int) -> None:
        """``--seeds``: how many."""
        self.add_argument("--seeds", type=count, default=default, help=f"number of runs (default {default})")

    def add_data_dir(self, holds: str = "MNIST/raw/*.gz") -> None:
        """``--data-dir``, where image data sets lie or come to lie."""
        self.add_argument("--data-dir", type=Path, default=Path("data"), help=f"holds {holds}, or gets them")

    def add_device(self) -> None:
        """``--device``, which is there."""
        self.add_argument(
            "--device", type=device, default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU, else cpu)"
        )

    def add_run_dir(self, name: str, each: bool = False) -> None:
        """``--run-dir`` for all that a run writes; default ``logs/<name>``.

        Args:
            name: of what is run.
            each: every run has a folder of its own, ``version_0`` and so on, by which TensorBoard tells them apart.
        """
        default = Path("logs") / name
        if each:
            default = _next(default)
        kind = new_folder if each else folder
        self.add_argument("--run-dir", type=kind, default=str(default), help=f"for results (default {default})")


# --- types


def whole(least: int, below: int | None = None) -> Callable[[str], int]:
    """A whole number in a range.

    >>> whole(1)("3")
    3
    """

    def parsed(text: str) -> int:
        span = f"of at least {least}" if below is None else f"from {least} to {below - 1}"
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (below is not None and value >= below):
            raise argparse.ArgumentTypeError(f"expected a whole number {span}, got {text!r}")
        return value

    return parsed


count, natural, seed = whole(1), whole(0), whole(0, SEEDS)


def real(above: float = -math.inf, least: float = -math.inf, below: float = math.inf) -> Callable[[str], float]:
    """A finite number in a range.

    >>> real(above=0)("0.5")
    0.5
    """

    def parsed(text: str) -> float:
        bounds = ((above, "above"), (least, "of at least"), (below, "below"))
        span = " and ".join(f"{what} {bound:g}" for bound, what in bounds if math.isfinite(bound))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and above < value and least <= value < below):
            raise argparse.ArgumentTypeError(f"expected a finite number {span}".rstrip() + f", got {text!r}")
        return value

    return parsed


positive, fraction = real(above=0), real(least=0, below=1)


def device(text: str) -> str:
    """A device of torch's that is there; ``auto`` is the GPU if there is one, else the CPU.

    >>> device("cpu")
    'cpu'
    """
    import torch

    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        asked = torch.device(text)
    except RuntimeError:
        asked = torch.device("meta")
    if asked.type not in ("cpu", "cuda", "mps", "xpu"):
        raise argparse.ArgumentTypeError(f"expected a device such as cpu, cuda, cuda:1 or mps, got {text!r}")
    there = 1 if asked.type == "cpu" else getattr(torch, asked.type).device_count()
    if (asked.index or 0) >= there:
        raise argparse.ArgumentTypeError(f"{text!r} is not available: torch sees {there} {asked.type} devices here")
    return text


def folder(text: str) -> Path:
    """A folder to write into, which may have to be made."""
    path = Path(text)
    _writable(path, next(parent for parent in (path, *path.absolute().parents) if parent.exists()))
    return path


def new_folder(text: str) -> Path:
    """A :func:`folder` that holds no run's curves, as two runs' would be drawn as one."""
    path = folder(text)
    if path.is_dir() and any(path.rglob("events.out.tfevents.*")):
        raise argparse.ArgumentTypeError(f"{text} holds a run already: choose another folder, or delete it")
    return path


def file_to_write(*endings: str) -> Callable[[str], Path]:
    """A file that can be written, in a folder that is there; its name has one of ``endings``, if there are any."""

    def parsed(text: str) -> Path:
        path = Path(text)
        if endings and path.suffix not in endings:
            raise argparse.ArgumentTypeError(f"should end in {' or '.join(endings)}, got {text!r}")
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"expected a file, and {text} is a folder")
        if not path.parent.exists():
            raise argparse.ArgumentTypeError(f"the folder {path.parent} does not exist: make it, or choose another")
        _writable(path, path.parent)
        return path

    return parsed


checkpoint_to_write = file_to_write(".safetensors")


def _writable(path: Path, where: Path) -> None:
    """Whether ``path`` can be made, by a file in ``where`` that is gone at once."""
    if not where.is_dir():
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {where} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=where) as probe:
            probe.write(b"0")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {error.strerror} ({where})") from error


def _next(base: Path) -> Path:
    """The first ``version_N`` that is not there."""
    taken = {path.name for path in base.glob("version_*")} if base.is_dir() else set()
    return base / next(f"version_{n}" for n in range(len(taken) + 1) if f"version_{n}" not in taken)
