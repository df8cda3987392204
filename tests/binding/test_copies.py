"""What is made of a model while it learns: copies, files, calls of other kinds, other layers and parameters."""

import copy
import io
import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sgd import BATCHES, LR, assert_same, batches, loss_of, plain_loop, same_as_sgd, tanh
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parametrizations, prune
from torch.optim import SGD

from lightning_vsml import LearningAlgorithm, attach

BATCH = BATCHES[0]


def is_plain(net: nn.Module) -> bool:
    return all(type(parameter) is nn.Parameter and not vars(parameter) for parameter in net.parameters())


def through_a_file(net: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


# --- copies


COPIES: list[Callable[[nn.Module], nn.Module]] = [
    deepcopy,
    through_a_file,
    lambda net: pickle.loads(pickle.dumps(net)),
    lambda net: torch.optim.swa_utils.AveragedModel(net).module,
]


@pytest.mark.parametrize("make", COPIES)
def test_a_copy_within_a_step_is_a_plain_module(make: Any) -> None:
    """The original goes on, and so may the copy, by SGD; neither feels the other."""
    net, start = tanh(), tanh()
    with attach(net, lr=LR) as synapses:
        for batch in batches(3):
            loss_of(net, batch).backward()
            synapses.step()
        loss = loss_of(net, BATCH)
        before = make(net)
        loss.backward()
        between = make(net)
        assert is_plain(before) and is_plain(between)
        for one in (before, between):
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), net.parameters(), strict=True))
            assert all(parameter.grad is None and parameter.requires_grad for parameter in one.parameters())
            assert torch.equal(one(BATCH[0]), deepcopy(net)(BATCH[0]))
            torch.testing.assert_close(one(BATCH[0]), net(BATCH[0]))
        synapses.step()
        after = deepcopy(net)
        for batch in batches():
            loss_of(between, batch).backward()
            with torch.no_grad():
                for parameter in between.parameters():
                    parameter -= LR * parameter.grad
                    parameter.grad = None
        assert all(torch.equal(a, b) for a, b in zip(after.parameters(), net.parameters(), strict=True))
        plain_loop(net, synapses)
    theirs, rest = deepcopy(start), deepcopy(before)
    sgd = SGD(theirs.parameters(), LR)
    for batch in (*batches(3), BATCH):
        sgd.zero_grad()
        loss_of(theirs, batch).backward()
        sgd.step()
    plain_loop(theirs, sgd)
    assert_same(net, theirs, start)
    plain_loop(rest, SGD(rest.parameters(), LR))
    assert_same(between, rest, before)


def test_a_copy_keeps_what_is_frozen_and_what_is_shared() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4))
    net[1].weight = net[0].weight
    net[2].bias.requires_grad_(False)
    with attach(net):
        for make in COPIES:
            one = make(net)
            assert one[1].weight is one[0].weight is not net[0].weight
            assert not one[2].bias.requires_grad and one[2].weight.requires_grad and is_plain(one)


def test_a_state_dict_holds_plain_tensors() -> None:
    net = tanh()
    with attach(net):
        saved = net.state_dict()
        assert [type(tensor) for tensor in saved.values()] == [Tensor] * 4
        file = io.BytesIO()
        torch.save(saved, file)
        torch.save(list(net.parameters()), parameters := io.BytesIO())
    file.seek(0), parameters.seek(0)
    loaded, kept = torch.load(file, weights_only=True), torch.load(parameters, weights_only=True)
    assert all(torch.equal(loaded[name], parameter) for name, parameter in net.named_parameters())
    assert [type(parameter) for parameter in kept] == [nn.Parameter] * 4


def test_a_shallow_copy_of_a_layer_shares_its_synapses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return copy.copy(self.layer)(self.layer(x).tanh())

    same_as_sgd(Twice())
    net = tanh()
    with attach(net) as synapses:
        F.cross_entropy(copy.copy(net)(BATCH[0]), BATCH[1]).backward()
        assert synapses.step()


def test_an_average_of_weights_is_plain() -> None:
    net = tanh()
    averaged = None

    def loop(net: nn.Module, learner: Any) -> None:
        averaged = torch.optim.swa_utils.AveragedModel(net)
        for batch in batches():
            learner.zero_grad()
            loss_of(net, batch).backward()
            learner.step()
            averaged.update_parameters(net)
        results.append(averaged.module)

    results: list[nn.Module] = []
    same_as_sgd(net, loop)
    assert averaged is None and is_plain(results[0])
    assert_same(results[0], results[1], tanh())


# --- calls


def learns_by_ticks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sites of calls of ``learn``, as they come."""
    calls: list[str] = []
    learn = LearningAlgorithm.learn

    def noted(self: LearningAlgorithm, state: Tensor, x: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(type(x).__name__)
        return learn(self, state, x, *args, **kwargs)

    monkeypatch.setattr(LearningAlgorithm, "learn", noted)
    return calls


class Keywords(nn.Module):
    """Everything by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.linear(weight=self.first.weight, input=x, bias=self.first.bias)
        h = F.layer_norm(self.norm(input=h), (8,), weight=self.norm.weight, bias=self.norm.bias, eps=1e-5)
        return self.last(input=h)


