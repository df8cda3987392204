"""What a loop sees of an algorithm with commit ticks: gradients, clipping, decay, rates, direct feedback."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml import attach
from lightning_vsml.algorithms.adaptive import adaptive

ADAPTIVE = adaptive(dtype=torch.float64)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 6, generator=generator).double(), torch.randint(3, (8,), generator=generator)


def loss(net: nn.Module, seed: int = 0) -> Tensor:
    x, y = batch(seed)
    return F.cross_entropy(net(x), y)


def gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


def moved(net: nn.Module, seeds: range, **settings: float) -> list[Tensor]:
    """Weights after some steps."""
    with attach(net, ADAPTIVE, **settings) as synapses:
        for seed in seeds:
            loss(net, seed).backward()
            synapses.step()
    return [parameter.detach().clone() for parameter in net.parameters()]


def test_grad_is_the_gradient_as_long_as_no_mean_is_known() -> None:
    net = model()
    loss(net).backward()
    wanted = gradients(net)
    net.zero_grad()
    with attach(net, ADAPTIVE):
        loss(net).backward()
        for ours, theirs in zip(gradients(net), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_grad_is_centred_by_what_is_known() -> None:
    net = model()
    with attach(net, ADAPTIVE) as synapses:
        loss(net, 0).backward()
        synapses.step()
        twin = copy.deepcopy(net)
        loss(net, 1).backward()
        ours = gradients(net)
    loss(twin, 1).backward()
    weight, bias = gradients(twin)[:2]
    torch.testing.assert_close(ours[0], weight - bias.outer(batch(0)[0].mean(0)), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(ours[1], bias, rtol=1e-6, atol=1e-9)


def test_the_size_of_gradients_changes_nothing_and_clipping_is_of_them() -> None:
    net = model()
    twin = copy.deepcopy(net)
    with attach(net, ADAPTIVE) as synapses:
        loss(net).backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
        assert norm > 1e-3
        synapses.step()
    (plain, *_) = moved(twin, range(1))
    torch.testing.assert_close(net[0].weight.detach(), plain, rtol=1e-5, atol=1e-9)


def test_the_learning_rate_scales_the_step() -> None:
    net = model()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    once, twice = moved(copy.deepcopy(net), range(1)), moved(net, range(1), lr=2.0)
    for start, one, two in zip(before, once, twice, strict=True):
        torch.testing.assert_close(two - start, 2 * (one - start), rtol=1e-4, atol=1e-9)


def scheduled(net: nn.Module, rates: list[float], stop: int | None = None) -> list[Tensor]:
    """Weights after steps at these rates of an optimizer made at 1; stopped and resumed after ``stop``."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    synapses = attach(net, ADAPTIVE)
    synapses.follow(optimizer)
    for step, rate in enumerate(rates):
        if step == stop:
            saved = synapses.state_dict()
            synapses.detach()
            optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
            synapses = attach(net, ADAPTIVE)
            synapses.load_state_dict(saved)
            synapses.follow(optimizer)
        optimizer.param_groups[0]["lr"] = rate
        loss(net, step).backward()
        optimizer.step()
        optimizer.zero_grad()
    synapses.detach()
    return [parameter.detach().clone() for parameter in net.parameters()]


def test_a_rate_that_falls_scales_steps_and_one_that_rises_leaves_the_distance_alone() -> None:
    net = model()
    before = scheduled(copy.deepcopy(net), [1.0] * 20)
    whole, tenth = (scheduled(copy.deepcopy(net), [1.0] * 20 + [last]) for last in (1.0, 0.1))
    for start, one, other in zip(before, whole, tenth, strict=True):
        torch.testing.assert_close(other - start, 0.1 * (one - start), rtol=1e-4, atol=1e-9)
    warm = scheduled(copy.deepcopy(net), [0.01 + 0.0495 * step for step in range(20)])
    start = [parameter.detach() for parameter in net.parameters()]
    ways = [sum(float((a - b).norm()) for a, b in zip(end, start, strict=True)) for end in (warm, before)]
    assert ways[0] < ways[1]  # steps do not make up for what small rates held back


def test_a_resumed_run_knows_how_far_its_rate_has_fallen() -> None:
    net, rates = model(), [1.0, 1.0, 0.5, 0.2, 0.1, 0.1]
    torch.testing.assert_close(scheduled(copy.deepcopy(net), rates, stop=4), scheduled(net, rates), rtol=0, atol=0)


def test_weights_decay_as_an_optimizer_says() -> None:
    net = model()
    twin = copy.deepcopy(net)
    optimizers = [
        torch.optim.AdamW(some.parameters(), lr=1e-2, weight_decay=decay) for some, decay in ((net, 0.5), (twin, 0.0))
    ]
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for some, optimizer in zip((net, twin), optimizers, strict=True):
        with attach(some, ADAPTIVE) as synapses:
            synapses.follow(optimizer)
            loss(some).backward()
            optimizer.step()
    for start, decayed, plain in zip(before, net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(decayed.detach() - plain.detach(), -5e-3 * start, rtol=1e-4, atol=1e-8)


def test_a_frozen_bias_stays_and_its_weight_learns() -> None:
    net = model()
    net[0].bias.requires_grad_(False)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    after = moved(net, range(3))
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def test_accumulated_batches_are_one() -> None:
    net = model()
    twin = copy.deepcopy(net)
    with attach(net, ADAPTIVE) as synapses:
        for _ in range(2):
            (loss(net) / 2).backward()
        synapses.step()
    whole = moved(twin, range(1))
    for ours, theirs in zip(net.parameters(), whole, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-5, atol=1e-9)


def test_a_penalty_is_learned_from_beside_the_layer() -> None:
    net = model()
    with attach(net, ADAPTIVE) as synapses:
        for seed in range(40):
            (loss(net, seed) + 10 * net[0].weight.square().sum()).backward()
            synapses.step()
    twin = model()
    assert net[0].weight.norm() < 0.5 * twin[0].weight.norm()


def test_a_scaled_loss_learns_the_same() -> None:
    net = model()
    twin = copy.deepcopy(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with attach(net, ADAPTIVE, scaler=scaler) as synapses:
        for seed in range(3):
            scaler.scale(loss(net, seed)).backward()
            scaler.step(synapses)
            scaler.update()
    plain = moved(twin, range(3))
    for ours, theirs in zip(net.parameters(), plain, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_goes_on_bitwise(seed: int) -> None:
    net = model()
    with attach(net, ADAPTIVE) as synapses:
        for step in range(4):
            if step == 2:
                saved, weights = synapses.state_dict(), copy.deepcopy(net.state_dict())
            loss(net, step + seed).backward()
            synapses.step()
    other = model()
    other.load_state_dict(weights)
    with attach(other, ADAPTIVE) as synapses:
        synapses.load_state_dict(saved)
        for step in (2, 3):
            loss(other, step + seed).backward()
            synapses.step()
    for ours, theirs in zip(other.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
