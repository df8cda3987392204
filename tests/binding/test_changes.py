"""What is to change, as gradients and optimizers have it: ``.grad``, clipping, scaling, decay, groups, many steps."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sensing import sensing
from sgd import (
    BATCHES,
    LR,
    STEPS,
    assert_same,
    batches,
    loss_of,
    plain_loop,
    same_as_sgd,
    same_when_followed,
    tanh,
)
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_vsml import attach

BATCH = BATCHES[0]


def edited(edit: Any, then: Any = None) -> Any:
    """A loop that does something to gradients between backward and step."""

    def loop(net: nn.Module, learner: Any) -> None:
        for batch in batches():
            learner.zero_grad()
            loss_of(net, batch).backward()
            edit(net)
            if then is not None:
                then(net, batch)
            learner.step()

    return loop


def with_table() -> nn.Module:
    """An embedding, a norm and a parameter of its own besides."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm = nn.Embedding(9, 5), nn.LayerNorm(5)
            self.scale, self.head = nn.Parameter(torch.ones(5)), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.scale * self.norm(self.table((x * 2).long().clamp(-4, 4) + 4))).mean(1)

    return Table()


# --- gradients


@pytest.mark.parametrize("net", [tanh, with_table, lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 6))])
def test_grad_is_that_of_sgd(net: Any) -> None:
    ours = net()
    theirs = deepcopy(ours)
    with attach(ours) as synapses:
        for model in (ours, theirs):
            model(BATCH[0]).square().sum().backward()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert type(one.grad) is Tensor and not one.grad.requires_grad and one.grad.shape == other.shape
            assert one.grad is one.grad
            assert float((one.grad - other.grad).norm()) <= 1e-4 * float(other.grad.norm())
        assert synapses.step() and all(parameter.grad is None for parameter in ours.parameters())


def test_grad_of_what_took_no_part_is_none() -> None:
    net = tanh()
    with attach(net) as synapses:
        net[2].weight.requires_grad_(False)
        assert [p.grad for p in net.parameters()] == [None] * 4
        net[2](torch.randn(8, 8)).sum().backward()
        assert [p.grad is None for p in net.parameters()] == [True, True, True, False]
        assert synapses.step()


@pytest.mark.parametrize("limit", [0.05, 1e6])
@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
@pytest.mark.parametrize("net", [tanh, with_table])
def test_clipping(net: Any, clip: Any, limit: float) -> None:
    norms: list[Any] = []
    same_as_sgd(net(), edited(lambda net: norms.append(clip(net.parameters(), limit))))
    if clip is clip_grad_norm_:
        torch.testing.assert_close(norms[:STEPS], norms[STEPS:], rtol=1e-4, atol=1e-6)


def set_to_none(net: Any) -> None:
    net[0].weight.grad = None
    del net[2].bias.grad


def scaled_in_place(net: Any) -> None:
    for parameter in net.parameters():
        parameter.grad.mul_(2)


def scaled_and_set(net: Any) -> None:
    for parameter in net.parameters():
        parameter.grad *= 2


def replaced(net: Any) -> None:
    net[0].weight.grad = torch.sign(net[0].weight.grad) * 0.1
    net[2].bias.grad = torch.full((4,), 0.1)


def zeroed(net: Any) -> None:
    net[0].zero_grad(set_to_none=False)


def only_looked_at(net: Any) -> None:
    assert all(parameter.grad is not None for parameter in net.parameters())


EDITS = [set_to_none, scaled_in_place, scaled_and_set, replaced, zeroed, only_looked_at]


@pytest.mark.parametrize("edit", EDITS)
def test_what_the_user_does_with_gradients_holds(edit: Any) -> None:
    same_as_sgd(tanh(), edited(edit))


@pytest.mark.parametrize("edit", EDITS)
def test_what_comes_after_a_look_at_gradients_adds_up(edit: Any) -> None:
    """By ticks, and directly."""

    def more(net: nn.Module, batch: Any) -> None:
        (loss_of(net, (batch[0][::2], batch[1][::2])) + sum(p.square().sum() for p in net.parameters())).backward()

    same_as_sgd(tanh(), edited(edit, more))


