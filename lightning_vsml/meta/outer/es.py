"""Evolution strategies, of whole unrolls or of truncated ones."""

from collections.abc import Mapping
from typing import Any

import torch

from lightning_vsml.meta.outer.base import WORST, Problem
from lightning_vsml.meta.outer.descent import Descent


class ES(Descent):
    """Evolution strategies with antithetic pairs (Salimans et al., arXiv 1703.03864; Table 2 of arXiv 2012.14905).

    Args:
        size: n.
        population: candidates of a step, an even number.
        std: of the perturbations, in steps of the coordinates.
        lr: of Adam.
        clip: largest norm of a gradient.
        persistent: unrolls are truncated and go on with the next step; the perturbations that a particle has lived
            under are added up, which takes the bias of truncation away (persistent evolution strategies: Vicol, Metz,
            Sohl-Dickstein, arXiv 2112.13835).
        seed: of the perturbations.

    Raises:
        ValueError: ``population`` is odd.
    """

    def __init__(
        self,
        size: int,
        population: int = 1024,
        std: float = 0.05,
        lr: float = 0.025,
        clip: float = 1.0,
        persistent: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(size, lr, clip, seed, population=population, std=std, persistent=persistent)
        if population < 2 or population % 2:
            raise ValueError(f"population should be an even number from 2, for antithetic pairs, got {population}.")
        self.population, self.std, self.persistent = population, std, persistent
        self.lived = torch.zeros(population, size, dtype=torch.float64)

    def step(self, problem: Problem) -> float:
        half = torch.randn(self.population // 2, self.size, generator=self.generator(), dtype=torch.float64)
        perturbations = self.std * torch.cat([half, -half])
        if self.persistent:
            losses, fresh = problem.go_on(perturbations, self.best)
            self.lived = torch.where(fresh.unsqueeze(-1), 0.0, self.lived) + perturbations
            directions = self.lived
        else:
            losses, directions = problem.judge(self.best + perturbations), perturbations
        losses = losses.double()
        finite = losses.isfinite()
        if not finite.any():
            self.descend(torch.full_like(self.u, torch.nan))
            return WORST
        mean = losses[finite].mean()
        losses = torch.where(finite, losses, losses[finite].max())  # on the scale of the others, which has to tell
        self.descend((losses - losses.mean()) @ directions / (self.population * self.std**2))
        return float(mean)

    def state(self) -> dict[str, Any]:
        return super().state() | {"lived": self.lived}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.lived = state["lived"].clone()
