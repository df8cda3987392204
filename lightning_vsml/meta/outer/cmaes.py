"""Covariance matrix adaptation."""

import pickle
from collections.abc import Mapping
from typing import Any

import cma
import numpy as np
import torch
from torch import Tensor

from lightning_vsml.meta.outer.base import WORST, Outer, Problem


class CMAES(Outer):
    """Covariance matrix adaptation (Hansen, arXiv 1604.00772), by pycma.

    Args:
        size: n.
        population: candidates in a generation; 0: 4 + 3 log(n), pycma's default.
        sigma: initial standard deviation, in steps of the coordinates.
        diagonal: adapt variances only, for large n; ``None``: above 200 coordinates.
        seed: of the candidates.
    """

    def __init__(
        self, size: int, population: int = 0, sigma: float = 0.1, diagonal: bool | None = None, seed: int = 0
    ) -> None:
        diagonal = size > 200 if diagonal is None else diagonal
        super().__init__(size, seed, population=population, sigma=sigma, diagonal=diagonal)
        options = {
            "randn": np.random.RandomState(seed).randn,  # its own, which is pickled along
            "seed": np.nan,  # leaves numpy's global generator alone
            "verbose": -9,
            "CMA_diagonal": diagonal,
            "maxiter": np.inf,
        }
        options |= {"popsize": population} if population else {}
        self.search = cma.CMAEvolutionStrategy(np.zeros(size), sigma, options)

    def step(self, problem: Problem) -> float:
        candidates = np.stack(self.search.ask())
        losses = problem.judge(torch.from_numpy(candidates)).double()
        losses = torch.where(losses.isfinite(), losses, WORST)
        self.steps += 1
        if bool((losses >= WORST).all()):
            self.skipped += 1
            return WORST
        self.search.tell(list(candidates), losses.tolist())
        return float(losses[losses < WORST].mean())

    @property
    def best(self) -> Tensor:
        return torch.from_numpy(np.array(self.search.mean, dtype=np.float64))

    def state(self) -> dict[str, Any]:
        pickled = torch.frombuffer(bytearray(pickle.dumps(self.search)), dtype=torch.uint8)
        return {"search": pickled, "steps": self.steps, "skipped": self.skipped}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.search = pickle.loads(state["search"].numpy().tobytes())
        self.steps, self.skipped = state["steps"], state["skipped"]
