"""Between the user's module and the grids: what autograd sees, and what happens to weights."""

import math

import pytest
import torch
from helpers import classification, graph_leaves, mlp
from torch import Tensor, nn

from lightning_vsml import GraphError, NonFiniteError, checkpoints
from lightning_vsml.binding.bridge import Bridge

LR = 0.1


@pytest.fixture
def net() -> nn.Sequential:
    return mlp(activation=nn.Tanh)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    x, y = next(iter(classification()))
    return x, y


def bridge_to(net: nn.Module, **settings) -> Bridge:
    return Bridge(net, checkpoints.load("backprop"), **settings)


def loss_of(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def step(bridge: Bridge, batch: tuple[Tensor, Tensor]) -> float:
    with bridge.attached():
        loss = loss_of(bridge.model, batch)
    bridge.sweep(loss, 1.0, step=0)
    bridge.commit()
    return loss.item()


def saved_tensors(run) -> int:
    count = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return count


@pytest.mark.parametrize("forward", ["cell", "module"])
def test_no_gradient_through_weights(net: nn.Sequential, batch: tuple[Tensor, Tensor], forward: str) -> None:
    bridge = bridge_to(net, forward=forward)
    weights = {id(parameter) for parameter in net.parameters()}
    assert weights & {id(leaf) for leaf in graph_leaves(loss_of(net, batch))}  # as ever without the bridge
    with bridge.attached():
        loss = loss_of(net, batch)
    leaves = graph_leaves(loss)
    assert len(leaves) == 1 and leaves[0] is bridge.tape.calls[-1].leaf  # the graph ends at the last layer's output
    bridge.sweep(loss, 1.0, step=0)
    bridge.commit()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_saved_tensors_are_the_heads(batch: tuple[Tensor, Tensor]) -> None:
    """However deep the model: what autograd saves for the loss is what the loss alone saves."""
    for depth in (0, 4):
        net = nn.Sequential(nn.Linear(6, 4), *(nn.Linear(4, 4) for _ in range(depth)))
        logits = torch.randn(8, 4, requires_grad=True)
        head = saved_tensors(lambda logits=logits: nn.functional.cross_entropy(logits, batch[1]))
        bridge = bridge_to(net)

        def run(bridge: Bridge = bridge) -> None:
            with bridge.attached():
                loss_of(bridge.model, batch)

        assert saved_tensors(run) == head
        assert saved_tensors(lambda net=net: loss_of(net, batch)) > head


def test_outside_of_a_step_the_module_is_plain(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    bridge = bridge_to(net)
    with pytest.raises(ZeroDivisionError), bridge.attached():
        assert "forward" in vars(net[0])
        raise ZeroDivisionError
    assert "forward" not in vars(net[0]) and net[0].weight.requires_grad
    step(bridge, batch)
    assert "forward" not in vars(net[0])


def test_hooks_of_the_user_fire(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    seen = []
    net[0].register_forward_pre_hook(lambda *_: seen.append("before"))
    net[0].register_forward_hook(lambda *_: seen.append("after"))
    step(bridge_to(net), batch)
    assert seen == ["before", "after"]


def test_weights_changed_by_somebody_else_are_followed(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    """Clamping, averaging or loading between steps works as with an optimizer, also through .data."""
    bridge = bridge_to(net)
    step(bridge, batch)
    other = mlp(activation=nn.Tanh)
    optimizer = torch.optim.SGD(other.parameters(), lr=LR)
    other.load_state_dict(net.state_dict())
    for model in (net, other):
        for parameter in model.parameters():
            parameter.data.clamp_(-0.1, 0.1)
    for _ in range(3):
        step(bridge, batch)
        optimizer.zero_grad()
        loss_of(other, batch).backward()
        optimizer.step()
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_only_weights_that_changed_are_read_again(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    bridge = bridge_to(net)
    step(bridge, batch)
    states = dict(bridge.states)
    net[2].weight.data[1, 3] += 1e-3
    with bridge.attached():
        assert bridge.states["0"] is states["0"] and bridge.states["2"] is not states["2"]
        now = bridge.algorithms["2"].decode(bridge.states["2"])
        assert torch.equal(now, bridge.grids["2"].read(torch.float32))


@pytest.mark.parametrize("change", [lambda w: w.flip(0), lambda w: -w, lambda w: w[:, [1, 0, 2, 3, 4, 5]]])
def test_a_rearrangement_through_data_is_followed(net: nn.Sequential, batch: tuple[Tensor, Tensor], change) -> None:
    bridge = bridge_to(net)
    step(bridge, batch)
    net[0].weight.data.copy_(change(net[0].weight.data.clone()))
    with bridge.attached():
        assert torch.equal(bridge.algorithms["0"].decode(bridge.states["0"]), bridge.grids["0"].read(torch.float32))


def test_an_embedding_touches_only_what_occurs() -> None:
    vocabulary = 100_000
    net = nn.Sequential(nn.Embedding(vocabulary, 4), nn.Flatten(), nn.Linear(12, 3))
    indices = torch.tensor([[5, 99_999, 5], [0, 7, 99_999]])
    before, bridge = net[0].weight.detach().clone(), bridge_to(net)
    with bridge.attached():
        loss = loss_of(net, (indices, torch.tensor([0, 2])))
    bridge.sweep(loss, 1.0, step=0)
    occurring = indices.unique()
    change = bridge.pending["0"]
    assert torch.equal(change.inputs, occurring) and change.planes.shape == (1, 1, len(occurring), 4)
    bridge.commit()
    changed = (net[0].weight != before).any(1)
    assert torch.equal(changed.nonzero().flatten(), occurring)
    assert torch.equal(bridge.algorithms["0"].decode(bridge.states["0"])[0], net[0].weight)


def test_frozen_layers_stay_and_may_thaw(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    before = [parameter.clone() for parameter in net.parameters()]
    net[2].requires_grad_(False)
    bridge = bridge_to(net)
    step(bridge, batch)
    assert torch.equal(net[2].weight, before[2]) and not net[2].weight.requires_grad
    assert not torch.equal(net[0].weight, before[0])
    net[2].requires_grad_(True)  # as lightning's BackboneFinetuning does in mid-fit
    step(bridge, batch)
    assert not torch.equal(net[2].weight, before[2])


def test_forward_without_gradients_is_not_recorded(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    bridge = bridge_to(net)
    with bridge.attached():
        with torch.no_grad():
            silent = net(batch[0])
        assert bridge.tape.calls == [] and not silent.requires_grad
        loud = net(batch[0])
    torch.testing.assert_close(silent, loud)
    torch.testing.assert_close(silent, net(batch[0]), rtol=1e-3, atol=1e-4)


def test_in_place_glue(batch: tuple[Tensor, Tensor]) -> None:
    inplace = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    plain = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    plain.load_state_dict(inplace.state_dict())
    for model in (inplace, plain):
        step(bridge_to(model), batch)
    assert all(torch.equal(a, b) for a, b in zip(inplace.parameters(), plain.parameters(), strict=True))


def test_an_input_changed_after_use_is_an_error(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    bridge = bridge_to(net)
    x = batch[0].clone()
    with bridge.attached():
        logits = net(x)
        x.add_(1)
    with pytest.raises(GraphError, match="input of layer '0' was changed in place"):
        bridge.sweep(nn.functional.cross_entropy(logits, batch[1]), 1.0, step=0)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda net, x: net(x).detach().sum(), "no way leads back from it to 0, 2"),
        (lambda net, x: (torch.ones(3, requires_grad=True) * net(x).detach().sum()).sum(), "no way leads back"),
        (lambda net, x: torch.ones(3, requires_grad=True).sum(), "called no mapped layer"),
    ],
)
def test_a_loss_without_a_way_back(net: nn.Sequential, batch: tuple[Tensor, Tensor], loss, message: str) -> None:
    bridge = bridge_to(net)
    with bridge.attached():
        value = loss(net, batch[0])
    with pytest.raises(GraphError, match=message):
        bridge.sweep(value, 1.0, step=0)


def explode(x: Tensor) -> Tensor:
    """Finite forward, non-finite derivative at 0: sqrt."""
    return torch.sqrt(x - x.detach())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda net, x: net(x).sum() * math.nan,
            r"step 7: expected finite numbers, but the loss is not \(loss = nan\)",
        ),
        (lambda net, x: net(x).sum() / 0, "the loss is not"),
        (lambda net, x: explode(net(x)).sum(), "the feedback of layer '2' is not"),
        (lambda net, x: net[2](explode(net[0](x))).sum(), "the feedback of layer '0' is not"),
    ],
)
def test_non_finite_numbers_write_nothing(net: nn.Sequential, batch: tuple[Tensor, Tensor], loss, message: str) -> None:
    bridge = bridge_to(net)
    before = [parameter.clone() for parameter in net.parameters()]
    with bridge.attached():
        value = loss(net, batch[0])
    with pytest.raises(NonFiniteError, match=message):
        bridge.sweep(value, 1.0, step=7)
    assert not bridge.commit()
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))


