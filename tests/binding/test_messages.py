"""A message passing protocol in a user's model, against the same nodes called one by one."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from helpers import Module, classification, cross_entropy, trainer
from torch import Tensor, nn

from lightning_vsml import GraphError, VSMLLearner, attach
from lightning_vsml.algorithms.mplp import MPLP
from lightning_vsml.meta import Digits, FewShot, Sinusoids
from lightning_vsml.meta.sequences.passing import Net, Shots


class Clusters(FewShot):
    """Four classes of six inputs."""

    net = Net((6, 5, 4), "sigmoid", "cross_entropy")
    unit = 1.4

    def shots(self, learners: int, generator: torch.Generator, held_out: bool = False) -> Shots:
        count = self.steps * self.examples
        y = torch.randint(4, (count + self.queries, learners), generator=generator)
        x = F.one_hot(y, 6).float() + 0.3 * torch.randn(*y.shape, 6, generator=generator)
        shape = (self.steps, self.examples, learners)
        return Shots(x[:count].view(*shape, 6), y[:count].view(shape), x[count:], y[count:])


def protocol(net: Net = Clusters.net, **settings: object) -> MPLP:
    problem = Clusters(**{"messages": 3, "carry": 0, "hidden": (8, 5), **settings})  # type: ignore[arg-type]
    problem.net = net
    if net.loss == "mse_loss":
        problem.shots = Sinusoids(examples=4, queries=2).shots  # type: ignore[method-assign]
    return problem.algorithm(problem.start(0), "protocol", {"kind": "meta-learned"})


ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def model_of(net: Net) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(net.sizes[:-1], net.sizes[1:], strict=True):
        layers += [nn.Linear(a, b), ACTIVATIONS[net.activation]()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("carry", [0, 5])
@pytest.mark.parametrize("sharing", ["tensor", "kind", "statistics"])
@pytest.mark.parametrize("net", [Clusters.net, Net((1, 4, 4, 1), "relu", "mse_loss")], ids=["digits", "sinusoid"])
def test_a_model_learns_as_its_nodes_do(net: Net, sharing: str, carry: int) -> None:
    algorithm = protocol(net, sharing=sharing, carry=carry)
    model = model_of(net)
    loss = {"cross_entropy": F.cross_entropy, "mse_loss": F.mse_loss}[net.loss]
    with attach(model, algorithm) as synapses:
        states = [synapses.changes.states.current(name).clone() for name in synapses.grids]
        for _ in range(3):
            x = torch.randn(4, net.sizes[0])
            target = torch.randint(net.sizes[-1], (4,)) if net.loss == "cross_entropy" else torch.randn(4, 1)
            states = net.step(algorithm, states, x.unsqueeze(1), target.unsqueeze(1))  # type: ignore[assignment]
            loss(model(x), target).backward()
            assert synapses.step()
        for name, state in zip(synapses.grids, states, strict=True):
            torch.testing.assert_close(synapses.changes.states.items()[name], state, rtol=1e-4, atol=1e-5)
            assert torch.equal(synapses.grids[name].read(torch.float32), synapses.changes.states.items()[name][0])


class Around(nn.Module):
    """Two layers, and something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(6, 4), nn.Linear(4, 4), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


def operated(h: Tensor) -> Tensor:
    h = h + 1
    h *= 2
    h += h.detach()
    return -h


