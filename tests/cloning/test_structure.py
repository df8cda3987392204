"""What structure fixes holds for random parameters; what it leaves free is free."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vsml.algorithms.parts import Stability
from lightning_vsml.cloning.structure import PROTOCOL, Clone, Dense, Symmetric
from lightning_vsml.cloning.targets import TARGETS
from lightning_vsml.ticks.reference import unroll

G, A, B, S = 2, 3, 4, 5


def symmetric(target: str, writers: int = 1, readers: int = 1) -> Symmetric:
    clone = Symmetric(TARGETS[target], writers, readers).double()
    with torch.no_grad():
        for parameter in clone.parameters():
            parameter.normal_()
    return clone


@settings(max_examples=10)  # what is kept of a random cell takes a second to find
@given(
    target=st.sampled_from(sorted(TARGETS)),
    writers=st.integers(1, 2),
    readers=st.integers(1, 2),
    signs=st.sampled_from([(-1, 1), (1, -1), (-1, -1)]),
    seed=st.integers(0, 2**16),
)
def test_turned_signals_turn_what_comes_out(
    target: str, writers: int, readers: int, signs: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    algorithm = symmetric(target, writers, readers).algorithm("random", Stability(4.0, 1.0)).on("reference")
    sign_x, sign_e = signs
    sign_w = sign_x * sign_e
    w, x, e = torch.randn(G, A, B).double(), torch.randn(S, G, A).double(), torch.randn(S, G, B).double()

    def learn(w, x, e):
        state = algorithm.encode(w)
        for _ in range(3):  # the merged states live on
            y = algorithm.forward(state, x)
            change, message = algorithm.learn(state, x, e, S)
            state = algorithm.commit(state, change)
        return y, message, algorithm.decode(state)

    ours, turned = learn(w, x, e), learn(sign_w * w, sign_x * x, sign_e * e)
    for sign, here, there in zip((sign_e, sign_x, sign_w), ours, turned, strict=True):
        torch.testing.assert_close(there, sign * here)


def test_without_feedback_a_blind_cell_keeps_its_weights() -> None:
    algorithm = symmetric("sgd", 2, 2).algorithm("random", Stability()).on("reference")
    w = torch.randn(G, A, B).double()
    state = algorithm.encode(w)
    for _ in range(20):
        x = torch.randn(S, G, A).double()
        state = algorithm.commit(state, algorithm.learn(state, x, torch.zeros(S, G, B).double(), S)[0])
    torch.testing.assert_close(algorithm.decode(state), w, rtol=1e-9, atol=1e-9)


def test_only_memories_outlast_a_step_and_only_as_a_weight_would() -> None:
    clone = symmetric("sgd", 2, 1)
    algorithm = clone.algorithm("random", Stability()).on("reference")
    state = algorithm.encode(torch.randn(G, A, B).double())
    for _ in range(5):
        x, e = torch.randn(S, G, A).double(), torch.randn(S, G, B).double()
        state = algorithm.commit(state, algorithm.learn(state, x, e, S)[0])
    memory = torch.tensor(algorithm.memory)
    _, c = algorithm.layout.expand(state)
    on_code = clone.encode(clone.decode(c)).c
    torch.testing.assert_close(c[..., memory], on_code[..., memory])


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize("kind", ["symmetric", "dense", "dense, learned codec"])
def test_what_is_encoded_is_decoded(target: str, kind: str) -> None:
    clone: Clone = (
        symmetric(target) if kind == "symmetric" else Dense(TARGETS[target], 6, 20.0 if kind == "dense" else None)
    )
    memories = tuple(torch.randn(G, A, B) for _ in TARGETS[target].memories)
    if kind == "symmetric":
        memories = tuple(memory.double() for memory in memories)
    else:
        with torch.no_grad():
            clone.codes.add_(0.3 * torch.randn_like(clone.codes)) if clone.codes.requires_grad else None
    for want, got in zip(memories, clone.decode(clone.encode(memories).c), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_parameter_of_a_cell_is_learned(target: str) -> None:
    """Each one moves what is compared; of a symmetric one, as far as its mask lets it."""
    for clone in (symmetric(target, 2, 2), Dense(TARGETS[target], 6, None).double()):
        state = clone.encode(tuple(torch.randn(G, A, B).double() for _ in TARGETS[target].memories))
        x, e = torch.randn(S, G, A).double(), torch.randn(S, G, B).double()
        cell = clone.cell()
        y = unroll(cell, PROTOCOL.forward, state, x, e).h.sum(-3) @ cell.P_f
        final = unroll(cell, PROTOCOL.learn, state, x, e)
        message = final.h.sum(-2) @ cell.P_b
        (y.square().sum() + message.square().sum() + sum(m.square().sum() for m in clone.decode(final.c))).backward()
        for name, parameter in clone.named_parameters():
            mask = getattr(clone, f"mask_{name}", torch.ones(()))
            assert bool((parameter.grad != 0).any()), name
            assert not (parameter.grad * (1 - mask)).any(), name


def test_too_few_units_is_an_error() -> None:
    with pytest.raises(ValueError, match="units should be at least the 2 memories of the target, got 1"):
        Dense(TARGETS["momentum"], 1)
