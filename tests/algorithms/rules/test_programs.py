"""The claim of eq. 13 as a test: rules as programs of the cell are the rules as equations."""

from collections.abc import Iterator

import pytest
import torch
from helpers import classification, cross_entropy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_vsml import attach
from lightning_vsml.algorithms.rules import RULES
from lightning_vsml.algorithms.rules.programs import RULE_PROGRAMS

GENTLE = {"hebb": 0.02, "oja": 0.02, "three_factor": 0.02, "plasticity": 0.1}  # rates that stay bounded here


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Relative to the largest number; where all are 0, absolute."""
    scale = float(theirs.abs().max())
    return float((ours - theirs).abs().max()) / (scale or 1.0)


def steps(seed: int, samples: int, rows: int, G: int, A: int, B: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs, whose last is a bias, and feedback."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(4):
        x, e = (torch.randn(samples * rows, G, size, generator=generator, dtype=torch.float64) for size in (A, B))
        x[..., -1] = 1
        yield x, e


@pytest.mark.parametrize("name", RULE_PROGRAMS)
@pytest.mark.parametrize("ticks", ["reference", "fused", "auto"])
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 4)),
    samples=st.integers(1, 5),
    positions=st.integers(1, 3),
)
def test_a_program_is_its_rule(
    name: str, ticks: str, seed: int, shape: tuple[int, int, int], samples: int, positions: int
) -> None:
    """Outputs, changes, messages and weights over consecutive steps."""
    rule, program = RULES[name](lr=GENTLE[name]), RULE_PROGRAMS[name](lr=GENTLE[name], dtype=torch.float64).on(ticks)
    weights = torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    state, own = program.begin(weights), rule.begin(weights)
    for x, e in steps(seed, samples, positions, *shape):
        assert difference(program.send(state, x)[0], rule.send(own, x)[0]) < 1e-5
        changes, message = program.learn(state, x, e, samples)
        expected, theirs = rule.learn(own, x, e, samples)
        assert difference(message, theirs) < 1e-5
        before, their_before = program.decode(state), rule.decode(own)
        state, own = program.commit(state, changes), rule.commit(own, expected)
        ours, its = program.decode(state), rule.decode(own)
        if float((its - their_before).abs().max()) > 1e-3 * float(its.abs().max()):  # else rounding is what is left
            assert difference(ours - before, its - their_before) < 1e-5
        assert difference(ours, its) < 1e-5


@pytest.mark.parametrize("name", RULE_PROGRAMS)
def test_a_program_keeps_what_its_rule_keeps(name: str) -> None:
    assert len(RULE_PROGRAMS[name]().layout.planes) == len(RULES[name].numbers)


@pytest.mark.parametrize("name", RULE_PROGRAMS)
def test_in_a_model(name: str) -> None:
    """A convolution and a dense layer, in float32."""
    nets = []
    for algorithm in (RULES[name](), RULE_PROGRAMS[name]()):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
        with attach(net, algorithm, lr=algorithm.lr) as synapses:
            for x, y in classification(32, (1, 6, 6)):
                cross_entropy(net, x, y).backward()
                synapses.step()
        nets.append(net)
    for ours, theirs in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        assert difference(ours.detach(), theirs.detach()) < 1e-5


def test_a_trace_that_would_fade_at_once() -> None:
    with pytest.raises(ValueError, match="lr should be between 0 and 1"):
        RULE_PROGRAMS["plasticity"](lr=1.0)