def test_gain_zero_learns_nothing(net: nn.Sequential, batch: tuple[Tensor, Tensor]) -> None:
    """A warm-up that starts at a learning rate of 0."""
    bridge = bridge_to(net)
    with bridge.attached():
        loss = loss_of(net, batch)
    bridge.sweep(loss, 0.0, step=0)
    assert not bridge.commit()


def test_states_of_another_model(net: nn.Sequential) -> None:
    states = bridge_to(net)
    with states.attached():
        pass
    with pytest.raises(ValueError, match=r"the states of layer '0' in the checkpoint have shape .* no such layer"):
        bridge_to(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), states=states.state_dict())


@pytest.mark.parametrize("module_dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_states_are_float32_or_float64(batch: tuple[Tensor, Tensor], module_dtype: torch.dtype) -> None:
    net = mlp(module_dtype)
    bridge = bridge_to(net)
    step(bridge, (batch[0].to(module_dtype), batch[1]))
    expected = torch.float64 if module_dtype == torch.float64 else torch.float32
    assert all(state.dtype == expected for state in bridge.states.values())
    assert all(parameter.dtype == module_dtype for parameter in net.parameters())


def test_a_batch_without_samples_changes_nothing() -> None:
    net = mlp()
    bridge = Bridge(net, checkpoints.load("meta_mnist"))
    x, y = torch.randn(5, 6), torch.randint(0, 4, (5,))
    for _ in range(2):  # with and without samples
        with bridge.attached():
            loss = nn.functional.cross_entropy(net(x), y, reduction="sum")
        bridge.sweep(loss, 1.0, 0)
        before = {name: p.clone() for name, p in net.named_parameters()}
        states = {name: state.clone() for name, state in bridge.states.items()}
        bridge.commit()
        changed = any(not torch.equal(p, before[name]) for name, p in net.named_parameters())
        assert changed == bool(len(x))
        x, y = x[:0], y[:0]
    assert all(torch.equal(state, states[name]) for name, state in bridge.states.items())
