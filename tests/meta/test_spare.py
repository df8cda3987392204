"""The constructed algorithm with spare units: SGD when untouched, and what single coordinates do, in plain torch."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers import Module, classification, mlp, relative_differences, trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_vsml import LearningAlgorithm, VSMLLearner
from lightning_vsml.lab.networks import Dense, Network, learn, with_bias
from lightning_vsml.meta.space import Space
from lightning_vsml.meta.spare import PERIODS, modulated_backprop
from lightning_vsml.ticks import State

LR = 0.1
Aged = Callable[..., State]


@pytest.fixture(scope="module")
def space() -> Space:
    return modulated_backprop(LR)


def moved(space: Space, **amounts: float) -> LearningAlgorithm:
    """The algorithm with the coordinates of these names moved; ``_`` stands for ``/``."""
    names = [coordinate.name for coordinate in space.coordinates]
    u = torch.zeros(space.size, dtype=torch.float64)
    for name, amount in amounts.items():
        u[names.index(name.replace("__", "/"))] = amount
    return replace(space.algorithm(u), ticks="fused")


def step(algorithm: LearningAlgorithm, state: Tensor, x: Tensor, e: Tensor) -> Tensor:
    """A learning step of one layer, x (S, A), e (S, B)."""
    change, _ = algorithm.learn(state, x.unsqueeze(1), e.unsqueeze(1), len(x))
    return algorithm.commit(state, change)


@pytest.fixture(scope="module")
def aged(space: Space) -> Aged:
    """Makes layers that have seen ``x`` for so long that running means have settled, without feedback."""
    algorithm = space.algorithm(torch.full((space.size,), 1e-3))  # every spare unit is read, if little

    def age(x: Tensor, outputs: int = 3, steps: int = 500) -> State:
        weights = 0.3 * torch.randn(1, x.shape[1], outputs)
        state = algorithm.encode(weights)
        for _ in range(steps):
            state = step(algorithm, state, x, torch.zeros(len(x), outputs))
        torch.testing.assert_close(algorithm.decode(state), weights)  # nothing was learned from nothing
        return State(*algorithm.layout.expand(state))

    return age


def update(algorithm: LearningAlgorithm, state: Tensor | State, x: Tensor, e: Tensor) -> Tensor:
    """Of the weights, in a learning step of a state of its own planes, or of all units."""
    state = algorithm.layout.compress(*state) if isinstance(state, State) else state
    return (algorithm.decode(step(algorithm, state, x, e)) - algorithm.decode(state))[0]


def sgd(x: Tensor, e: Tensor) -> Tensor:
    return LR * x.T @ e / len(x)


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


def test_untouched_it_follows_sgd(space: Space) -> None:
    algorithm = space.algorithm(torch.zeros(space.size))
    network = Network((Dense(8), Dense(4)))
    weights = network.initial((6,), [1])
    states = [algorithm.encode(layer) for layer in weights]
    parameters = [nn.Parameter(layer[0].clone()) for layer in weights]
    optimizer = torch.optim.SGD(parameters, lr=LR)
    generator = torch.Generator().manual_seed(4)
    for _ in range(200):
        x = torch.randn(8, 6, generator=generator)
        y = x[:, :4].argmax(1)
        states, logits = learn(algorithm, network, states, x.unsqueeze(1), y.unsqueeze(1))
        optimizer.zero_grad()
        out = with_bias(torch.tanh(with_bias(x) @ parameters[0])) @ parameters[1]
        cross_entropy(out, y).backward()
        optimizer.step()
    torch.testing.assert_close(logits[:, 0], out.detach(), rtol=1e-3, atol=1e-3)
    for state, before, parameter in zip(states, weights, parameters, strict=True):
        assert error(algorithm.decode(state)[0], parameter.detach()) < 1e-3
        assert error(before[0], parameter.detach()) > 0.1  # it did learn something


def test_untouched_it_follows_sgd_under_a_trainer(space: Space) -> None:
    ours, theirs = Module(mlp(), lr=0.2), Module(mlp(), lr=0.2)
    learner = VSMLLearner(space.algorithm(torch.zeros(space.size)), lr=0.2)
    trainer(learner, max_steps=60).fit(ours, classification())
    trainer(max_steps=60).fit(theirs, classification())
    assert max(relative_differences(ours.net, theirs.net).values()) < 1e-3
    assert max(abs(a - b) for a, b in zip(ours.losses, theirs.losses, strict=True)) < 1e-3


def test_its_learning_rate_is_the_one_asked_for() -> None:
    space, x, e = modulated_backprop(0.02), torch.randn(5, 7), torch.randn(5, 3)
    algorithm = space.algorithm(torch.zeros(space.size)).on("fused")
    state = algorithm.encode(torch.randn(1, 7, 3))
    assert algorithm.lr == 0.02
    assert error(update(algorithm, state, x, e), sgd(x, e) * 0.2) < 1e-3


def test_rate_multiplies_updates(space: Space, aged: Aged) -> None:
    x, e = torch.rand(6, 8), torch.randn(6, 3)
    for amount in (-2.0, 0.7):
        algorithm = moved(space, rate=amount)
        assert error(update(algorithm, aged(x, steps=1), x, e), math.exp(amount) * sgd(x, e)) < 0.02


def test_rate_by_norm_is_normalised_least_mean_squares(space: Space) -> None:
    """Updates are proportional to e x / |x|^2, over decades of |x|^2, each sample by itself."""
    algorithm = moved(space, rate__norm=1.0)
    directions, e = 2 * torch.rand(6, 60) - 1, 0.2 * torch.randn(6, 3)  # larger products saturate
    factors = []
    for scale in (1.5, 4.0, 10.0, 25.0):
        x = scale * directions * torch.linspace(0.8, 1.2, 6).unsqueeze(1)
        state = algorithm.encode(0.1 * torch.randn(1, 60, 3))
        got, want = update(algorithm, state, x, e), sgd(x / x.square().sum(1, keepdim=True), e)
        factors.append(float((got * want).sum() / want.square().sum()))
        assert error(got, factors[-1] * want) < 0.02
    assert factors == pytest.approx([100.0] * 4, rel=0.03)  # where |x|^2 is 100, it is SGD


def test_rates_by_the_mean_input_follow_its_sums(space: Space, aged: Aged) -> None:
    seen, x, e = torch.rand(6, 30), torch.rand(4, 30), torch.randn(4, 3)
    mean = seen.mean(0)
    algorithm = moved(space, rate__mean_norm=0.5)
    want = (mean @ mean / 100) ** 0.5 * sgd(x, e)
    assert error(update(algorithm, aged(seen), x, e), want) < 0.02
    algorithm = moved(space, rate__aligned=0.5)
    want = sgd(x * ((x @ mean).unsqueeze(1) / 100) ** 0.5, e)
    assert error(update(algorithm, aged(seen), x, e), want) < 0.02


def test_rates_by_the_size_of_an_input(space: Space, aged: Aged) -> None:
    """Each weight's own: the larger its input usually is, the slower; size is a leaky memory that shuts its gate."""
    seen, x, e = torch.tensor([0.0, 0.05, 0.2, 0.5, 1.0, 3.0]).expand(4, 6), torch.rand(4, 6), torch.randn(4, 3)
    size, forget = torch.zeros(6), torch.tensor(4.6).sigmoid()
    for _ in range(300):
        size = forget * size + (0.1 * seen[0] ** 2).tanh() * (-10 * size.tanh()).sigmoid()
    assert (size.diff() > 0.005).all() and size[-1] < 10 * size[2]  # squares part by a factor of 225
    got = update(moved(space, rate__size=0.5), aged(seen, steps=300), x, e)
    assert error(got, (-0.5 * 10 * size.tanh()).exp().unsqueeze(1) * sgd(x, e)) < 0.02


