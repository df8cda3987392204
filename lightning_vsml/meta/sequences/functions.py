"""The function families of Younger, Hochreiter and Conwell (2001), which fixed-weight learners are meta-trained on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.emergent import initial
from lightning_vsml.algorithms.meta_rnn import Learner, MetaRNN
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.sequences.problem import Episode, Parameters, Problem
from lightning_vsml.ticks import Cell

TEST = 1_000_003  # added to the seed of test streams


class Family(NamedTuple):
    """Functions of two inputs.

    Attributes:
        parameters: draws those of n functions, ``(n, p)``.
        inputs: draws ``(steps, n, 2)``.
        value: of functions with these parameters at these inputs, ``(steps, n)``.
        variance: of values, over functions and inputs; what a guess of their mean loses.
    """

    parameters: Callable[[Draw, int], Tensor]
    inputs: Callable[[Draw, int, int], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]
    variance: float


def _uniform(draw: Draw, *shape: int) -> Tensor:
    return 2 * torch.rand(*shape, generator=draw.generator) - 1


def _inputs(draw: Draw, steps: int, functions: int) -> Tensor:
    return _uniform(draw, steps, functions, 2)


def _boolean(tables: Tensor, x: Tensor) -> Tensor:
    rows = (2 * x[..., 0] + x[..., 1]).long()  # 00, 01, 10, 11
    return tables.T.gather(0, rows)


def _semilinear(w: Tensor, x: Tensor) -> Tensor:
    return (1 + torch.tanh(x[..., 0] * w[:, 0] + x[..., 1] * w[:, 1] + w[:, 2])) / 2


def _quadratic(w: Tensor, x: Tensor) -> Tensor:
    first, second = x.unbind(-1)
    terms = torch.stack([first**2, second**2, first * second, first, second, torch.ones_like(first)], -1)
    return 0.5 + 0.3 / 6 * (terms * w).sum(-1)


FAMILIES = {
    "boolean": Family(
        lambda draw, n: torch.randint(2, (n, 4), generator=draw.generator).float(),
        lambda draw, steps, n: torch.randint(2, (steps, n, 2), generator=draw.generator).float(),
        _boolean,
        0.25,
    ),
    "semilinear": Family(lambda draw, n: _uniform(draw, n, 3), _inputs, _semilinear, 0.076),
    "quadratic": Family(lambda draw, n: _uniform(draw, n, 6), _inputs, _quadratic, 0.0018),
}
"""``boolean``: y is one of the 16 truth tables of x in {0, 1}^2. ``semilinear``: (1 + tanh(w1 x1 + w2 x2 + w3)) / 2, x
and w uniform in [-1, 1]. ``quadratic``: a x1^2 + b x2^2 + c x1 x2 + d x1 + e x2 + f, all uniform in [-1, 1], and y,
which is within ±6, scaled to [0.2, 0.8] by the same linear map for all functions (the paper does not say how it
scaled)."""


def streams(family: str, draw: Draw, functions: int, mappings: int, length: int) -> tuple[Tensor, Tensor]:
    """Several streams side by side: in each, one function after another, without a sign of where one ends.

    Returns:
        Inputs ``(mappings * length, functions, 2)``, values ``(mappings * length, functions)``.
    """
    kind = FAMILIES[family]
    xs = [kind.inputs(draw, length, functions) for _ in range(mappings)]
    return torch.cat(xs), torch.cat([kind.value(kind.parameters(draw, functions), x) for x in xs])


class Functions(Problem):
    """A family of functions to learn from streams.

    Args:
        family: one of :data:`FAMILIES`.
        units: N of the LSTM.
        length: least and largest number of examples of a function.
        mappings: largest number of functions in a stream, one after the other.
        functions: streams side by side.
        segment: examples between steps of the outer optimizer.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        family: str = "boolean",
        units: int = 12,
        length: tuple[int, int] = (32, 256),
        mappings: int = 3,
        functions: int = 64,
        segment: int = 256,
    ) -> None:
        if family not in FAMILIES:
            raise ValueError(f"family should be one of {', '.join(map(repr, FAMILIES))}, got {family!r}.")
        if not 1 <= length[0] <= length[1]:
            raise ValueError(f"length should be two numbers, 1 <= least <= largest, got {length[0]}, {length[1]}.")
        for what, value in (("units", units), ("mappings", mappings), ("functions", functions), ("segment", segment)):
            if value < 1:
                raise ValueError(f"{what} should be at least 1, got {value}.")
        self.family, self.units, self.length, self.mappings = family, units, length, mappings
        self.functions, self.segment = functions, segment

    def start(self, seed: int) -> dict[str, Tensor]:
        """A random cell."""
        cell = initial(self.units, 3, seed, forget=1.0)
        return cell._replace(U=cell.U[:1], P_b=cell.P_b[:, :1])._asdict()  # nothing comes from behind

    def algorithm(self, V: Parameters, name: str, card: dict[str, Any]) -> MetaRNN:
        """What a cell is."""
        return MetaRNN(name, Cell(**V), std=0.0, card=card | {"functions": self.family})

    def episode(self, number: int, progress: float, seed: int) -> "Learning":
        """Streams of as many functions as there are."""
        draw = Draw(torch.Generator().manual_seed(hash((seed, number)) % 2**63))
        length = round(draw.log_uniform(*self.length))
        x, y = streams(self.family, draw, self.functions, draw.integer(1, self.mappings + 1), length)
        return Learning(self, x, y)

    @torch.no_grad()
    def held_out(self, V: Parameters) -> dict[str, float]:
        """Mean squared errors on test functions: of learners that are fresh, and of those that come from another
        function; "gain" is minus the logarithm of their mean.
        """
        draw, length = Draw(torch.Generator().manual_seed(TEST)), self.length[1]
        x, y = streams(self.family, draw, 256, 2, length)
        algorithm = self.algorithm(V, "", {})
        error = (algorithm.run(algorithm.fresh(256), x, y)[0] - y).square().mean(1)
        found = {"mse_fresh": float(error[:length].mean()), "mse_carried": float(error[length:].mean())}
        return found | {"gain": -float(error.mean().log())}


class Learning(Episode):
    """Streams, and what a guess of the mean loses on them."""

    def __init__(self, problem: Functions, x: Tensor, y: Tensor) -> None:
        self.problem, self.x, self.y = problem, x, y
        self.segments = -(-len(x) // problem.segment)

    def fresh(self, V: Parameters) -> Learner:
        """Learners that know nothing."""
        return self.problem.algorithm(V, "", {}).fresh(self.x.shape[1])

    def run(self, V: Parameters, state: Any, segment: int) -> tuple[Tensor, Learner]:
        """Mean squared error over the variance of the family: 1 for a guess of the mean."""
        part = slice(segment * self.problem.segment, (segment + 1) * self.problem.segment)
        y = self.y[part].to(V["W"])
        predicted, after = self.problem.algorithm(V, "", {}).run(Learner(*state), self.x[part].to(y), y)
        return (predicted - y).square().mean() / FAMILIES[self.problem.family].variance, after
