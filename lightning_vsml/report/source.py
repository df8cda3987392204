"""The user's module and data: by import path, or as LightningCLI has them in a YAML."""

import contextlib
import difflib
import importlib
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI

from lightning_vsml.report.errors import ReportError

TRAINER = ("accelerator", "precision", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")


def load(source: str, data: str | None = None) -> tuple[LightningModule, Any, dict[str, Any]]:
    """A module with its data, and settings of a Trainer.

    Args:
        source: ``MODULE:CALLABLE``, whose result is a LightningModule, or one and its data; or a LightningCLI YAML.
        data: ``MODULE:CALLABLE`` of the data, if it is not with the module.

    Raises:
        ReportError: it is not there, fails, or gives something else.
    """
    if source.endswith((".yaml", ".yml")):
        module, found, trainer = from_yaml(Path(source))
    else:
        made, trainer = call(source), {}
        module, found = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(module, LightningModule):
            raise ReportError(
                f"{source} should give a LightningModule of lightning.pytorch, or a pair of one and its data, but gave "
                f"{_kind(made)}."
            )
    return module, found if data is None else call(data), trainer


def call(path: str) -> Any:
    """What the function or class of an import path gives.

    Raises:
        ReportError: it is not there, or fails.
    """
    name, colon, attribute = path.partition(":")
    if not colon or not name or not attribute:
        raise ReportError(f"expected MODULE:CALLABLE, such as my_project.models:make, or a .yaml file, got {path!r}.")
    if name.endswith(".py") or "/" in name:
        raise ReportError(f"expected the module as in an import, {_dotted(name)}:{attribute}, got {path!r}.")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ReportError(
                f"there is no module {error.name!r} to import (from {Path.cwd()} or what is installed)."
            ) from error
        raise ReportError(f"{name} could not be imported: it needs {error.name}, which is not installed.") from error
    except Exception as error:
        raise ReportError(f"{name} could not be imported: {type(error).__name__}: {error}") from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, vars(found), n=3) if hasattr(found, "__dict__") else []
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ReportError(f"{name} has no {attribute!r}.{meant}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, LightningModule):
        return found
    return _made(path, found)


def from_yaml(file: Path) -> tuple[LightningModule, Any, dict[str, Any]]:
    """Model, data and some of the Trainer's settings from what LightningCLI saved, or reads.

    Raises:
        ReportError: the file is not there, or LightningCLI does not take it.
    """
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{file} cannot be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise ReportError(f"{file} is no YAML: {error}") from error
    settings = settings.get("fit", settings) if isinstance(settings, dict) else settings
    if not isinstance(settings, dict) or "model" not in settings:
        raise ReportError(f"{file} should have model, and data, as LightningCLI has them.")
    trainer = {name: value for name in TRAINER if (value := (settings.get("trainer") or {}).get(name)) is not None}
    given = {name: settings[name] for name in ("model", "data") if name in settings}
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")  # the parser's, of each other
            cli = _Reading(args=given, run=False, save_config_callback=None, seed_everything_default=False)
    except SystemExit:
        last = said.getvalue().strip().splitlines()
        raise ReportError(
            f"{file}: {' '.join(line.strip() for line in last if not line.startswith('usage'))}"
        ) from None
    except Exception as error:
        raise ReportError(f"{file}: {type(error).__name__}: {error}") from error
    return cli.model, cli.datamodule, trainer


class _Reading(LightningCLI):
    """Without a Trainer."""

    def instantiate_trainer(self, **_: Any) -> Any:
        return None


def _made(path: str, what: Callable[[], Any]) -> Any:
    try:
        return what()
    except Exception as error:
        raise ReportError(f"{path} is called without arguments and failed: {type(error).__name__}: {error}") from error


def _kind(made: Any) -> str:
    if isinstance(made, tuple):
        return f"a tuple of {', '.join(type(one).__name__ for one in made) or 'nothing'}"
    return f"{type(made).__module__}.{type(made).__qualname__}"


def _dotted(name: str) -> str:
    return name.removesuffix(".py").strip("./").replace("/", ".")
