"""A LightningCLI for what makes algorithms: presets, the file to write, and a folder for the run."""

from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lightning_vsml.algorithms.options import Parser, Refused, checkpoint_to_write, folder
from lightning_vsml.fit.runs import Run


class _ShortParser(LightningArgumentParser):
    """Its errors are one line, without the usage of a hundred options before it."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise Refused(self.prog, message)


class MakingCLI(LightningCLI):
    """A module and a Trainer, every setting of which may stand in a file or on the command line.

    Args:
        module: the LightningModule's class.
        arguments: of the command line.
        kind: of what is made; folders of runs are called so.
        presets: a folder of files with settings.

    Raises:
        ValueError: unknown preset, or a run that is there already.
        Refused: what is wrong on the command line, before any work.
    """

    def __init__(self, module: type[LightningModule], arguments: list[str], *, kind: str, presets: Path) -> None:
        self.kind, self.presets = kind, presets
        super().__init__(
            module,
            run=False,
            args=_with_preset(_checked(arguments, _command(kind)), presets),
            save_config_callback=None,
            seed_everything_default=False,  # every random number has a seed of its own
            trainer_defaults={"enable_model_summary": False, "log_every_n_steps": 1, "use_distributed_sampler": False},
        )

    def init_parser(self, **settings: Any) -> LightningArgumentParser:
        parser = _ShortParser(prog=_command(self.kind), **settings)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="a file with settings")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        known = ", ".join(sorted(path.stem for path in self.presets.glob("*.yaml")))
        parser.add_argument("--preset", help=f"shipped settings, which other options override: {known}")
        parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
        parser.add_argument(
            "--run_dir", type=Path | None, default=None, help="for curves and checkpoints; also --run-dir"
        )
        parser.add_argument("--resume", action="store_true", help="continue the run in --run_dir")

    def instantiate_trainer(self, **_: Any) -> Trainer:
        out = self.config.out
        self.run_in = Run(self.config.run_dir or Path("runs") / self.kind / out.stem, self.config.resume)
        given = self._get(self.config_init, "trainer")
        bar = [] if given.enable_progress_bar is False else [TQDMProgressBar(refresh_rate=1)]
        return super().instantiate_trainer(
            logger=given.logger if given.logger is not None else self.run_in.logger(),
            callbacks=[*(given.callbacks or []), self.run_in.saving(), *bar],
        )


def _command(kind: str) -> str:
    return f"python -m lightning_vsml.{kind}"


def _checked(arguments: list[str], command: str) -> list[str]:
    """The same with ``--run_dir`` for ``--run-dir``, once both paths to write are found to be good."""
    words = [
        "--run_dir" + word.removeprefix("--run-dir") if word.startswith("--run-dir") else word for word in arguments
    ]
    parser = Parser(None, command, add_help=False)
    parser.add_argument("--out", type=checkpoint_to_write)
    parser.add_argument("--run_dir", type=folder)
    parser.parse_known_args(words)
    return words


def _with_preset(arguments: list[str], presets: Path) -> list[str]:
    """``--preset NAME`` or ``--preset=NAME`` as the ``--config`` of a shipped file."""
    parser = Parser(None, add_help=False)
    parser.add_argument("--preset", nargs="?", const="")
    options, others = parser.parse_known_args(arguments)
    if options.preset is None:
        return others
    known = sorted(path.stem for path in presets.glob("*.yaml"))
    if options.preset not in known:
        raise ValueError(f"--preset should be one of {', '.join(known)}, got {options.preset!r}.")
    return ["--config", str(presets / f"{options.preset}.yaml"), *others]
