"""A protocol by itself: averages, statistics, what is shared, files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_vsml import attach, checkpoints
from lightning_vsml.algorithms.mplp import MPLP, with_memory
from lightning_vsml.algorithms.mplp.statistics import LIMIT, SPEED, STEP
from lightning_vsml.meta import Sinusoids


def protocol(**settings: object) -> MPLP:
    problem = Sinusoids(**{"messages": 2, "carry": 4, "hidden": (6, 5), "examples": 4, **settings})  # type: ignore[arg-type]
    return problem.algorithm(problem.start(0), "mine", {"kind": "meta-learned"})


@pytest.mark.parametrize("carry", [0, 4])
def test_updates_of_samples_and_messages_of_synapses_are_averaged(carry: int) -> None:
    """Eqs. 8 and 9: what a batch does is the mean of what each sample does, what goes back the mean over outputs."""
    rules = protocol(carry=carry).of_layer(1, 3)
    state = rules.begin(torch.randn(1, 4, 3))
    x, m = torch.randn(5, 1, 3), torch.randn(5, 1, 3, 2)
    change, back = rules.learn(state, x, m, 5)
    each = [rules.learn(state, x[r : r + 1], m[r : r + 1], 1) for r in range(5)]
    together = torch.stack([rules.commit(state, one) - state for one, _ in each]).mean(0)
    torch.testing.assert_close(rules.commit(state, change) - state, together, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(back, torch.cat([own for _, own in each]))
    columns = [rules.learn(state[..., b : b + 1], x, m[:, :, b : b + 1], 5)[1] for b in range(3)]
    torch.testing.assert_close(back, torch.stack(columns).mean(0))


def test_an_update_is_centred_scaled_and_bounded() -> None:
    rules = protocol(carry=0).of_layer(1, 3)
    state, x, m = rules.begin(torch.randn(1, 21, 20)), torch.randn(5, 1, 20), torch.randn(5, 1, 20, 2)
    moved = rules.commit(state, rules.learn(state, x, m, 5)[0]) - state
    assert float(moved.abs().max()) < 2 * STEP / 20**0.5
    V = dict(rules.V)
    V["weight.1.scale"] = V["weight.1.scale"] + torch.log(torch.tensor(3.0)) / SPEED
    faster = replace(rules, V=V)
    again = faster.commit(state, faster.learn(state, x, m, 5)[0]) - state
    torch.testing.assert_close(again[:, :, :20], 3 * moved[:, :, :20], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(again[:, :, 20:], moved[:, :, 20:])


def test_inputs_are_standardised_by_what_was_recorded() -> None:
    """A layer's inputs in other units, with statistics in these units, come to the same."""
    rules = protocol(carry=0).of_layer(1, 3)
    state, x, m = rules.begin(torch.randn(1, 21, 20)), torch.rand(5, 1, 20), torch.randn(5, 1, 20, 2)
    V = dict(rules.V)
    V["weight.1.statistics.input"] = V["weight.1.statistics.input"] * 7
    one, other = (r.learn(state, s * x, m, 5)[0].planes for r, s in ((rules, 1), (replace(rules, V=V), 7)))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    far = [rules.learn(state, torch.full_like(x, value), m, 5)[0].planes for value in (1e3, 1e6)]
    assert torch.equal(*far) and LIMIT == 5  # beyond the limit everything is the same


def test_a_loss_tells_its_outputs() -> None:
    """Eq. 6: of every output the loss of its sample, and what the loss has computed on the way."""
    rules = protocol(carry=0)
    y, target = torch.randn(6, 1), torch.randn(6, 1)
    m = rules.judge("mse_loss", y, target, torch.ones(()))
    assert m.shape == (6, 1, 2) and float(m.abs().max()) < 1
    alone = torch.cat([rules.judge("mse_loss", y[k : k + 1], target[k : k + 1], torch.ones(())) for k in range(6)])
    torch.testing.assert_close(m, alone)


