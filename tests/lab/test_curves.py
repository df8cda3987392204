"""Learning curves of stacked networks, against torch and against a Trainer with the learner."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from helpers import Module, trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import LearningAlgorithm, VSMLLearner
from lightning_vsml.lab.curves import ByAlgorithm, ByOptimizer, Curves, learning_curves, logarithmic
from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.networks import Conv, Dense, Network

NETWORK = Network((Dense(8), Dense(4)))


def images(n: int = 60) -> Images:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(n, 1, 2, 3, generator=generator)
    y = (x.flatten(1) @ torch.randn(6, 4, generator=generator)).argmax(1)
    y[:4] = torch.arange(4)
    return Images("random", x, y, x, y)


def network(weights: list[torch.Tensor], seed: int) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    with torch.no_grad():
        for linear, layer in zip((net[0], net[2]), weights, strict=True):
            linear.weight.copy_(layer[seed, :-1].T)
            linear.bias.copy_(layer[seed, -1])
    return net


def test_each_network_is_torch_s_own() -> None:
    weights = NETWORK.initial((6,), [5, 7])
    for place, seed in enumerate((5, 7)):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        ours = network(weights, place)
        for mine, theirs in zip(ours.parameters(), net.parameters(), strict=True):
            assert torch.equal(mine, theirs)
        x = torch.rand(9, 6)
        torch.testing.assert_close(NETWORK.outputs(weights, x.unsqueeze(1))[:, place], net(x))


def test_a_stack_learns_as_a_trainer_with_the_learner_does(algorithm: LearningAlgorithm) -> None:
    algorithm = algorithm.on("fused").to(dtype=torch.float64)  # products may differ by their tolerance
    weights = [layer.double() for layer in NETWORK.initial((6,), [0, 1])]
    running = ByAlgorithm(weights, NETWORK, algorithm, lr=0.2)
    x, y = torch.rand(3, 5, 2, 6, dtype=torch.float64), torch.randint(0, 4, (3, 5, 2))
    for batch, labels in zip(x, y, strict=True):
        running.step(batch, labels)
    for seed in range(2):
        module = Module(network(weights, seed).double())
        loader = DataLoader(TensorDataset(x[:, :, seed].flatten(0, 1), y[:, :, seed].flatten()), batch_size=5)
        trainer(VSMLLearner(algorithm, lr=0.2), max_steps=3).fit(module, loader)
        for got, want in zip(running.weights(), (module.net[0], module.net[2]), strict=True):
            torch.testing.assert_close(got[seed, :-1].T, want.weight.detach(), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(got[seed, -1], want.bias.detach(), rtol=1e-4, atol=1e-6)


def test_optimizers_run_each_network_as_if_alone() -> None:
    weights = NETWORK.initial((6,), [0, 1])
    running = ByOptimizer(weights, NETWORK, torch.optim.Adam, lr=0.01)
    x, y = torch.rand(3, 5, 2, 6), torch.randint(0, 4, (3, 5, 2))
    for batch, labels in zip(x, y, strict=True):
        running.step(batch, labels)
    net = network(weights, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for batch, labels in zip(x[:, :, 1], y[:, :, 1], strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(batch), labels).backward()
        optimizer.step()
    torch.testing.assert_close(running.weights()[1][1, :-1].T, net[2].weight.detach())


@pytest.mark.parametrize("hidden", [(), (8,), (Conv(3, stride=1), 8)])
def test_curves_rise_and_are_repeatable(algorithm: LearningAlgorithm, hidden: tuple[int | Conv, ...]) -> None:
    settings = {"steps": 40, "batch": 16, "seeds": range(3), "at": (10, 20, 99)}

    def run() -> Curves:  # afresh: which products a call takes depends on those before, and rounds as they do
        by = partial(ByAlgorithm, algorithm=deepcopy(algorithm), lr=1.0)
        return learning_curves(by, images(), hidden, **settings)

    curves = run()
    assert curves.steps == (10, 20, 40) and curves.accuracy.shape == (3, 3) and curves.online.shape == (40, 3)
    assert float(curves.accuracy[-1].mean()) > float(curves.online[0].mean())
    assert torch.equal(curves.accuracy, run().accuracy)
    if algorithm.card["kind"] != "meta-learned":  # those are made to differ
        sgd = learning_curves(partial(ByOptimizer, optimizer=torch.optim.SGD, lr=1.0), images(), hidden, **settings)
        assert float((curves.accuracy - sgd.accuracy).abs().max()) < 0.1


def test_a_seed_does_not_depend_on_the_others() -> None:
    run = partial(learning_curves, partial(ByOptimizer, optimizer=torch.optim.SGD, lr=1.0), images(), steps=10)
    torch.testing.assert_close(run(seeds=[4]).weights[0][0], run(seeds=[3, 4]).weights[0][1])


def test_points_of_a_logarithmic_axis() -> None:
    points = logarithmic(10_000, 9)
    assert points == (1, 3, 10, 32, 100, 316, 1000, 3162, 10_000)
    assert logarithmic(1) == (1,)
