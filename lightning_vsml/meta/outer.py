"""Outer optimizers: how a meta-learner moves through a search space.

All share one interface. ``step`` is given the problem and asks it to judge candidates, as many and as often as it
likes; everything it remembers is in ``state``, so that a run which was stopped goes on as if it had not been.
"""

import copy
import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import cma
import numpy as np
import torch
from torch import Tensor

WORST = 1e3  # what a candidate is worth that diverges


class Problem(Protocol):
    """What an outer optimizer sees of meta-training."""

    def judge(self, candidates: Tensor) -> Tensor:
        """The meta-loss of each of K candidates ``(K, n)`` on the tasks of this step, the same for all: ``(K,)``."""

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The meta-loss at ``u`` (n,) and its gradient, by backpropagation through the unrolls."""

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Truncated unrolls, which continue from step to step, each of K particles by itself.

        Returns:
            The meta-loss of each particle at ``u + perturbation`` ``(K,)``; and for each whether it has started afresh
            with this step.
        """


class Outer(ABC):
    """An outer optimizer.

    Args:
        size: n, coordinates of the search.
        seed: of its random numbers.
        settings: all others, for the record.

    Attributes:
        steps: how many were taken.
        skipped: how many of them moved nothing, because nothing finite was found.
    """

    def __init__(self, size: int, seed: int = 0, **settings: Any) -> None:
        self.size, self.seed, self.settings = size, seed, {"seed": seed, **settings}
        self.steps = self.skipped = 0

    @abstractmethod
    def step(self, problem: Problem) -> float:
        """One step; returns the mean meta-loss of what was judged."""

    @property
    @abstractmethod
    def best(self) -> Tensor:
        """Where the search is: what to use, ``(n,)`` float64."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All it remembers, in plain types and tensors."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""

    def generator(self) -> torch.Generator:
        """For this step's random numbers."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.steps)


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


class _Descent(Outer):
    """Gradient descent with Adam, on whatever estimate of the gradient.

    Args:
        size: n.
        lr: step size, in steps of the coordinates.
        clip: largest norm of a gradient.
        seed: of the random numbers.
    """

    def __init__(self, size: int, lr: float, clip: float = 1.0, seed: int = 0, **settings: Any) -> None:
        super().__init__(size, seed, lr=lr, clip=clip, **settings)
        self.u = torch.zeros(size, dtype=torch.float64, requires_grad=True)
        self.clip, self.adam = clip, torch.optim.Adam([self.u], lr=lr)

    def _descend(self, gradient: Tensor) -> None:
        self.steps += 1
        if not gradient.isfinite().all():
            self.skipped += 1
            return
        self.u.grad = gradient.to(self.u)
        torch.nn.utils.clip_grad_norm_([self.u], self.clip)
        self.adam.step()

    @property
    def best(self) -> Tensor:
        return self.u.detach().clone()

    def state(self) -> dict[str, Any]:
        return {
            "u": self.best,
            "adam": copy.deepcopy(self.adam.state_dict()),  # which goes on changing
            "steps": self.steps,
            "skipped": self.skipped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.u.copy_(state["u"])
        self.adam.load_state_dict(copy.deepcopy(state["adam"]))
        self.steps, self.skipped = state["steps"], state["skipped"]


class BPTT(_Descent):
    """Backpropagation through the unrolls, whose length truncates it.

    Args:
        size: n.
        lr: of Adam, in steps of the coordinates.
        clip: largest norm of a meta-gradient; one that is not finite is dropped and counted.
        seed: unused.
    """

    def __init__(self, size: int, lr: float = 0.05, clip: float = 1.0, seed: int = 0) -> None:
        super().__init__(size, lr, clip, seed)

    def step(self, problem: Problem) -> float:
        loss, gradient = problem.gradient(self.best)
        self._descend(gradient)
        return float(loss)


class ES(_Descent):
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
            self._descend(torch.full_like(self.u, torch.nan))
            return WORST
        mean = losses[finite].mean()
        losses = torch.where(finite, losses, losses[finite].max())  # on the scale of the others, which has to tell
        self._descend((losses - losses.mean()) @ directions / (self.population * self.std**2))
        return float(mean)

    def state(self) -> dict[str, Any]:
        return super().state() | {"lived": self.lived}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.lived = state["lived"].clone()