@pytest.mark.parametrize("sharing", ["tensor", "kind", "statistics"])
def test_what_is_shared(sharing: str) -> None:
    V = protocol(sharing=sharing).V
    rules = {name.split(".f.")[0] for name in V if ".f.W0" in name} | {n.split(".u.")[0] for n in V if ".u.W" in n}
    statistics = {name.split(".statistics")[0] for name in V if name.startswith("weight") and ".statistics" in name}
    each = {f"{kind}.{place}" for kind in ("weight", "bias") for place in range(3)}
    assert rules == (each if sharing == "tensor" else {"weight", "bias"})
    assert statistics == ({"weight"} if sharing == "statistics" else {f"weight.{place}" for place in range(3)})


def test_a_checkpoint(tmp_path: Path) -> None:
    algorithm, path = protocol(sharing="kind"), tmp_path / "mine.safetensors"
    checkpoints.save(algorithm, path, made_by={"command": "a test"})
    loaded = checkpoints.load(path, kind=MPLP)
    assert loaded.fingerprint == algorithm.fingerprint and loaded.sizes == algorithm.sizes
    assert loaded.on("auto") is loaded and loaded.size == algorithm.size
    for wrong in ({"ticks": "native"}, {"tolerance": 0.1}):
        with pytest.raises(ValueError, match="has no ticks to choose"):
            loaded.on(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sharing should be one of 'tensor', 'kind', 'statistics', got 'all'"):
        replace(loaded, sharing="all")
    with pytest.raises(ValueError, match=r"kinds should be of relu, .*got gelu"):
        replace(loaded, kinds=("gelu",))


def test_initial_weights() -> None:
    algorithm = checkpoints.load("mplp_sinusoid", kind=MPLP)
    net = nn.Sequential(nn.Linear(1, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1))
    algorithm.initialise(net)
    assert torch.equal(net[2].weight, algorithm.V["initial.1"][:-1].T)
    for wrong in (nn.Linear(1, 20), nn.Sequential()):
        with pytest.raises(ValueError, match="dense layers with bias of 1 x 20, 20 x 20, 20 x 1, the model has"):
            algorithm.initialise(wrong)
    with pytest.raises(ValueError, match="of no size"):
        protocol().initialise(net)


def test_a_stateful_protocol_that_begins_as_a_stateless_one() -> None:
    rules = protocol(carry=0)
    wider = with_memory(rules, 6)
    assert wider.sizes == (2, 6, (12, 10)) and set(wider.V) == set(protocol(carry=6, hidden=(12, 10)).V)
    weights, x, m = torch.randn(1, 21, 20), torch.randn(5, 1, 20), torch.randn(5, 1, 20, 2)
    moves, backs = [], []
    for own in (rules.of_layer(1, 3), wider.of_layer(1, 3)):
        state = own.begin(weights)
        change, back = own.learn(state, x, m, 5)
        moves.append((own.commit(state, change) - state)[0])
        backs.append(back)
    torch.testing.assert_close(*backs, rtol=0.01, atol=0.01)
    torch.testing.assert_close(*moves, rtol=0.01, atol=0.01 * STEP / 20**0.5)
    with pytest.raises(
        ValueError, match="expected a stateless algorithm, and a carry of more than 2; got one of 6, and 8"
    ):
        with_memory(wider, 8)


def test_the_shipped_protocol_learns_a_sinusoid_in_five_steps() -> None:
    """As a user would: a plain module, a plain loop, and points that it has not seen."""
    algorithm = checkpoints.load("mplp_sinusoid", kind=MPLP)
    shots = Sinusoids(queries=50).shots(8, torch.Generator().manual_seed(5))
    errors = []
    for task in range(8):
        net = nn.Sequential(nn.Linear(1, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1))
        algorithm.initialise(net)
        with attach(net, algorithm) as synapses:
            for x, y in zip(shots.x[:, :, task], shots.target[:, :, task], strict=True):
                F.mse_loss(net(x), y).backward()
                synapses.step()
        with torch.no_grad():
            errors.append(float(F.mse_loss(net(shots.query_x[:, task]), shots.query[:, task])))
    assert sum(errors) / 8 < 0.0012
