"""Messages of several numbers through a user's model, against the ticks one by one."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml import GraphError, MappingError, attach
from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.binding.chain import Carried

ALGORITHM = Emergent("scratch", initial(8, 3, seed=2))


def by_hand(states: list[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits of a chain of dense layers, and its states after a step; rows learn side by side."""
    bias = ALGORITHM.enter(torch.ones(len(x), 1, 1))
    m, seen = ALGORITHM.enter(x.unsqueeze(1)), []
    for state in states:
        seen.append(torch.cat([m, bias], 2))
        (m,) = ALGORITHM.send(state, seen[-1])
    logits = m[:, 0, :, 0]
    m, after = ALGORITHM.feedback((F.one_hot(y, logits.shape[-1]) - logits.softmax(-1)).unsqueeze(1)), []
    for state, inputs in zip(states[::-1], seen[::-1], strict=True):
        change, m = ALGORITHM.learn(state, inputs, m, len(x))
        m = m[:, :, :-1]
        after.append(ALGORITHM.commit(state, change))
    return logits, after[::-1]


class Shaped(nn.Module):
    """The same chain with all kinds of shapes and functions between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu_(self.first(x.view(-1, 2, 3).flatten(1)))
        h = F.dropout(torch.tanh(h), 0.5, self.training).unsqueeze(1).transpose(1, 2)
        return self.second(h.squeeze(-1).view(-1, 2, 2).reshape(-1, 4))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("build", [lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(True), nn.Linear(4, 3)), Shaped])
def test_a_chain_learns_as_by_hand(batch: int, build: Callable[[], nn.Module]) -> None:
    model = build()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    with attach(model, ALGORITHM) as synapses:
        states = [synapses.changes.states.current(name) for name in synapses.grids]
        for step in range(4):
            x, y = torch.randn(batch, 6), torch.randint(3, (batch,))
            logits = model(x)
            F.cross_entropy(logits, y).backward()
            assert synapses.step()
            expected, states = by_hand(states, x, y)
            torch.testing.assert_close(torch.Tensor(logits.detach()), expected, msg=f"step {step}")
        for name, state in zip(synapses.grids, states, strict=True):
            torch.testing.assert_close(synapses.changes.states.items()[name], state, rtol=1e-4, atol=1e-5)
        model.eval()
        with torch.no_grad():
            x = torch.randn(7, 6)
            torch.testing.assert_close(model(x).as_subclass(Tensor), by_hand(states, x, torch.zeros(7).long())[0])
    for parameter, before in zip(model.parameters(), weights, strict=True):
        assert torch.equal(parameter, before)  # what was learned lies elsewhere


def test_convolutions_by_patches() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    x, y = torch.randn(2, 1, 4, 4), torch.tensor([0, 2])
    with attach(model, ALGORITHM) as synapses:
        state = synapses.changes.states.current("0").clone()
        F.cross_entropy(model(x), y).backward()
        patches = F.unfold(x, 3, padding=1).mT.reshape(-1, 1, 9)
        bias = ALGORITHM.enter(torch.ones(32, 1, 1))
        (sent,) = ALGORITHM.send(state, torch.cat([ALGORITHM.enter(patches), bias], 2))
        seen = sent[:, 0, :, 0].view(2, 4, 4, 2).permute(0, 3, 1, 2)
        torch.testing.assert_close(model[0](x).as_subclass(Tensor), seen)
        synapses.step()
        assert not torch.equal(state, synapses.changes.states.current("0"))


@pytest.mark.parametrize("kind", ["autocast", "bfloat16", "float64"])
def test_precision(kind: str) -> None:
    """States are wide whatever the model is, and it sees what it expects."""
    dtype = {"autocast": torch.bfloat16, "bfloat16": torch.bfloat16, "float64": torch.float64}[kind]
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    model = model if kind == "autocast" else model.to(dtype)
    x = torch.randn(2, 6, dtype=torch.float32 if kind == "autocast" else dtype)
    with attach(model, ALGORITHM) as synapses, torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        y = model(x)
        assert y.dtype == dtype
        F.cross_entropy(y.float(), torch.tensor([0, 2])).backward()
        assert synapses.step()
        wide = torch.float64 if kind == "float64" else torch.float32
        assert {state.dtype for state in synapses.changes.states.items().values()} == {wide}


def test_a_run_is_resumed_bitwise() -> None:
    def run(synapses: object, model: nn.Module, seed: int) -> Tensor:
        torch.manual_seed(seed)
        for _ in range(3):
            logits = model(torch.randn(1, 6))
            F.cross_entropy(logits, torch.randint(3, (1,))).backward()
            synapses.step()  # type: ignore[attr-defined]
        return logits.detach().as_subclass(Tensor)

    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    with attach(model, ALGORITHM) as synapses:
        run(synapses, model, 1)
        saved, weights = copy.deepcopy(synapses.state_dict()), model.state_dict()
        expected = run(synapses, model, 2)
    other = nn.Linear(6, 3)
    other.load_state_dict(weights)
    with attach(other, ALGORITHM) as synapses:
        synapses.load_state_dict(saved)
        assert torch.equal(run(synapses, other, 2), expected)


def test_layers_that_are_frozen_and_gradients_that_are_dropped() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    with attach(model, ALGORITHM) as synapses:
        before = {name: synapses.changes.states.current(name).clone() for name in synapses.grids}
        F.cross_entropy(model(torch.randn(2, 6)), torch.tensor([0, 1])).backward()
        synapses.zero_grad()
        assert not synapses.step()
        F.cross_entropy(model(torch.randn(2, 6)), torch.tensor([0, 1])).backward()
        assert all(parameter.grad is None for parameter in model.parameters())
        assert synapses.step()
        after = synapses.changes.states.items()
        assert torch.equal(before["0"], after["0"]) and not torch.equal(before["1"], after["1"])


class Between(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(6, 6), nn.Linear(6, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x), x))


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize(
    "between",
    [torch.add, lambda h, x: h.add_(x), lambda h, x: h.softmax(-1), lambda h, x: torch.cat([h[:, :3], h[:, 3:]], 1)],
)
def test_what_messages_do_not_go_through(between: Callable[[Tensor, Tensor], Tensor], learning: bool) -> None:
    model = Between(between).train(learning)
    refused = pytest.raises(GraphError, match="layer 'second': its input is not what another mapped layer sent")
    with attach(model, ALGORITHM), torch.set_grad_enabled(learning), refused:
        model(torch.randn(2, 6))


def test_other_things_that_can_not_be() -> None:
    with pytest.raises(MappingError, match=r"nn.Linear and convolutions alone.*found 1 \(LayerNorm\)"):
        attach(normed := nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4)), ALGORITHM)
    assert type(normed[0].weight) is nn.Parameter  # nothing is half done
    for settings, named in (
        ({"lr": 0.1}, "lr=0.1"),
        ({"forward": "module"}, "forward"),
        ({"optimizer": ("0",)}, "optim"),
    ):
        with pytest.raises(ValueError, match=f"{named}.* has no meaning for 'scratch'"):
            attach(nn.Linear(6, 4), ALGORITHM, **settings)  # type: ignore[arg-type]
    model = nn.Linear(6, 3)
    with attach(model, ALGORITHM) as synapses:
        with pytest.raises(GraphError, match="its input asks for a gradient"):
            model(torch.randn(2, 6, requires_grad=True))
        (F.cross_entropy(model(torch.randn(2, 6)), torch.tensor([0, 1])) + model.weight.square().sum()).backward()
        with pytest.raises(GraphError, match="the loss depends on a weight of '' itself"):
            synapses.step()
        with pytest.raises(GraphError, match="traced"):
            torch.func.vmap(model)(torch.randn(2, 6))
    branching = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 3), nn.Linear(4, 2)])
    with attach(branching, ALGORITHM):
        h = branching[0](torch.randn(2, 6))
        branching[1](h)
        with pytest.raises(GraphError, match="layer '0' feeds '1' as well"):
            branching[2](h)


def test_copies_are_plain_and_say_so() -> None:
    model = nn.Linear(6, 3)
    with attach(model, ALGORITHM) as synapses:
        y = model(torch.randn(2, 6))
        assert type(y) is Carried and type(y.sum()) is Tensor
        for kept in (pickle.loads(pickle.dumps(y.detach())), copy.deepcopy(y.detach())):
            assert type(kept) is Tensor and torch.equal(kept, y.as_subclass(Tensor))
        plain = copy.deepcopy(model)
        assert torch.equal(plain.weight, model.weight) and "stay with the original" in synapses.news[-1]
