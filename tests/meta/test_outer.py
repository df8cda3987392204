"""Outer optimizers, each through the same tests."""

from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_vsml.meta import BPTT, CMAES, ES, Outer

SIZE = 4
TARGET = torch.tensor([0.7, -0.4, 0.2, 0.5], dtype=torch.float64)
CURVATURE = torch.tensor([1.0, 3.0, 0.5, 2.0], dtype=torch.float64)

# how to make it, steps, and how near to the target it is then
OUTERS: dict[str, tuple[Callable[[int], Outer], int, float]] = {
    "CMAES": (partial(CMAES, sigma=0.3, population=8), 100, 1e-4),
    "CMAES of many coordinates": (partial(CMAES, sigma=0.3, population=8, diagonal=True), 100, 1e-4),
    "ES": (partial(ES, population=32, std=0.05, lr=0.03), 250, 0.03),
    "persistent ES": (partial(ES, population=64, std=0.05, lr=0.03, persistent=True), 250, 0.1),
    "BPTT": (partial(BPTT, lr=0.03), 500, 1e-2),
}


@pytest.fixture(params=[name for name in OUTERS if name != "BPTT"])
def search(request: pytest.FixtureRequest) -> Callable[[int], Outer]:
    """Every one that judges candidates."""
    return OUTERS[request.param][0]


class Bowl:
    """A quadratic, everywhere and at every time the same; particles live for three steps. Counts what is asked."""

    def __init__(self) -> None:
        self.time = 0
        self.asked: list[tuple[int, ...]] = []

    def loss(self, u: Tensor) -> Tensor:
        return ((u - TARGET).square() * CURVATURE).sum(-1)

    def judge(self, candidates: Tensor) -> Tensor:
        self.asked.append(tuple(candidates.shape))
        return self.loss(candidates)

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(u), 2 * CURVATURE * (u - TARGET)

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        fresh = torch.full((len(perturbations),), self.time % 3 == 0)
        self.time += 1
        return self.loss(u + perturbations), fresh


class Broken(Bowl):
    """A quadratic with something that isn't finite."""

    def __init__(self, bad: Callable[[int], bool], value: float = torch.inf) -> None:
        super().__init__()
        self.bad, self.value = bad, value

    def loss(self, u: Tensor) -> Tensor:
        losses = super().loss(u)
        if u.dim() == 2:
            losses[[place for place in range(len(u)) if self.bad(place)]] = self.value
        return losses

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = super().gradient(u)
        return (loss * self.value, gradient * self.value) if self.bad(0) else (loss, gradient)


@pytest.fixture(params=OUTERS)
def case(request: pytest.FixtureRequest) -> tuple[Callable[[int], Outer], int, float]:
    """Every outer optimizer."""
    return OUTERS[request.param]


@pytest.fixture
def make(case: tuple[Callable[[int], Outer], int, float]) -> Callable[[int], Outer]:
    return case[0]


def test_it_finds_the_minimum_of_a_quadratic(case: tuple[Callable[[int], Outer], int, float]) -> None:
    make, steps, accuracy = case
    outer, problem = make(SIZE), Bowl()
    assert torch.equal(outer.best, torch.zeros(SIZE, dtype=torch.float64))
    losses = [outer.step(problem) for _ in range(steps)]
    assert float((outer.best - TARGET).abs().max()) < accuracy
    assert outer.steps == steps and outer.skipped == 0
    assert losses[-1] < 0.05 * losses[0]
    assert outer.best.dtype == torch.float64 and not outer.best.requires_grad


def test_it_goes_on_from_its_state_to_the_same_end(make: Callable[[int], Outer]) -> None:
    """From a file that holds plain types only, and from memory; what it was taken from goes on too."""
    whole, problem = make(SIZE), Bowl()
    for _ in range(4):
        whole.step(problem)
    state = whole.state()
    file = BytesIO()
    torch.save(state, file)
    file.seek(0)
    path = [(whole.step(problem), whole.best) for _ in range(5)]
    for kept in (state, torch.load(file, weights_only=True), state):
        other, again = make(SIZE), Bowl()
        again.time = 4
        other.restore(kept)
        assert (other.steps, other.skipped) == (4, 0)
        for loss, best in path:
            assert other.step(again) == loss
            assert torch.equal(other.best, best)


def test_it_is_the_same_for_a_seed_and_another_for_another(make: Callable[[int], Outer]) -> None:
    def end(**settings: int) -> Tensor:
        outer, problem = make(SIZE, **settings), Bowl()
        for _ in range(3):
            outer.step(problem)
        return outer.best

    assert torch.equal(end(seed=1), end(seed=1))
    assert torch.equal(end(seed=1), end(seed=2)) == isinstance(make(SIZE), BPTT)


def test_global_generators_are_left_alone(make: Callable[[int], Outer]) -> None:
    def ends(seed: int) -> Tensor:
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        outer, problem = make(SIZE), Bowl()
        for _ in range(3):
            outer.step(problem)
        outer.restore(outer.state())
        assert np.array_equal(np.random.get_state()[1], before[0]) and torch.equal(torch.get_rng_state(), before[1])
        return outer.best

    assert torch.equal(ends(1), ends(2))


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_steps_without_anything_finite_are_skipped_and_counted(make: Callable[[int], Outer], value: float) -> None:
    outer, sound = make(SIZE), Bowl()
    for _ in range(3):
        outer.step(sound)
    before = outer.best
    broken = Broken(lambda place: True, value)
    broken.time = 3
    for _ in range(3):
        outer.step(broken)
    assert torch.equal(outer.best, before)
    assert (outer.steps, outer.skipped) == (6, 3)
    for _ in range(30):
        outer.step(sound)
    assert outer.skipped == 3 and float(Bowl().loss(outer.best)) < float(Bowl().loss(before))
    flat = [part for part in torch.utils._pytree.tree_leaves(outer.state()) if isinstance(part, Tensor)]
    assert all(bool(part.isfinite().all()) for part in flat)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_one_candidate_that_diverges_stops_nothing(search: Callable[[int], Outer], value: float) -> None:
    outer, problem = search(SIZE), Broken(lambda place: place == 1, value)
    losses = [outer.step(problem) for _ in range(60)]
    assert outer.skipped == 0 and all(np.isfinite(losses)) and max(losses) < 100
    assert float(problem.loss(outer.best)) < 0.3 * float(problem.loss(torch.zeros(SIZE, dtype=torch.float64)))