BETWEEN = {
    "gelu": F.gelu,
    "softmax": lambda h: h.softmax(-1),
    "norm": lambda h: F.layer_norm(h, (4,)),
    "arithmetic": lambda h: (2 * h - 1) / 3 + h.square(),
    "shapes": lambda h: torch.cat([part.unsqueeze(0) for part in h.view(-1, 2, 2).unbind(1)], 2).flatten(0, 1),
    "in place": lambda h: F.silu(h, inplace=True).mul_(2),
    "operators": operated,
    "halves": lambda h: torch.cat(h.chunk(2, 1)[::-1], 1),
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=list(BETWEEN))
def test_what_has_no_rule_is_differentiated(between: Callable[[Tensor], Tensor]) -> None:
    """Each number of a message goes back through it as a gradient does."""
    algorithm, model = protocol(), Around(between)
    plain = Around(between)
    plain.load_state_dict(model.state_dict())
    x, y = torch.randn(5, 6), torch.randint(4, (5,))
    with attach(model, algorithm) as synapses:
        first, second = (synapses.changes.states.current(name) for name in ("first", "second"))
        F.cross_entropy(model(x), y).backward()
        learned = dict(synapses.changes.pending)
    h = plain.first(x).detach().requires_grad_()
    inner = between(h.clone())
    out = plain.second(inner)
    m = algorithm.judge("cross_entropy", out.detach(), y, torch.ones(()))
    change, back = algorithm.of_layer(1, 2).learn(second, inner.detach().unsqueeze(1), m.unsqueeze(1), 5)
    torch.testing.assert_close(learned["second"].planes, change.planes)
    numbers = [torch.autograd.grad(inner, h, back[:, 0, :, k], retain_graph=True)[0] for k in range(3)]
    change, _ = algorithm.of_layer(0, 2).learn(first, x.unsqueeze(1), torch.stack(numbers, -1).unsqueeze(1), 5)
    torch.testing.assert_close(learned["first"].planes, change.planes, rtol=1e-4, atol=1e-6)


def test_messages_of_two_layers_are_added() -> None:
    algorithm = protocol(sharing="statistics")
    stem, one, two = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(5, 4)
    model = nn.ModuleList([stem, one, two])
    x, y = torch.randn(3, 6), torch.randint(4, (3,))
    with attach(model, algorithm) as synapses:
        h = stem(x)
        F.cross_entropy(one(h) + two(h), y).backward()
        rules = [algorithm.of_layer(place, 3) for place in range(3)]
        states = [synapses.changes.states.current(name) for name in synapses.grids]
        m = algorithm.judge("cross_entropy", (one(h) + two(h)).detach().as_subclass(Tensor), y, torch.ones(()))
        inputs = h.detach().as_subclass(Tensor).unsqueeze(1)
        backs = [rules[k].learn(states[k], inputs, m.unsqueeze(1), 3)[1] for k in (1, 2)]
        change, _ = rules[0].learn(states[0], x.unsqueeze(1), backs[0] + backs[1], 3)
        torch.testing.assert_close(synapses.changes.pending["0"].planes, change.planes)


def test_convolutions_learn() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 4))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with attach(model, protocol()) as synapses:
        F.cross_entropy(model(torch.randn(3, 1, 4, 4)), torch.tensor([0, 1, 2])).backward()
        assert synapses.step()
    assert all(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_in_a_trainer() -> None:
    module = Module(model_of(Clusters.net), cross_entropy, 0.1)
    before = module.net[0].weight.detach().clone()
    trainer(VSMLLearner(protocol(carry=4)), max_steps=3).fit(module, classification(8, (6,)))
    assert not torch.equal(module.net[0].weight, before)
    assert type(module.net[0].weight) is nn.Parameter


def test_what_can_not_be() -> None:
    algorithm = protocol()
    x, y = torch.randn(3, 6), torch.tensor([0, 1, 2])
    model = model_of(Clusters.net)
    with attach(model, algorithm):
        with pytest.raises(GraphError, match=r"layer '2'.*has rules for cross_entropy"):
            model(x).square().mean().backward()
        with pytest.raises(GraphError, match=r"label_smoothing=0.1, which 'protocol' has no rule for"):
            F.cross_entropy(model(x), y, label_smoothing=0.1)
        with pytest.raises(GraphError, match="its output feeds another layer, and the loss as well"):
            h = model[0](x)
            (F.cross_entropy(model[2](model[1](h)), y) + h.square().mean()).backward()
    with pytest.raises(ValueError, match="some of it belongs to each of 2 layers, but the model has 3"):
        attach(model_of(Net((6, 5, 5, 4), "sigmoid", "cross_entropy")), protocol(sharing="kind"))
    with pytest.raises(ValueError, match=r"lr=0.1 has no meaning"):
        attach(model_of(Clusters.net), algorithm, lr=0.1)


def test_digits_are_missed_before_anything_runs() -> None:
    with pytest.raises(Exception, match="MNIST"):
        Digits(data_dir="nowhere").start(0)  # type: ignore[arg-type]