def test_rates_by_the_trend_rise_where_feedback_stays_and_fall_where_it_turns(space: Space, aged: Aged) -> None:
    algorithm = moved(space, rate__trend=1.0)
    x, e = torch.rand(6, 8) + 0.2, torch.randn(1, 3).expand(6, 3)
    sizes = {}
    for name, turning in (("stays", False), ("turns", True)):
        state = algorithm.layout.compress(*aged(x, steps=1))
        for step_number in range(20):
            state = step(algorithm, state, x, -e if turning and step_number % 2 else e)
        sizes[name] = float(update(algorithm, state, x, e).norm() / sgd(x, e).norm())
    assert sizes["turns"] < 0.8 and sizes["stays"] > 1.3


@pytest.mark.parametrize("amount", [0.3, 0.8])
def test_along_takes_the_mean_input_out_of_updates(space: Space, aged: Aged, amount: float) -> None:
    algorithm = moved(space, along=amount)
    seen, x, e = torch.rand(6, 10), torch.rand(4, 10) + 0.3, torch.randn(4, 3)
    m = seen.mean(0)
    want = sgd(x - amount * m * (x @ m).unsqueeze(1) / (m @ m), e)
    got = update(algorithm, aged(seen), x, e)
    assert float((got - want).norm() / sgd(x, e).norm()) < 0.05 * amount
    assert error(got, sgd(x, e)) > 0.2