def test_gradients_changed_in_place_and_set_are_the_same() -> None:
    """For rules that are not gradient descent, too: an own gradient would be fed to the synapses one by one."""
    ends = []
    for edit in (scaled_in_place, scaled_and_set):
        net = tanh()
        with attach(net, sensing()) as synapses:
            edited(edit)(net, synapses)
        ends.append(list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_look_at_gradients_changes_no_other_rule() -> None:
    start = tanh()
    ours, theirs = deepcopy(start), deepcopy(start)
    for net, edit in ((ours, only_looked_at), (theirs, lambda net: None)):
        with attach(net, sensing()) as synapses:
            edited(edit)(net, synapses)
    assert_same(ours, theirs, start)


# --- scaling of the loss


def scaled(net: nn.Module, learner: Any, spoilt: int | None = None, clip: float = 0.0) -> list[float]:
    """With a gradient scaler whose scale grows every third step; one batch gives an infinity."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    scales = []
    for i, batch in enumerate(batches()):
        learner.zero_grad()
        scales.append(scaler.get_scale())
        if hasattr(learner, "rates"):
            learner.rates.scaler = scaler
        loss = loss_of(net, batch)
        scaler.scale(loss * torch.inf if i == spoilt else loss).backward()
        if clip:
            scaler.unscale_(learner)
            clip_grad_norm_(net.parameters(), clip)
        before = [parameter.clone() for parameter in net.parameters()]
        scaler.step(learner)
        stayed = all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
        assert stayed == (i == spoilt)
        scaler.update()
    assert (min(scales) < 2.0**10) == (spoilt == 1) and max(scales) > 2.0**11
    return scales


@pytest.mark.parametrize("clip", [0.0, 0.1])
@pytest.mark.parametrize("spoilt", [None, 1])
@pytest.mark.parametrize("net", [tanh, with_table])
def test_a_gradient_scaler(net: Any, spoilt: int | None, clip: float) -> None:
    scales = []
    same_as_sgd(net(), lambda net, learner: scales.append(scaled(net, learner, spoilt, clip)))
    assert scales[0] == scales[1]


def test_a_gradient_scaler_with_a_followed_optimizer() -> None:
    start, theirs = tanh(), tanh()
    ours = deepcopy(start)
    with attach(ours, lr=LR) as synapses:
        optimizer = SGD(ours.parameters(), LR)
        synapses.follow(optimizer)
        optimizer.rates = synapses.rates
        scaled(ours, optimizer, 1)
    scaled(theirs, SGD(theirs.parameters(), LR), 1)
    assert_same(ours, theirs, start)


# --- optimizers that are followed


def test_a_followed_optimizer_commits() -> None:
    net = tanh()
    with attach(net, lr=LR) as synapses:
        optimizer = SGD(net.parameters(), LR)
        own = optimizer.step
        following = synapses.follow(optimizer)
        loss_of(net, BATCH).backward()
        before = net[0].weight.clone()
        optimizer.step()
        assert not torch.equal(net[0].weight, before) and not synapses.step() and following.commits == 1
        following.release()
        assert optimizer.step == own and "step" not in vars(optimizer)
        again = synapses.follow(optimizer)
        synapses.follow(optimizer)  # instead of the one before
        assert again.optimizers == []
    assert optimizer.step == own and "step" not in vars(optimizer)
    same_when_followed(tanh(), lambda net: [SGD(net.parameters(), LR)])


def test_closures() -> None:
    def loop(net: nn.Module, optimizer: Optimizer) -> None:
        for batch in batches():

            def closure(batch: Any = batch) -> Tensor:
                optimizer.zero_grad()
                loss = loss_of(net, batch)
                loss.backward()
                return loss

            losses.append(optimizer.step(closure).item())

    losses: list[float] = []
    same_when_followed(tanh(), lambda net: [SGD(net.parameters(), LR)], loop)
    torch.testing.assert_close(losses[:STEPS], losses[STEPS:], rtol=1e-4, atol=1e-6)


def judge() -> nn.Module:
    torch.manual_seed(5)
    generator = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    discriminator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    return nn.ModuleDict({"generator": generator, "discriminator": discriminator})


def two(net: Any) -> list[Optimizer]:
    return [SGD(net["generator"].parameters(), LR), SGD(net["discriminator"].parameters(), 2 * LR)]


@pytest.mark.parametrize("toggle", [False, True])
@pytest.mark.parametrize("only_generator", [False, True])
def test_two_optimizers(toggle: bool, only_generator: bool) -> None:
    """A GAN by hand; what the generator's loss leaves with the discriminator its own zero_grad drops."""

    def loop(net: Any, one: Optimizer, other: Optimizer) -> None:
        generator, discriminator = net["generator"], net["discriminator"]
        for x, _ in batches():
            discriminator.requires_grad_(not toggle)
            one.zero_grad()
            judged = discriminator(generator(x))
            F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged)).backward()
            before = [parameter.clone() for parameter in discriminator.parameters()]
            one.step()
            assert all(torch.equal(a, b) for a, b in zip(discriminator.parameters(), before, strict=True))
            if only_generator:
                continue
            discriminator.requires_grad_(True)
            other.zero_grad()
            real, fake = discriminator(x[:, :4].tanh()), discriminator(generator(x).detach())
            loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
            (loss + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))).backward()
            before = [parameter.clone() for parameter in generator.parameters()]
            other.step()
            assert all(torch.equal(a, b) for a, b in zip(generator.parameters(), before, strict=True))

    same_when_followed(judge(), two, loop)


