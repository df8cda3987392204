"""Networks outside of modules, against torch's own modules and autograd."""

import pytest
import torch
from helpers import COARSE
from torch import nn

from lightning_vsml import LearningAlgorithm, programs
from lightning_vsml.lab.networks import Conv, Dense, Network, learn, loss

CNN = Network((Conv(3), Conv(4, stride=1), Dense(5)), torch.relu)
SHAPE = (1, 7, 6)


def modules(weights: list[torch.Tensor], place: int) -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 4 * 3, 5),
    )
    with torch.no_grad():
        for module, layer in zip((net[0], net[2], net[5]), weights, strict=True):
            module.weight.copy_(layer[place, :-1].T.reshape(module.weight.shape))
            module.bias.copy_(layer[place, -1])
    return net


def test_a_cnn_computes_what_torch_computes() -> None:
    weights = CNN.initial(SHAPE, [3, 4])
    x = torch.rand(2, 2, *SHAPE)
    for place in range(2):
        torch.testing.assert_close(CNN.outputs(weights, x)[:, place], modules(weights, place)(x[:, place]))


def test_cnns_learn_as_by_sgd() -> None:
    algorithm = programs.backprop(lr=0.2, dtype=torch.float64)
    weights = [layer.double() for layer in CNN.initial(SHAPE, [3, 4])]
    nets = [modules(weights, place).double() for place in range(2)]
    states = [algorithm.encode(layer) for layer in weights]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.rand(6, 2, *SHAPE, generator=generator, dtype=torch.float64)
        y = torch.randint(0, 5, (6, 2), generator=generator)
        states, _ = learn(algorithm, CNN, states, x, y, gain=0.5)
        for place, net in enumerate(nets):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[:, place]), y[:, place]).backward()
            optimizer.step()
    for place, net in enumerate(nets):
        for state, module in zip(states, (net[0], net[2], net[5]), strict=True):
            got = algorithm.decode(state)[place, :-1].T.reshape(module.weight.shape)
            torch.testing.assert_close(got, module.weight.detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("ticks", ["products", "fused"])
@pytest.mark.parametrize("network", [Network((Dense(4), Dense(5))), CNN], ids=["mlp", "cnn"])
def test_gradients_flow_through_learning(network: Network, ticks: str) -> None:
    """Against finite differences of the loss after three steps, by a learning rate within the cell."""
    algorithm = programs.backprop(lr=0.5, dtype=torch.float64, **COARSE)
    weights = [layer.double() for layer in network.initial(SHAPE, [1])]
    x = torch.rand(3, 4, 1, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([[0], [1], [2], [3]])

    def after(rho: torch.Tensor) -> torch.Tensor:
        W = algorithm.cell.W.clone()
        mask = torch.zeros_like(W)
        mask[2:4, 10:12] = 1.0  # products -> g of the weight
        cell = algorithm.cell._replace(W=W * (1 + (rho - 1) * mask))
        learner = LearningAlgorithm(
            "scaled", cell, algorithm.protocol, algorithm.codec, algorithm.memory, 0.5, ticks=ticks
        )
        states = [learner.encode(layer) for layer in weights]
        for batch in x:
            states, logits = learn(learner, network, states, batch, y)
        return loss(logits, y)

    rho = torch.ones((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(after(rho), rho)
    with torch.no_grad():
        slope = (after(torch.tensor(1.001)) - after(torch.tensor(0.999))) / 0.002
    assert float(gradient) == pytest.approx(float(slope), rel=1e-3)
    assert abs(float(gradient)) > 1e-4
