"""The program equals the formula; and neither minds how inputs and losses are scaled."""

import copy
import math
from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml import attach
from lightning_vsml.algorithms.adaptive import Coordinates, adaptive, formula
from lightning_vsml.lab.ensembles import classification
from lightning_vsml.meta.wide.learning import ByFormula, Ensemble
from lightning_vsml.ticks import Told

FLOAT64 = adaptive(dtype=torch.float64)


@pytest.mark.parametrize("cosine", [False, True])
def test_one_grid_follows_the_formula(cosine: bool) -> None:
    A, B, R = 9, 4, 16
    target = torch.randn(A, B, dtype=torch.float64)
    weight = torch.randn(1, A + 1, B, dtype=torch.float64) * 0.3
    bias = torch.zeros(A + 1, 1, dtype=torch.float64)
    bias[-1] = 1.0
    state, memory = FLOAT64.encode(weight), formula.begin(weight)
    for step in range(60):
        rate = 1.05 + math.cos(step / 10) if cosine else 1.0
        annealed = rate / 2.05 if cosine else 1.0
        x = torch.cat([torch.randn(R, A) + 1.5, torch.ones(R, 1)], 1).double()

        def feedback(w: Tensor, x: Tensor = x) -> Tensor:
            return x[:, :-1] @ target - x @ w[0]

        e = feedback(FLOAT64.decode(state)).unsqueeze(1)
        told = Told.of(A + 1, state)
        told = told._replace(rate=told.rate * rate, annealed=told.annealed * annealed)
        state = FLOAT64.commit(state, FLOAT64.learn(state, x.unsqueeze(1), e, R)[0], told)
        centred = x - memory.mean[0].T
        new = formula.Gathered(
            torch.einsum("rb,ra->ab", feedback(memory.weight), centred)[None] / R,
            x.mean(0)[None, :, None],
            centred.square().mean(0)[None, :, None],
        )
        memory = formula.commit(memory, new, Coordinates(), bias, rate=rate, annealed=annealed)
    moved = (memory.weight - weight).norm()
    assert moved > 0.5
    assert (FLOAT64.decode(state) - memory.weight).norm() < 1e-4 * moved


class Text(nn.Module):
    """An embedding, a norm, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.head = nn.Embedding(11, 6), nn.LayerNorm(18), nn.Linear(18, 5)
        self.own = nn.Parameter(torch.zeros(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm((self.table(x) + self.own).flatten(1))))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 5))


def convolutions() -> nn.Module:
    first, second = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, bias=False)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Flatten(), nn.Linear(24, 5))


def apart(some: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    return sum(float((a - b).detach().square().sum()) for a, b in zip(some, others, strict=True)) ** 0.5


def numbers(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.5


def letters(generator: torch.Generator) -> Tensor:
    return torch.randint(11, (16, 3), generator=generator)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [(perceptron, numbers(16, 12)), (convolutions, numbers(16, 1, 7, 7)), (Text, letters)],
    ids=["perceptron", "convolutions", "text"],
)
def test_networks_follow_the_formula_over_300_steps(
    make: Callable[[], nn.Module], inputs: Callable[[torch.Generator], Tensor]
) -> None:
    model = make().double()
    begin = [p.detach().clone() for p in model.parameters()]
    twin = ByFormula(Ensemble(copy.deepcopy(model), classification, 1), torch.tensor([Coordinates()]).double())
    synapses = attach(model, FLOAT64)
    generator = torch.Generator().manual_seed(1)
    for _ in range(300):
        x = inputs(generator)
        y = (x.flatten(1).double().sum(1).abs() * 7).long() % 5
        F.cross_entropy(model(x), y).backward()
        synapses.step()
        twin.step(x, y)
    synapses.detach()
    theirs = [twin.ensemble.parameters[name][0] for name, _ in model.named_parameters()]
    moved = apart(model.parameters(), begin)
    assert moved > 0.5
    assert apart(model.parameters(), theirs) < 1e-3 * moved