def test_two_optimizers_at_once() -> None:
    """Neither drops what is the other's."""

    def loop(net: Any, one: Optimizer, other: Optimizer) -> None:
        for i, (x, _) in enumerate(batches()):
            net["discriminator"](net["generator"](x)).square().mean().backward()
            one.step()
            one.zero_grad()
            if i % 2:
                other.step()
                other.zero_grad()

    same_when_followed(judge(), two, loop)


def head_apart(net: Any) -> list[Optimizer]:
    return [SGD([{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.3 * LR}], LR)]


def biases_faster(net: Any) -> list[Optimizer]:
    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    return [SGD([{"params": weights}, {"params": biases, "lr": 2 * LR, "weight_decay": 0.1}], LR)]


def biases_slower_and_decayed(net: Any) -> list[Optimizer]:
    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    return [SGD([{"params": biases, "lr": 0.5 * LR, "weight_decay": 0.1}, {"params": weights, "lr": LR}], LR)]


def head_without_rate(net: Any) -> list[Optimizer]:
    return [SGD([{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.0}], LR)]


def weights_without_rate(net: Any) -> list[Optimizer]:
    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    return [SGD([{"params": biases}, {"params": weights, "lr": 0.0}], LR)]


def decayed(net: Any) -> list[Optimizer]:
    return [SGD(net.parameters(), LR, weight_decay=0.1)]


def biases_in_another_optimizer(net: Any) -> list[Optimizer]:
    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    return [SGD(weights, LR, weight_decay=0.1), SGD(biases, 2 * LR)]


def only_biases(net: Any) -> list[Optimizer]:
    return [SGD([net[0].bias, net[2].bias], LR)]


def only_weights(net: Any) -> list[Optimizer]:
    return [SGD([net[0].weight, net[2].weight], LR)]


def only_the_head(net: Any) -> list[Optimizer]:
    return [SGD(net[2].parameters(), LR)]


OPTIMIZERS = [
    head_apart,
    biases_faster,
    biases_slower_and_decayed,
    head_without_rate,
    weights_without_rate,
    decayed,
    biases_in_another_optimizer,
    only_biases,
    only_weights,
    only_the_head,
]


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_groups(make: Any, look: bool) -> None:
    """Of the first one the rate is LR, so that rates are those of the optimizer itself."""

    def scaled_down(net: nn.Module, *optimizers: Optimizer) -> None:
        for batch in batches():
            net.zero_grad()
            loss_of(net, batch).backward()
            for parameter in (p for o in optimizers for group in o.param_groups for p in group["params"]):
                if parameter.grad is not None:
                    parameter.grad.mul_(0.5)
            for optimizer in optimizers:
                optimizer.step()

    initial = make(tanh())[0].param_groups[0]["lr"]
    start, ours, theirs = tanh(), tanh(), tanh()
    loop = scaled_down if look else plain_loop
    with attach(ours, lr=initial) as synapses:
        optimizers = make(ours)
        synapses.follow(*optimizers)
        loop(ours, *optimizers)
    loop(theirs, *make(theirs))
    assert_same(ours, theirs, start)


def test_settings_may_be_ignored() -> None:
    start, ours, theirs = tanh(), tanh(), tanh()
    with attach(ours, lr=LR) as synapses:
        [optimizer] = decayed(ours)
        optimizer.param_groups[0]["lr"] = 17.0
        synapses.follow(optimizer, settings=False)
        plain_loop(ours, optimizer)
    plain_loop(theirs, SGD(theirs.parameters(), LR))
    assert_same(ours, theirs, start)