def test_the_running_mean_is_one_over_steps(space: Space, aged: Aged) -> None:
    """After a change of the inputs it moves from one mean to the other, which updates along it show."""
    algorithm = moved(space, along=0.8)
    first, second = torch.rand(6, 10), torch.rand(6, 10) * torch.linspace(0, 2, 10)
    x, e = torch.rand(4, 10) + 0.3, torch.randn(4, 3)
    state, nearer = algorithm.layout.compress(*aged(first)), []
    for _ in range(4):
        got = update(algorithm, state, x, e)
        fits = [
            error(got, sgd(x - 0.8 * m * (x @ m).unsqueeze(1) / (m @ m), e)) for m in (first.mean(0), second.mean(0))
        ]
        nearer.append(fits[0] - fits[1])
        for _ in range(30):
            state = step(algorithm, state, second, torch.zeros(6, 3))
    assert nearer[0] < 0 < nearer[-1] and nearer == sorted(nearer)


def test_clocks_tell_young_synapses_from_old_ones(space: Space, aged: Aged) -> None:
    clocks = [c.name for c in space.coordinates if c.name.startswith("rate/clock")]
    x, e = torch.rand(6, 8), torch.randn(6, 3)
    for name, period in zip(clocks, PERIODS, strict=True):
        first = math.exp(math.tanh(1 - (1 - 1 / (3 * period)) ** 2))  # after two of three ticks
        algorithm = moved(space, **{name: 1.0})
        sizes = [
            float(update(algorithm, aged(x, steps=steps), x, e).norm() / sgd(x, e).norm()) for steps in (0, 20, 200)
        ]
        assert sizes[0] == pytest.approx(first, rel=0.02) and sizes == sorted(sizes) and sizes[-1] > 1.05


def test_forward_backward_and_decoded_weights_agree_whatever_moves(space: Space) -> None:
    """A synapse has one weight: what outputs show, what backward messages show and what is decoded."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        u = 0.3 * torch.randn(space.size, generator=generator, dtype=torch.float64)
        algorithm = space.algorithm(u).on("fused")
        state = algorithm.encode(0.3 * torch.randn(1, 8, 3, generator=generator))
        for _ in range(10):
            x, e = torch.randn(6, 8, generator=generator), torch.randn(6, 3, generator=generator)
            state = step(algorithm, state, x, e)
        weights = algorithm.decode(state)[0]
        assert error(algorithm.forward(state, x.unsqueeze(1))[:, 0], x @ weights) < 0.01
        _, message = algorithm.learn(state, x.unsqueeze(1), e.unsqueeze(1), 6)
        assert error(message[:, 0], e @ weights.T) < 0.05
