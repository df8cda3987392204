"""A model bound to a learning algorithm: what autograd sees, and that loops are those of SGD."""

import io
import math
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import graph_leaves, mlp
from models import Checkpointed, Residual, Sequence, Shared
from sensing import sensing
from sgd import BATCHES, LR, Batch, assert_same, batches, loss_of, plain_loop, same_as_sgd, tanh
from torch import Tensor, nn

from lightning_vsml import GraphError, LearningAlgorithm, MappingError, NonFiniteError, Synapses, attach, checkpoints
from lightning_vsml.ticks.sites import Diagonal

BATCH = BATCHES[0]


def step(synapses: Synapses, batch: Batch = BATCH) -> None:
    loss_of(synapses.model, batch).backward()
    assert synapses.step()


def decoded(synapses: Synapses, name: str) -> Tensor:
    return synapses.changes.states.runs(name).decode(synapses.changes.states.items()[name])


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of ``learn`` was direct feedback of a parameter."""
    calls: list[bool] = []
    learn = LearningAlgorithm.learn

    def noted(self: LearningAlgorithm, state: Tensor, x: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(isinstance(x, Diagonal))
        return learn(self, state, x, *args, **kwargs)

    monkeypatch.setattr(LearningAlgorithm, "learn", noted)
    return calls


# --- what autograd sees


@pytest.mark.parametrize("forward", ["cell", "module"])
def test_no_gradient_through_weights(forward: str) -> None:
    net = tanh()
    weights = {id(parameter) for parameter in net.parameters()}
    assert weights == {id(leaf) for leaf in graph_leaves(loss_of(net, BATCH))}  # as ever before
    with attach(net, forward=forward) as synapses:
        loss = loss_of(net, BATCH)
        leaves = graph_leaves(loss)
        assert leaves and not weights & {id(leaf) for leaf in leaves}
        assert all(leaf.numel() == 1 for leaf in leaves)  # what makes the calls part of the graph
        loss.backward()
        assert synapses.step() and all(leaf.grad is None for leaf in leaves)
        assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def saved_tensors(net: nn.Module, batch: Batch) -> list[Tensor]:
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        loss_of(net, batch)
    return saved


def test_autograd_saves_inputs_and_no_weights() -> None:
    """Of each mapped call its input; of the loss what the loss alone saves."""
    for depth in (0, 4):
        net = nn.Sequential(nn.Linear(6, 4), *(nn.Linear(4, 4) for _ in range(depth)))
        head = saved_tensors(nn.Identity(), (torch.randn(8, 4, requires_grad=True), BATCH[1]))
        weights = {parameter.data_ptr() for parameter in net.parameters()}
        assert bool(depth) == bool(weights & {tensor.data_ptr() for tensor in saved_tensors(net, BATCH)})
        with attach(net):
            saved = saved_tensors(net, BATCH)
        assert not weights & {tensor.data_ptr() for tensor in saved}
        inputs = [tensor.numel() for tensor in saved[: -len(head)]]
        assert inputs == [8 * 6, *[8 * 4] * depth]
        assert [tensor.shape for tensor in saved[-len(head) :]] == [tensor.shape for tensor in head]


def test_hooks_of_the_user_fire() -> None:
    net, seen = tanh(), []
    net[0].register_forward_pre_hook(lambda *_: seen.append("before"))
    net[0].register_forward_hook(lambda *_: seen.append("after"))
    net[2].register_full_backward_hook(lambda layer, inputs, outputs: seen.append([g.shape for g in inputs + outputs]))
    with attach(net) as synapses:
        step(synapses)
    assert seen == ["before", "after", [(8, 8), (8, 4)]]


def test_forward_without_gradients() -> None:
    """In training it runs by ticks, but leaves nothing behind; in evaluation the module is plain."""
    net, x = tanh(), BATCH[0]
    plain = net(x)
    with attach(net) as synapses:
        with torch.no_grad():
            silent = net(x)
        assert not silent.requires_grad
        assert torch.equal(silent, net(x))
        torch.testing.assert_close(silent, plain, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            assert torch.equal(net.eval()(x), plain)
        assert not synapses.step()


@pytest.mark.parametrize("layer", [nn.Linear(6, 8), nn.Conv1d(1, 8, 6), nn.LayerNorm(6), nn.Embedding(9, 6)])
def test_in_place_glue(layer: nn.Module) -> None:
    x = (BATCH[0] * 2).long().clamp(-4, 4) + 4 if isinstance(layer, nn.Embedding) else BATCH[0].unsqueeze(1)
    size = layer(x).flatten(1).shape[1]
    inplace = nn.Sequential(layer, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(size, 4))
    plain = nn.Sequential(deepcopy(layer), nn.ReLU(), nn.Flatten(), deepcopy(inplace[3]))
    for net in (inplace, plain):
        with attach(net) as synapses:
            step(synapses, (x, BATCH[1]))
    assert all(torch.equal(a, b) for a, b in zip(inplace.parameters(), plain.parameters(), strict=True))


def test_no_more_work_for_each_layer_of_a_deep_model(learned: list[bool]) -> None:
    class Block(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * super().forward(x).tanh()

    for depth in (8, 64):
        learned.clear()
        with attach(nn.Sequential(*(Block(6, 6) for _ in range(depth)))) as synapses:
            step(synapses)
        assert learned == [False] * depth


def test_a_parameter_that_is_the_input_of_a_layer(learned: list[bool]) -> None:
    """The layer runs by ticks all the same."""

    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.layer = nn.Parameter(torch.randn(8, 6)), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.queries) + x[:, :4]

    with attach(Queries()) as synapses:
        step(synapses)
        assert learned == [False, True]
    same_as_sgd(Queries())


# --- loops


def test_step_tells_whether_anything_changed() -> None:
    net = tanh()
    with attach(net) as synapses:
        assert not synapses.step()
        loss_of(net, BATCH).backward()
        assert synapses.step() and not synapses.step()
        loss_of(net, BATCH).backward()
        synapses.zero_grad()
        before = deepcopy(net)
        assert not synapses.step() and synapses.steps == 4
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))


@pytest.mark.parametrize("forward", ["cell", "module"])
@pytest.mark.parametrize("net", [tanh, Residual, Shared, Checkpointed, lambda: Checkpointed(use_reentrant=True)])
def test_a_plain_loop(net: Any, forward: str) -> None:
    """Skip connections, a layer used three times, and activation checkpoints of both kinds."""
    same_as_sgd(net(), forward=forward)


def test_gradient_accumulation() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        for i, batch in enumerate(batches()):
            (loss_of(net, batch) / 2).backward()
            if i % 2:
                learner.step()
                learner.zero_grad()

    same_as_sgd(tanh(), loop)


def test_a_loss_that_is_used_twice() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        for batch in batches():
            loss = loss_of(net, batch)
            loss.backward(retain_graph=True)
            loss.backward()
            learner.step()
            learner.zero_grad()

    same_as_sgd(tanh(), loop)


def test_two_losses_one_after_the_other() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        for x, y in batches():
            logits = net(x)
            F.cross_entropy(logits, y).backward(retain_graph=True)
            logits.square().mean().backward()
            learner.step()
            learner.zero_grad()

    same_as_sgd(tanh(), loop)


def test_several_forward_passes_of_other_sizes_before_one_backward() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        for x, y in batches():
            learner.zero_grad()
            (F.cross_entropy(net(x), y) + F.cross_entropy(net(x[:3]), y[:3], reduction="sum")).backward()
            learner.step()

    same_as_sgd(Sequence(), lambda net, learner: loop(nn.Sequential(nn.Unflatten(1, (2, 3)), net), learner))


def test_a_penalty_over_all_parameters(learned: list[bool]) -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        for batch in batches():
            learner.zero_grad()
            (loss_of(net, batch) + 0.1 * sum(p.square().sum() for p in net.parameters())).backward()
            learner.step()

    same_as_sgd(tanh(), loop)
    assert sum(learned) == 4 * 20 and len(learned) == 6 * 20


def test_a_tied_embedding() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.middle, self.out = nn.Embedding(4, 5), nn.Linear(5, 5), nn.Linear(5, 4)
            self.out.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.middle(self.table((x * 9).long() % 4)))).mean(1)

    net = Tied()
    same_as_sgd(net)
    assert net.out.weight is net.table.weight


def test_bias_only_and_weight_only_training_in_turns() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        for i, batch in enumerate(batches()):
            for layer in (net[0], net[2]):
                layer.weight.requires_grad_(i // 5 != 0)
                layer.bias.requires_grad_(i // 5 != 1)
            before = [parameter.clone() for parameter in net.parameters()]
            loss_of(net, batch).backward()
            learner.step()
            learner.zero_grad()
            changed = [not torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True)]
            assert changed == [i // 5 != 0, i // 5 != 1] * 2

    same_as_sgd(tanh(), loop)


def test_frozen_layers_stay_and_may_thaw() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        net[2].requires_grad_(False)
        before = net[2].weight.clone()
        for i, batch in enumerate(batches()):
            if i == 10:  # as lightning's BackboneFinetuning does in mid-fit
                assert torch.equal(net[2].weight, before)
                net[2].requires_grad_(True)
            loss_of(net, batch).backward()
            learner.step()
            learner.zero_grad()

    same_as_sgd(tanh(), loop)


# --- weights and states


@pytest.mark.parametrize("through", [lambda parameter: parameter.data, lambda parameter: parameter.detach()])
def test_weights_changed_by_somebody_else_are_followed(through: Any) -> None:
    """Clamping, averaging or loading between steps works as with an optimizer, also through .data."""

    def loop(net: nn.Module, learner: Any) -> None:
        for batch in batches():
            loss_of(net, batch).backward()
            learner.step()
            learner.zero_grad()
            for parameter in net.parameters():
                through(parameter).clamp_(-0.3, 0.3)

    same_as_sgd(tanh(), loop)


def test_other_weights_may_be_loaded() -> None:
    def loop(net: nn.Module, learner: Any) -> None:
        plain_loop(net, learner)
        net.load_state_dict(other.state_dict())
        plain_loop(net, learner)

    other = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    same_as_sgd(tanh(), loop)


def test_only_weights_that_changed_are_read_again() -> None:
    net = tanh()
    with attach(net) as synapses:
        step(synapses)
        before = synapses.changes.states.items()
        net[2].weight.data[1, 3] += 1e-3
        net(BATCH[0])
        now = synapses.changes.states.items()
        assert now["0"] is before["0"] and now["2"] is not before["2"]
        assert torch.equal(decoded(synapses, "2"), synapses.grids["2"].read(torch.float32))


@pytest.mark.parametrize("change", [lambda w: w.flip(0), lambda w: -w, lambda w: w[:, [1, 0, 2, 3, 4, 5]]])
def test_a_rearrangement_through_data_is_followed(change: Any) -> None:
    net = tanh()
    with attach(net) as synapses:
        step(synapses)
        net[0].weight.data.copy_(change(net[0].weight.data.clone()))
        net(BATCH[0])
        assert torch.equal(decoded(synapses, "0"), synapses.grids["0"].read(torch.float32))


def test_an_embedding_touches_only_what_occurs() -> None:
    net = nn.Sequential(nn.Embedding(100_000, 4), nn.Flatten(), nn.Linear(12, 3))
    indices = torch.tensor([[5, 99_999, 5], [0, 7, 99_999]])
    before, occurring = net[0].weight.detach().clone(), indices.unique()
    with attach(net) as synapses:
        loss_of(net, (indices, torch.tensor([0, 2]))).backward()
        change = synapses.changes.pending["0"]
        assert torch.equal(change.inputs, occurring) and change.planes.shape == (1, 1, len(occurring), 4)
        assert synapses.step()
        changed = (net[0].weight != before).any(1)
        assert torch.equal(changed.nonzero().flatten(), occurring)
        assert torch.equal(decoded(synapses, "0")[0], net[0].weight)


@pytest.mark.parametrize("module_dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_states_are_float32_or_float64(module_dtype: torch.dtype) -> None:
    net = mlp(module_dtype)
    with attach(net) as synapses:
        step(synapses, (BATCH[0].to(module_dtype), BATCH[1]))
        expected = torch.float64 if module_dtype == torch.float64 else torch.float32
        assert [state.dtype for state in synapses.changes.states.items().values()] == [expected] * 2
        assert all(parameter.dtype == module_dtype for parameter in net.parameters())


def test_a_batch_without_samples_changes_nothing() -> None:
    net = mlp()
    x, y = torch.randn(5, 6), torch.randint(0, 4, (5,))
    with attach(net, sensing()) as synapses:
        for _ in range(2):  # with and without samples
            F.cross_entropy(net(x), y, reduction="sum").backward()
            before = {name: p.clone() for name, p in net.named_parameters()}
            states = {name: state.clone() for name, state in synapses.changes.states.items().items()}
            synapses.step()
            changed = any(not torch.equal(p, before[name]) for name, p in net.named_parameters())
            assert changed == bool(len(x))
            x, y = x[:0], y[:0]
        assert all(torch.equal(state, states[name]) for name, state in synapses.changes.states.items().items())


def test_gain_zero_learns_nothing() -> None:
    """A warm-up that starts at a learning rate of 0; it may be set at any time."""
    net = tanh()
    with attach(net, lr=0) as synapses:
        loss_of(net, BATCH).backward()
        assert not synapses.step()
        synapses.lr = LR
        step(synapses)
        with pytest.raises(ValueError, match=r"lr should be a finite number of at least 0, or None .*, got -1"):
            synapses.lr = -1


def test_what_attach_does_not_take() -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.nn.Module to attach to, got list"):
        attach([tanh()])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"optimizer should be names of modules .*, got SGD"):
        attach(tanh(), optimizer=torch.optim.SGD(tanh().parameters()))  # type: ignore[arg-type]


# --- saving, leaving


@pytest.mark.parametrize("algorithm", ["backprop", "adaptive", sensing()], ids=["backprop", "adaptive", "sensing"])
def test_a_saved_run_goes_on_bitwise(algorithm: str | LearningAlgorithm) -> None:
    def steps(synapses: Synapses, n: int) -> list[Tensor]:
        for batch in batches(n):
            step(synapses, batch)
        return [*synapses.model.parameters(), *synapses.changes.states.items().values()]

    net, file = tanh(), io.BytesIO()
    with attach(net, algorithm) as synapses:
        steps(synapses, 5)
        torch.save({"model": net.state_dict(), "synapses": synapses.state_dict()}, file)
        through = [tensor.clone() for tensor in steps(synapses, 5)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    with attach(again, algorithm) as synapses:
        again.load_state_dict(saved["model"])
        synapses.load_state_dict(saved["synapses"])
        assert synapses.steps == 5
        assert all(torch.equal(a, b) for a, b in zip(through, steps(synapses, 5), strict=True))


def test_states_of_another_algorithm() -> None:
    saved = attach(tanh(), "adaptive").state_dict()
    with pytest.raises(ValueError, match=r"was made by the learning algorithm 'adaptive' .* here 'backprop' runs"):
        attach(tanh()).load_state_dict(saved)


def test_states_of_another_model() -> None:
    with attach(tanh()) as synapses:
        step(synapses)
        saved = synapses.state_dict()
    with pytest.raises(ValueError, match=r"the states of layer '0' in the checkpoint have shape .* no such layer"):
        attach(nn.Sequential(nn.ReLU(), nn.Linear(2, 2))).load_state_dict(saved)


def is_plain(net: nn.Module) -> bool:
    return all(type(p) is nn.Parameter and not vars(p) and p.requires_grad and p.grad is None for p in net.parameters())


def test_detached_models_are_plain() -> None:
    net = tanh()
    identities = [id(parameter) for parameter in net.parameters()]
    synapses = attach(net)
    assert not is_plain(net)
    step(synapses)
    loss_of(net, BATCH).backward()  # is dropped
    state = synapses.changes.states.items()["0"]
    for _ in range(2):
        synapses.detach()
        assert is_plain(net) and [id(parameter) for parameter in net.parameters()] == identities
    assert torch.equal(synapses.state_dict()["states"]["0"]["planes"], state)  # stays readable
    assert len(graph_leaves(loss_of(net, BATCH))) == 4
    start, other = deepcopy(net), deepcopy(net)
    plain_loop(net, torch.optim.SGD(net.parameters(), LR))
    plain_loop(other, attach(other, lr=LR))
    assert_same(other, net, start)


def test_an_error_in_the_context_gives_the_model_back() -> None:
    net = nn.Sequential(*tanh(), nn.PReLU())
    with pytest.raises(ZeroDivisionError), attach(net, unmapped="freeze") as synapses:
        assert not net[3].weight.requires_grad
        step(synapses)
        raise ZeroDivisionError
    assert is_plain(net)


def test_a_model_is_attached_once() -> None:
    net = tanh()
    with attach(net) as synapses:
        for again in (net, net[2], nn.Sequential(net, nn.Linear(4, 4))):
            with pytest.raises(MappingError, match="is attached already; a weight can follow one algorithm only"):
                attach(again)
        step(synapses)
    with attach(net, "adaptive") as synapses:
        step(synapses)


def test_parts_of_a_model_may_follow_algorithms_of_their_own() -> None:
    net = tanh()
    with attach(net[0], lr=LR) as first, attach(net[2], "adaptive") as second:
        loss_of(net, BATCH).backward()
        before = deepcopy(net)
        assert first.step()
        assert not torch.equal(net[0].weight, before[0].weight) and torch.equal(net[2].weight, before[2].weight)
        assert second.step() and not torch.equal(net[2].weight, before[2].weight)


# --- what goes wrong


def test_an_input_changed_after_use_is_an_error() -> None:
    net, x = tanh(), BATCH[0].clone()
    with attach(net) as synapses:
        logits = net(x)
        x.add_(1)
        with pytest.raises(GraphError, match="input of layer '0' was changed in place"):
            F.cross_entropy(logits, BATCH[1]).backward()
        synapses.zero_grad()
        assert not synapses.step()


def test_a_loss_without_a_way_back_changes_nothing() -> None:
    net = tanh()
    with attach(net) as synapses:
        other = torch.ones(3, requires_grad=True)
        (other * net(BATCH[0]).detach().sum()).sum().backward()
        assert other.grad is not None and not synapses.step()


def explode(x: Tensor) -> Tensor:
    """Finite forward, non-finite derivative at 0: sqrt."""
    return torch.sqrt(x - x.detach())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda net, x: net(x).sum() * math.nan, "step 1: expected finite numbers, but the feedback of layer '2' is"),
        (lambda net, x: net(x * math.inf).sum(), "the input of layer '0' is not"),
        (lambda net, x: explode(net(x)).sum(), "the feedback of layer '2' is not"),
        (lambda net, x: net[2](explode(net[0](x))).sum(), "the feedback of layer '0' is not"),
        (lambda net, x: net(x).sum() + explode(net[0].bias).sum(), "the feedback of layer '0' is not"),
        (lambda net, x: net(x).sum() + explode(net.scale), "the feedback of layer 'scale' is not"),
    ],
)
def test_non_finite_numbers_write_nothing(loss: Any, message: str) -> None:
    net = tanh()
    net.register_parameter("scale", nn.Parameter(torch.ones(())))
    with attach(net) as synapses:
        step(synapses)
        before = [parameter.clone() for parameter in net.parameters()]
        with pytest.raises(NonFiniteError, match=message):
            loss(net, BATCH[0]).backward()
            synapses.step()
        assert not synapses.step()
        assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))
        step(synapses)


def test_autograd_grad_of_a_weight_is_an_error() -> None:
    net = tanh()
    with attach(net) as synapses:
        with pytest.raises(GraphError, match=r"Look at .grad after loss.backward\(\).*optimizer=\(\"its.name\",\)"):
            torch.autograd.grad(loss_of(net, BATCH), net[0].weight)
        with pytest.raises(GraphError, match=r"Look at .grad after"):
            torch.autograd.grad(loss_of(net, BATCH), list(net.parameters()))
        assert not synapses.step()


def test_a_gradient_penalty_is_an_error_that_names_the_layer() -> None:
    net, x = tanh(), BATCH[0].clone().requires_grad_()
    with attach(net), pytest.raises(GraphError, match=r"create_graph=True.* goes through layer '2', .*penalty"):
        torch.autograd.grad(net(x).sum(), x, create_graph=True)
    with attach(nn.ModuleList([net, nn.Linear(1, 1)]), optimizer=("0",)):  # the way out
        [slope] = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        slope.square().sum().backward()
    assert net[0].weight.grad is not None


@pytest.mark.parametrize("forward", ["cell", "module"])
def test_autograd_grad_of_an_input_learns_nothing(forward: str) -> None:
    net, x = tanh(), BATCH[0].clone().requires_grad_()
    [expected] = torch.autograd.grad(net(x).square().sum(), x)
    with attach(net, forward=forward) as synapses:
        [slope] = torch.autograd.grad(net(x).square().sum(), x)
        torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-5)
        net(x).square().sum().backward(inputs=[x])
        torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-5)
        assert all(parameter.grad is None for parameter in net.parameters()) and not synapses.step()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(4, 5), ValueError, r"layer '2.0': Linear\(.*\) expects an input of shape \(..., 6\), got \(4, 5\)"),
        (torch.ones(4, 6).double(), TypeError, "layer '2.0': .*type, torch.float32, got torch.float64"),
        (torch.ones(4, 6).long(), TypeError, "layer '2.0': .*floating-point input, got torch.int64"),
    ],
)
def test_a_wrong_input_names_the_layer(x: Tensor, error: type[Exception], message: str) -> None:
    net = nn.Sequential(nn.Identity(), nn.Flatten(), tanh())
    with attach(net) as synapses:
        with pytest.raises(error, match=message):
            net(x)
        step(synapses)


def test_a_population_is_an_error() -> None:
    algorithm = checkpoints.load("backprop")
    many = type(algorithm.cell)(*(torch.stack([parameter] * 2) for parameter in algorithm.cell))
    with pytest.raises(ValueError, match="A model runs one cell, got a population of 2: choose one"):
        attach(tanh(), type(algorithm)(**{**algorithm.__getstate__(), "cell": many}))


def test_a_pass_that_nobody_learns_from_leaves_nothing_to_the_next() -> None:
    """Its number of samples, above all: the algorithm divides by it."""
    start = tanh()
    ends = []
    for before in (lambda net: None, lambda net: net(torch.randn(320, 6))):
        net = deepcopy(start)
        with attach(net, sensing()) as synapses:
            for batch in batches(3):
                before(net)
                loss_of(net, batch).backward()
                synapses.step()
        ends.append(net)
    assert_same(*ends, start, limit=1e-2)  # products plan for the ranges that they meet, and differ by their tolerance


def test_what_exceeds_the_reach_is_told_once() -> None:
    net = tanh()
    with attach(net) as synapses:
        for _ in range(2):
            net(BATCH[0] * 10_000).sum().backward()
            synapses.zero_grad()
        with pytest.warns(UserWarning, match=r"step 1: the input of 0 exceeds ±2048, .* Normalise") as caught:
            synapses.step()
        assert len(caught) == 1 and caught[0].filename == __file__
        assert not synapses.step()
