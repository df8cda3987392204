"""Local rules: each against its equation, and all through the same files, models and loops."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import Module, classification, cross_entropy, mlp, trainer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, einsum, nn

from lightning_vsml import VSMLLearner, attach, checkpoints
from lightning_vsml.algorithms.__main__ import main
from lightning_vsml.algorithms.rules import (
    RULES,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Hebb,
    Oja,
    Plasticity,
    Reward,
    Rule,
    ThreeFactor,
)
from lightning_vsml.ticks.sites import Images, Lookup

Step = tuple[Tensor, Tensor, Tensor]  # y, planes after, message


def hebb(rule: Hebb, state: Tensor, x: Tensor, e: Tensor, S: int) -> Step:
    y = einsum("rga,gab->rgb", x, state[0])
    return y, state + rule.lr * einsum("rga,rgb->gab", x, y) / S, torch.zeros_like(x)


def oja(rule: Oja, state: Tensor, x: Tensor, e: Tensor, S: int) -> Step:
    y = einsum("rga,gab->rgb", x, state[0])
    forgotten = einsum("rgb,rgb,gab->gab", y, y, state[0])
    return y, state + rule.lr * (einsum("rga,rgb->gab", x, y) - forgotten) / S, torch.zeros_like(x)


def feedback_alignment(rule: FeedbackAlignment, state: Tensor, x: Tensor, e: Tensor, S: int) -> Step:
    w, B = state
    after = torch.stack([w + rule.lr * einsum("rga,rgb->gab", x, e) / S, B])
    return einsum("rga,gab->rgb", x, w), after, einsum("rgb,gab->rga", e, B)


def plasticity(rule: Plasticity, state: Tensor, x: Tensor, e: Tensor, S: int) -> Step:
    w, H = state
    y = einsum("rga,gab->rgb", x, w + rule.alpha * H)
    trace = (1 - rule.lr) * H + rule.lr * einsum("rga,rgb->gab", x, y) / len(x)
    return y, torch.stack([w, trace]), einsum("rgb,gab->rga", e, w + rule.alpha * H)


def three_factor(rule: ThreeFactor, state: Tensor, x: Tensor, e: Tensor, S: int) -> Step:
    y = einsum("rga,gab->rgb", x, state[0])
    return y, state + rule.lr * einsum("rga,rgb,rgb->gab", x, y, e) / S, einsum("rgb,gab->rga", e, state[0])


EQUATIONS: dict[str, Callable[..., Step]] = {
    "hebb": hebb,
    "oja": oja,
    "feedback_alignment": feedback_alignment,
    "plasticity": plasticity,
    "three_factor": three_factor,
}


LOCAL = sorted(EQUATIONS)  # whose messages are one number, by the layer's own synapses


@pytest.fixture(params=sorted(RULES))
def rule(request: pytest.FixtureRequest) -> Rule:
    return RULES[request.param](lr=0.02)


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def a_state(rule: Rule, shape: tuple[int, int, int], seed: int) -> Tensor:
    """In which every plane is something."""
    weights, more = drawn(seed, shape, (rule.units, *shape))
    return rule.begin(weights) + 0.1 * more


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


# --- equations


@pytest.mark.parametrize("name", LOCAL)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5)),
    samples=st.integers(1, 4),
    positions=st.integers(0, 3),
)
def test_rows(name: str, seed: int, shape: tuple[int, int, int], samples: int, positions: int) -> None:
    rule, (G, A, B), R = RULES[name](), shape, samples * positions
    state, (x, e) = a_state(rule, shape, seed), drawn(seed + 1, (R, G, A), (R, G, B))
    change, message = rule.learn(state, x, e, samples)
    if R:
        y, after, back = EQUATIONS[name](rule, state, x, e, samples)
    else:
        y, after, back = e, state, x
    close(rule.send(state, x)[0], y)
    close(rule.commit(state, change), after)
    close(message, back)
    assert rule.learn(state, x, e, samples, message=False)[1].numel() == 0


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**16),
    groups=st.integers(1, 2),
    size=st.tuples(st.integers(3, 5), st.integers(3, 5)),
    stride=st.integers(1, 2),
    name=st.sampled_from(LOCAL),
)
def test_a_convolution(seed: int, groups: int, size: tuple[int, int], stride: int, name: str) -> None:
    """Every position is a row; changes are sums over a sample's positions."""
    rule, S, C, B = RULES[name](), 3, 2, 4
    shape = (groups, C * 4 + 1, B)
    state, (x,) = a_state(rule, shape, seed), drawn(seed + 1, (S, groups * C, *size))
    x.requires_grad_()
    site = Images(x.detach(), shape, True, kernel=(2, 2), stride=(stride, stride), dilation=(1, 1))
    (e,) = drawn(seed + 2, site.output_shape)
    rows = torch.cat([site.as_rows(x), x.new_ones(site.rows, groups, 1)], -1)
    y, after, back = EQUATIONS[name](rule, state, rows.detach(), site.outputs_as_rows(e), S)
    change, message = rule.learn(state, site, e, S)
    close(rule.send(state, site)[0], site.rows_as_outputs(y))
    close(rule.commit(state, change), after)
    close(message, torch.autograd.grad((rows * back).sum(), x)[0])


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("padding", [None, 2])
def test_an_embedding(name: str, padding: int | None) -> None:
    """As rows of which one input is 1: those that do not occur forget, if the rule does."""
    rule = RULES[name](lr=0.02)
    indices, V, B = torch.tensor([3, 0, 3, 2]), 6, 4
    state, (e,) = a_state(rule, (1, V, B), 0), drawn(1, (4, 1, B))
    x = torch.zeros(4, 1, V, dtype=torch.float64)
    x[range(4), 0, indices] = (indices != (-1 if padding is None else padding)).double()
    site = Lookup(indices, (1, V, B), torch.float64, padding)
    y, after, back = EQUATIONS[rule.family](rule, state, x, e, 4)
    change, message = rule.learn(state, site, e, 4)
    close(rule.send(state, site)[0], y)
    close(message * x.sum(-1, keepdim=True), (back * x).sum(-1, keepdim=True))
    close(rule.commit(state.clone(), change.plus(change)), after + (after - state))