def test_frozen_parameters_do_not_decay() -> None:
    """Nor such as have no gradient."""

    def loop(net: Any, optimizer: Optimizer) -> None:
        net[0].weight.requires_grad_(False)
        for batch in batches():
            optimizer.zero_grad()
            loss_of(net, batch).backward()
            net[2].bias.grad = None
            optimizer.step()

    same_when_followed(tanh(), decayed, loop)


@pytest.mark.parametrize("make", [head_apart, decayed, biases_faster])
@pytest.mark.parametrize("first", [False, True])
def test_schedules(make: Any, first: bool) -> None:
    """Made before or after the optimizer is followed."""
    start, ours, theirs = tanh(), tanh(), tanh()
    with attach(ours, lr=LR) as synapses:
        [optimizer] = make(ours)
        if first:
            run(ours, optimizer, LambdaLR(optimizer, warm_up_and_decay), lambda: synapses.follow(optimizer))
        else:
            synapses.follow(optimizer)
            run(ours, optimizer, LambdaLR(optimizer, warm_up_and_decay))
    [optimizer] = make(theirs)
    run(theirs, optimizer, LambdaLR(optimizer, warm_up_and_decay))
    assert_same(ours, theirs, start)


def warm_up_and_decay(step: int) -> float:
    return min(step / 5, 0.9**step * 2)  # from a rate of 0


def run(net: nn.Module, optimizer: Optimizer, scheduler: Any, begin: Any = lambda: None) -> None:
    begin()
    for batch in batches():
        optimizer.zero_grad()
        loss_of(net, batch).backward()
        optimizer.step()
        scheduler.step()


def test_decoupled_weight_decay() -> None:
    """A step takes off the share of AdamW's rate, as p.mul_(1 - lr * weight_decay) before a step of SGD."""
    rate, decay = 0.02, 0.5
    start, ours, theirs = tanh(), tanh(), tanh()
    with attach(ours, lr=LR) as synapses:
        optimizer = torch.optim.AdamW(ours.parameters(), rate, weight_decay=decay)
        synapses.follow(optimizer)
        plain_loop(ours, optimizer)
    sgd = SGD(theirs.parameters(), LR)
    for batch in batches():
        sgd.zero_grad()
        loss_of(theirs, batch).backward()
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.mul_(1 - rate * decay)
        sgd.step()
    assert_same(ours, theirs, start)


@pytest.mark.parametrize("patterns", [("2",), ("0.weight", "2.*"), ("*.bias",)])
def test_what_is_left_to_the_optimizer(patterns: Iterable[str]) -> None:
    """Adam trains some, synapses the rest."""
    start, ours, theirs = tanh(), tanh(), tanh()
    left = {
        "2": ["2.weight", "2.bias"],
        "0.weight": ["0.weight", "2.weight", "2.bias"],
        "*.bias": ["0.bias", "2.bias"],
    }[next(iter(patterns))]
    with attach(ours, lr=LR, optimizer=patterns) as synapses:
        adam = torch.optim.Adam(ours.parameters(), LR)
        assert len(synapses.parameters()) == 4 - len(left)
        assert all((type(p) is nn.Parameter) == (name in left) for name, p in ours.named_parameters())
        synapses.follow(adam)
        plain_loop(ours, adam)
        assert {id(p) for p in adam.state} == {id(p) for name, p in ours.named_parameters() if name in left}
    rest = [parameter for name, parameter in theirs.named_parameters() if name not in left]
    mine = [parameter for name, parameter in theirs.named_parameters() if name in left]
    plain_loop(theirs, SGD(rest, LR), torch.optim.Adam(mine, LR))
    assert_same(ours, theirs, start)


def test_parameters_that_no_grid_owns_may_be_left_to_the_optimizer() -> None:
    start, ours, theirs = with_table(), None, None
    ours, theirs = deepcopy(start), deepcopy(start)
    with attach(ours, lr=LR, unmapped="optimizer") as synapses:
        adam = torch.optim.Adam(ours.parameters(), LR)
        synapses.follow(adam)
        plain_loop(ours, adam)
        assert list(adam.state) == [ours.scale]
    rest = [parameter for name, parameter in theirs.named_parameters() if name != "scale"]
    plain_loop(theirs, SGD(rest, LR), torch.optim.Adam([theirs.scale], LR))
    assert_same(ours, theirs, start)
