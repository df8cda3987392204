"""All that goes into a clone, and the named presets."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lightning_vsml.algorithms.parts import Stability
from lightning_vsml.cloning.pool import Worlds
from lightning_vsml.cloning.structure import Clone, Dense, Symmetric
from lightning_vsml.cloning.targets import TARGETS

STRUCTURES = ("symmetric", "dense")


@dataclass(frozen=True)
class Recipe:
    """How a clone is made.

    Args:
        target: name of the learning rule, see :data:`~lightning_vsml.cloning.targets.TARGETS`.
        structure: ``"symmetric"`` or ``"dense"``, see :mod:`~lightning_vsml.cloning.structure`.
        writers, readers: base units of each role in a symmetric cell.
        units: N of a dense cell.
        scale: by which memories are divided when they are stored; ``None`` lets a dense cell learn a linear codec.
        prune: which fraction of a symmetric cell's connections ends as structural zeros.
        iterations: of Adam.
        lr: its largest step size, reached after a hundred iterations, then lowered to a thousandth along a cosine.
        tidy: weight of a penalty on what a step leaves in c beside the code of the memories.
        worlds: the random data.
        stability: rules under which the clone lives, in training and later.
        seed: of everything.

    Raises:
        ValueError: a value is out of range.
    """

    target: str = "sgd"
    structure: str = "symmetric"
    writers: int = 1
    readers: int = 1
    units: int = 32
    scale: float | None = 20.0
    prune: float = 0.8
    iterations: int = 40_000
    lr: float = 5e-3
    tidy: float = 0.0
    worlds: Worlds = field(default_factory=Worlds)
    stability: Stability = Stability(state_clip=4.0, change_clamp=1.0)  # noqa: RUF009
    seed: int = 0

    def __post_init__(self) -> None:
        if self.structure == "symmetric" and self.scale is None:
            raise ValueError("scale should be a number for a symmetric cell: only a dense one learns its codec.")
        for what, value, known in (("target", self.target, TARGETS), ("structure", self.structure, STRUCTURES)):
            if value not in known:
                raise ValueError(f"{what} should be one of {', '.join(map(repr, known))}, got {value!r}.")
        if not 0 <= self.prune < 1:
            raise ValueError(f"prune should be a fraction from 0 to below 1, got {self.prune}.")
        if self.iterations < 1:
            raise ValueError(f"iterations should be at least 1, got {self.iterations}.")

    def build(self) -> Clone:
        """A cell to be trained, with random parameters."""
        target = TARGETS[self.target]
        if self.structure == "dense":
            return Dense(target, self.units, self.scale)
        assert self.scale is not None  # as __post_init__ has made sure
        return Symmetric(target, self.writers, self.readers, self.scale)

    def plain(self) -> dict[str, Any]:
        """The recipe in numbers, strings, lists and dicts."""
        plain = asdict(self) | {"stability": self.stability._asdict()}
        return plain | {"worlds": {name: list(v) if isinstance(v, tuple) else v for name, v in plain["worlds"].items()}}


CPU = Recipe()
PRESETS: dict[str, Recipe] = {
    "cpu": CPU,
    "paper": Recipe(  # Table 1: LSTM size 32, Adam 5e-3, batch 32,768, 1e6 iterations, random data of std 2
        target="tanh-sgd",
        structure="dense",
        prune=0.0,
        iterations=1_000_000,
        worlds=Worlds(
            grids=512,
            inputs=1,
            outputs=1,
            samples=64,
            x_std=(2.0, 2.0),
            e_std=(2.0, 2.0),
            w_std=(2.0, 2.0),
            background=0.0,
            silence=0.0,
            lifetime=1.0,
        ),
    ),
    "smoke": replace(CPU, iterations=200, prune=0.5, worlds=Worlds(grids=4, samples=4)),
}
"""``cpu``: minutes on two cores; ``paper``: the paper's Table 1, for a GPU; ``smoke``: seconds, to see it run."""