# --- states, files, settings


def test_what_the_weight_is(rule: Rule) -> None:
    weights, others = drawn(0, (2, 5, 3), (2, 5, 3))
    state = rule.begin(weights)
    assert state.shape == (len(rule.layout.planes), 2, 5, 3) and torch.equal(rule.decode(state), weights)
    state = a_state(rule, (2, 5, 3), 1)
    moved = rule.overwrite(state, others.float())
    close(rule.decode(moved), others.float().double())
    assert torch.equal(moved[1:], state[1:])
    assert torch.equal(rule.overwrite(state, rule.decode(state)), state)


def test_a_checkpoint(rule: Rule, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    checkpoints.save(rule, path, made_by={"command": "a test"})
    loaded = checkpoints.load(path)
    assert (type(loaded), loaded.name, loaded.lr) == (type(rule), "mine", 0.02)
    assert loaded.fingerprint == rule.fingerprint != RULES[rule.family]().fingerprint
    assert loaded == replace(rule, name="mine")


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_shipped_file_is_what_its_card_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = checkpoints.load(name)
    assert shipped == RULES[name]()
    monkeypatch.chdir(tmp_path)
    main(shipped.card["made_by"]["command"].split()[3:])
    assert Path(f"{name}.safetensors").read_bytes() == (checkpoints.shipped_dir() / f"{name}.safetensors").read_bytes()


def test_a_bad_rate_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["oja", "--lr", "0", "--out", str(tmp_path / "oja.safetensors")])
    assert "--lr: expected a finite number above 0, got '0'" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("constants", [{"lr": -1.0}, {"lr": float("nan")}, {"alpha": float("inf")}])
def test_bad_constants(constants: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="constants should be finite and lr positive"):
        Plasticity(**constants)


def test_there_are_no_ticks_to_choose(rule: Rule) -> None:
    assert rule.on("auto") is rule.on() is rule
    for choice in ({"ticks": "native"}, {"tolerance": 1e-3}):
        with pytest.raises(ValueError, match="a plain equation without ticks"):
            rule.on(**choice)


# --- in models