def test_a_candidate_that_diverges_is_the_worst(search: Callable[[int], Outer]) -> None:
    """The step goes away from it: it diverges on one side of a plain on which all else is equal."""

    class Cliff(Bowl):
        def loss(self, u: Tensor) -> Tensor:
            return torch.where(u[..., 0] > 0.03, torch.inf, 1e-3 * u[..., 1])

    outer, problem = search(SIZE), Cliff()
    for _ in range(5):
        outer.step(problem)
    assert float(outer.best[0]) < 0


def test_candidates_are_judged_together(make: Callable[[int], Outer]) -> None:
    outer, problem = make(SIZE), Bowl()
    outer.step(problem)
    if problem.asked:
        assert problem.asked == [(outer.settings["population"], SIZE)]


def test_antithetic_candidates_cancel_out() -> None:
    seen: list[Tensor] = []

    class Watched(Bowl):
        def judge(self, candidates: Tensor) -> Tensor:
            seen.append(candidates)
            return super().judge(candidates)

    outer = ES(SIZE, population=10, std=0.2)
    for _ in range(2):
        at = outer.best
        outer.step(Watched())
        torch.testing.assert_close(seen[-1][:5] - at, -(seen[-1][5:] - at))
    assert not torch.allclose(seen[0][:5], seen[1][:5] - at)


@pytest.mark.parametrize("population", [0, 1, 7])
def test_pairs_need_an_even_population(population: int) -> None:
    with pytest.raises(ValueError, match=f"population should be an even number from 2, .* got {population}"):
        ES(SIZE, population=population)


def test_large_gradients_are_clipped() -> None:
    """Against Adam on the gradient of norm 1."""

    class Steep(Bowl):
        def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
            loss, gradient = super().gradient(u)
            return loss, 1e6 * gradient

    outer = BPTT(SIZE, lr=0.1, clip=1.0)
    u = torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([u], lr=0.1)
    for _ in range(3):
        gradient = Bowl().gradient(u.detach())[1]
        outer.step(Steep())
        u.grad = gradient / gradient.norm()
        adam.step()
        torch.testing.assert_close(outer.best, u.detach())


class Influence:
    """A recurrence of which the first steps tell the opposite of what the whole does.

    ``u`` helps at once by ``fast`` and harms later by ``slow``, which it builds up. Particles live for ``horizon``
    steps, of which ``truncation`` are run at a time; they are at different stages of their lives.
    """

    horizon, truncation = 24, 3

    def __init__(self, particles: int) -> None:
        self.age = torch.arange(particles // 2).repeat(2) % (self.horizon // self.truncation) * self.truncation
        self.slow = torch.zeros(particles, dtype=torch.float64)

    def run(self, u: Tensor, slow: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(slow)
        for _ in range(steps):
            slow = 0.95 * slow + 0.1 * u
            total = total + (u - 1).square() + slow.square() * 0.5
        return total, slow

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        fresh = self.age == 0
        losses, self.slow = self.run((u + perturbations)[:, 0], torch.where(fresh, 0.0, self.slow), self.truncation)
        self.age = (self.age + self.truncation) % self.horizon
        return losses, fresh

    def judge(self, candidates: Tensor) -> Tensor:
        """The same unrolls, for an optimizer that doesn't know of lives."""
        return self.go_on(candidates, torch.zeros(1, dtype=torch.float64))[0]

    def slope(self, u: float, truncated: bool) -> float:
        """Of a whole life's loss, for each truncation, by autograd."""
        leaf, total = torch.tensor(u, dtype=torch.float64, requires_grad=True), 0.0
        slow, stages = torch.zeros((), dtype=torch.float64), self.horizon // self.truncation
        for _ in range(stages):
            loss, slow = self.run(leaf, slow.detach() if truncated else slow, self.truncation)
            total = total + loss / stages
        return float(torch.autograd.grad(total, leaf)[0])


def test_persistent_es_sees_what_truncation_hides() -> None:
    """Its averaged estimate is the gradient of whole lives, that of plain ES the one of truncated lives."""
    at = 0.8

    def estimate(persistent: bool) -> float:
        outer, problem = ES(1, population=1600, std=0.1, lr=0.0, clip=torch.inf, persistent=persistent), Influence(1600)
        with torch.no_grad():
            outer.u.fill_(at)
        gradients = []
        for step in range(48):
            outer.step(problem)
            if step >= 8:  # by then every particle has lived from its start
                gradients.append(float(outer.u.grad))
        return sum(gradients) / len(gradients)

    whole, truncated = (Influence(2).slope(at, cut) for cut in (False, True))
    assert whole > 0 > truncated
    assert estimate(True) == pytest.approx(whole, rel=0.05)
    assert estimate(False) == pytest.approx(truncated, rel=0.05)