def test_calls_by_keyword(monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = Keywords(), learns_by_ticks(monkeypatch)
    with attach(net) as synapses:
        loss_of(net, BATCH).backward()
        assert calls == ["Rows", "Diagonal", "Diagonal", "Rows"]
        assert synapses.step() and len(calls) == 4  # nothing was direct feedback
    same_as_sgd(Keywords())


def test_an_output_size(monkeypatch: pytest.MonkeyPatch) -> None:
    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.head = nn.ConvTranspose2d(1, 2, 3, stride=2, padding=1), nn.Linear(2 * 4 * 6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.up(x.view(-1, 1, 2, 3), output_size=(4, 6)).tanh().flatten(1))

    calls = learns_by_ticks(monkeypatch)
    same_as_sgd(Up())
    assert calls[:2] == ["Rows", "Images"]


@pytest.mark.parametrize("with_bias", [True, False])
def test_weights_used_by_other_functions(with_bias: bool) -> None:
    """By ticks where they are used as their layer uses them, else directly."""

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(x).tanh() + F.linear(x, self.layer.weight) + x @ self.layer.weight.T
            x = x + F.linear(x, self.layer.weight.mT, self.layer.bias if with_bias else None)
            return F.linear(x, F.normalize(self.head.weight), self.head.bias)

    same_as_sgd(Other())


def test_functional_calls_are_plain() -> None:
    net = tanh()
    with attach(net) as synapses:
        weights = {name: parameter.detach().clone() * 2 for name, parameter in net.named_parameters()}
        ours = torch.func.functional_call(net, weights, BATCH[0])
        copied = deepcopy(net)
        copied.load_state_dict(weights)
        assert torch.equal(ours, copied(BATCH[0]))
        slopes = torch.func.grad(lambda w: torch.func.functional_call(net, w, BATCH[0]).square().sum())(weights)
        copied(BATCH[0]).square().sum().backward()
        for name, parameter in copied.named_parameters():
            torch.testing.assert_close(slopes[name], parameter.grad)
        assert not synapses.step()


# --- changes of the model


class Changed:
    """A loop in whose middle the model is changed."""

    def __init__(self, change: Callable[[Any], None], clip: bool = False, between: bool = False) -> None:
        self.change, self.clip, self.between = change, clip, between
        self.news: list[list[str]] = []

    def __call__(self, net: nn.Module, learner: Any) -> None:
        for i, batch in enumerate(batches()):
            if i == 10 and not self.between:
                self._change(net)
            learner.zero_grad()
            loss_of(net, batch).backward()
            if i == 10 and self.between:
                self._change(net)
            if isinstance(learner, SGD):
                learner.param_groups[0]["params"] = list(net.parameters())
            if self.clip:
                clip_grad_norm_(net.parameters(), 0.3)
            learner.step()
            if i < 10:
                assert not getattr(learner, "news", [])
        self.news.append(list(getattr(learner, "news", [])))

    def _change(self, net: nn.Module) -> None:
        torch.manual_seed(7)
        self.change(net)


def new_layer(net: Any) -> None:
    net[2] = nn.Linear(8, 4)


def new_weight(net: Any) -> None:
    net[2].weight = nn.Parameter(torch.randn(4, 8) / 3)


def another_size(net: Any) -> None:
    net[0], net[2] = nn.Linear(6, 5), nn.Linear(5, 4, bias=False)


def one_more(net: Any) -> None:
    net.append(nn.LayerNorm(4))


def one_less(net: Any) -> None:
    del net[1]


def without_bias(net: Any) -> None:
    net[0].bias = None


def pruned(net: Any) -> None:
    prune.l1_unstructured(net[0], "weight", amount=0.4)


def weight_normed(net: Any) -> None:
    parametrizations.weight_norm(net[0])


def spectrally_normed(net: Any) -> None:
    parametrizations.orthogonal(net[2], use_trivialization=False)


def assigned(net: Any) -> None:
    net.load_state_dict({name: p.detach() * 0.5 for name, p in net.named_parameters()}, assign=True)


CHANGES = [
    new_layer,
    new_weight,
    another_size,
    one_more,
    without_bias,
    pruned,
    weight_normed,
    spectrally_normed,
    assigned,
]


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_model_are_followed(change: Any, clip: bool) -> None:
    loop, net, start = Changed(change, clip), tanh(), tanh()
    same_as_sgd_from(start, net, loop)
    [news] = loop.news[:1]
    assert len(news) == 1 and "of the model were replaced (" in news[0]


def same_as_sgd_from(start: Any, net: Any, loop: Changed) -> None:
    """As ``same_as_sgd``, where parameters come and go."""
    theirs = deepcopy(net)
    with attach(net, lr=LR) as synapses:
        loop(net, synapses)
        assert all(type(parameter).__name__ == "SynapticParameter" for parameter in net.parameters())
    loop(theirs, SGD(theirs.parameters(), LR))
    loop._change(start)
    for module in (net, theirs, start):
        assert [name for name, _ in module.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert_same(net, theirs, start)
    assert is_plain(net)