def told(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Classes, and something that is not 0 in the sum over outputs."""
    logits = net(x)
    return nn.functional.cross_entropy(logits, y) - ((y.float() - 1) * logits.mean(-1)).mean()


@pytest.mark.parametrize("convolutional", [False, True])
def test_in_a_trainer(rule: Rule, convolutional: bool, tmp_path: Path) -> None:
    """It runs to the end, moves every parameter, and the plain module has the weights."""
    torch.manual_seed(0)
    net: nn.Module = mlp()
    if convolutional:
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 4))
    module = Module(net, told)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    learner = VSMLLearner(replace(rule, lr=1e-3), diagnostics=True)
    data = classification(24, (1, 6, 6) if convolutional else (6,))
    trainer(learner, max_steps=6, log_every_n_steps=2).fit(module, data)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert parameter.isfinite().all() and not torch.equal(parameter.detach(), old)


def test_a_run_goes_on_as_it_would_have(rule: Rule) -> None:
    """Whatever a synapse keeps is saved."""
    batches = list(classification(48))
    torch.manual_seed(0)

    def learn(net: nn.Module, batches: list, saved: dict | None = None) -> dict:
        with attach(net, replace(rule, lr=1e-3)) as synapses:
            if saved is not None:
                synapses.load_state_dict(saved)
            for x, y in batches:
                told(net, x, y).backward()
                synapses.step()
            return synapses.state_dict()

    whole, parts = mlp(), mlp()
    parts.load_state_dict(whole.state_dict())
    torch.manual_seed(1)
    learn(whole, batches)
    torch.manual_seed(1)
    learn(parts, batches[3:], learn(parts, batches[:3]))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


# --- what rules are known for


def anisotropic(n: int, sizes: list[float]) -> tuple[Tensor, Tensor]:
    """Gaussian inputs, turned at random, and their first principal component."""
    (z, turn) = drawn(0, (n, len(sizes)), (len(sizes), len(sizes)))
    x = z * torch.tensor(sizes, dtype=torch.float64) @ torch.linalg.qr(turn).Q
    return x, torch.linalg.eigh(x.T @ x)[1][:, -1]


def test_oja_finds_the_first_principal_component() -> None:
    x, component = anisotropic(512, [2.0, 1.0, 0.7, 0.5, 0.3])
    torch.manual_seed(0)
    layer = nn.Linear(5, 3, bias=False).double()
    with attach(layer, Oja(lr=0.05)) as synapses:
        for batch in x.repeat(4, 1).split(32):
            layer(batch).sin().sum().backward()  # any loss that depends on the output
            synapses.step()
    w = layer.weight.detach()
    assert ((w @ component).abs() / w.norm(dim=1)).min() > 0.99
    torch.testing.assert_close(w.norm(dim=1), torch.ones(3).double(), rtol=0.05, atol=0)


def test_hebb_grows_by_the_correlations() -> None:
    """n steps on all data at once are (1 + lr C)^n, and the loss says nothing."""
    x, _ = anisotropic(64, [1.5, 1.0, 0.5])
    layer, other = nn.Linear(3, 2, bias=False).double(), nn.Linear(3, 2, bias=False).double()
    other.load_state_dict(layer.state_dict())
    grown = torch.linalg.matrix_power(torch.eye(3).double() + 0.1 * x.T @ x / 64, 7) @ layer.weight.detach().T
    for net, loss in ((layer, torch.sum), (other, lambda y: -(y**3).mean())):
        with attach(net, Hebb(lr=0.1)) as synapses:
            for _ in range(7):
                loss(net(x)).backward()
                synapses.step()
        torch.testing.assert_close(net.weight.detach().T, grown)


def test_feedback_alignment_aligns_and_learns() -> None:
    """A linear teacher, as Figure 1 of Lillicrap et al. has it: forward weights turn towards B."""
    x, teacher = drawn(0, (2048, 30), (30, 10))
    y = x @ teacher / 30**0.5
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 20, bias=False), nn.Linear(20, 10, bias=False)).double()
    rule, angles, losses = FeedbackAlignment(lr=0.05), [], []
    with attach(net, rule) as synapses:
        for _ in range(12):
            for batch, target in zip(x.split(64), y.split(64), strict=True):
                loss = (net(batch) - target).square().mean()
                loss.backward()
                synapses.step()
                losses.append(loss.item())
                w, B = synapses.changes.states.items()["1"].flatten(1)
                angles.append(float(torch.rad2deg(torch.arccos(torch.cosine_similarity(w, B, dim=0)))))
    assert angles[0] > 75 and angles[-1] < 60
    assert losses[-1] < 0.3 * losses[0]


def test_the_random_way_back() -> None:
    """B is the layer's own, of the size of its weights; weights of 0 get one too."""
    rule = FeedbackAlignment()
    weights = torch.randn(1, 40, 30) * 0.2
    state = rule.begin(weights)
    assert float(state[1].square().mean().sqrt()) == pytest.approx(0.2, rel=0.05)
    assert abs(float(torch.cosine_similarity(state[1].flatten(), weights.flatten(), dim=0))) < 0.1
    assert torch.equal(state, rule.begin(weights)) and not torch.equal(state[1], rule.begin(weights + 1e-6)[1])
    assert float(rule.begin(torch.zeros(1, 100, 30))[1].std()) == pytest.approx(0.1, rel=0.05)


def test_three_factors_teach_hidden_layers() -> None:
    """Before a ReLU it goes downhill: with the last layer left as it is, the loss falls."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
    for parameter in net[2].parameters():
        parameter.requires_grad_(False)
    losses = []
    with attach(net, ThreeFactor(lr=0.1)) as synapses:
        for _ in range(50):
            for x, y in classification(96):
                loss = cross_entropy(net, x, y)
                loss.backward()
                synapses.step()
                losses.append(loss.item())
    assert sum(losses[-12:]) < 0.6 * sum(losses[:12])


def test_a_trace_completes_patterns() -> None:
    """Shown a few patterns, an identity with a trace fills in what is missing, and knows nothing without one."""
    patterns = torch.randint(2, (4, 64), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    known = torch.arange(64) < 32
    layer = nn.Linear(64, 64, bias=False).double()
    nn.init.eye_(layer.weight)
    with attach(layer, Plasticity(lr=0.2, alpha=0.01)) as synapses:
        for _ in range(10):
            layer(patterns).sum().backward()
            synapses.step()
        recalled = layer(patterns * known).sign()
    assert torch.equal(recalled[:, ~known], patterns[:, ~known])


@pytest.mark.parametrize("samples", [1, 5])
def test_direct_feedback_against_its_equations(samples: int) -> None:
    """Eq. 8 of Nøkland (2016) in three layers: B_i e, times the derivative of the layer's own activation alone."""
    rule = DirectFeedbackAlignment(lr=0.1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.LeakyReLU(0.3), nn.Linear(4, 3)).double()
    x, y = torch.randn(samples, 6).double(), torch.randint(3, (samples,))
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    a1 = net[0](x).detach().requires_grad_()
    h1 = net[1](a1)
    a2 = net[2](h1.detach()).detach().requires_grad_()
    h2 = net[3](a2)
    e = nn.functional.one_hot(y, 3) - net[4](h2).softmax(-1).detach()
    with attach(net, rule) as synapses:
        nn.functional.cross_entropy(net(x), y).backward()
        B = [synapses.changes.states.items()[name][1, 0, :3] * 3**-0.5 for name in ("0", "2")]
        synapses.step()
    for name, inputs, third in (
        ("0", x, (e @ B[0]) * torch.autograd.grad(h1.sum(), a1)[0]),
        ("2", h1.detach(), (e @ B[1]) * torch.autograd.grad(h2.sum(), a2)[0]),
        ("4", h2.detach(), e),
    ):
        moved = dict(net.named_parameters())[f"{name}.weight"].detach() - before[f"{name}.weight"]
        close(moved, 0.1 * third.T @ inputs / samples)
        close(net.get_parameter(f"{name}.bias").detach() - before[f"{name}.bias"], 0.1 * third.mean(0))


def test_direct_feedback_teaches_convolutions() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 4))
    losses = []
    with attach(net, "direct_feedback_alignment", lr=0.02) as synapses:
        for _ in range(30):
            for x, y in classification(96, (1, 6, 6)):
                loss = cross_entropy(net, x, y)
                loss.backward()
                synapses.step()
                losses.append(loss.item())
    assert sum(losses[-12:]) < 0.9 * sum(losses[:12])


def test_a_reward_is_all_that_is_told() -> None:
    """A bandit with a context: which of four arms pays depends on what is seen, and only the arm that was drawn is
    heard of. A hidden layer learns as well, from the same number.
    """
    torch.manual_seed(0)
    contexts = torch.randn(4, 8)
    net = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 4))
    first, expected, paid = net[0].weight.detach().clone(), 0.0, []
    with attach(net, Reward(lr=0.1)) as synapses:
        for _ in range(600):
            best = torch.randint(4, (16,))
            y = net(contexts[best])
            reward = (y.argmax(-1) == best).float()
            (-((reward - expected) * y.mean(-1)).mean()).backward()
            synapses.step()
            expected += 0.05 * (float(reward.mean()) - expected)
            paid.append(float(reward.mean()))
    with torch.no_grad():
        assert torch.equal(net(contexts).argmax(-1), torch.arange(4))
    assert sum(paid[:10]) / 10 < 0.4 < 0.85 < sum(paid[-50:]) / 50
    assert not torch.equal(net[0].weight, first)


def test_a_learner_s_rate_counts(rule: Rule) -> None:
    """Twice the rate, twice the step, whatever a rule makes of the loss."""
    moves = []
    for rate in (0.01, 0.02):
        torch.manual_seed(0)
        net = nn.Linear(6, 4).double()
        before = net.weight.detach().clone()
        x, y = torch.randn(8, 6).double(), torch.randint(4, (8,))
        with attach(net, rule, lr=rate) as synapses:
            told(net, x, y).backward()
            synapses.step()
        moves.append(net.weight.detach() - before)
    torch.testing.assert_close(moves[1], 2 * moves[0])
