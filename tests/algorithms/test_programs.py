"""The five units of backprop, one by one, against autograd."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vsml import programs
from lightning_vsml.ticks import State, reference

inputs = st.floats(-3, 3)
feedbacks = st.floats(-2, 2)
weights = st.floats(-2, 2)


def one_synapse(x: float, e: float, w: float, **constants: float) -> tuple[float, float, float]:
    """(y, dw, backward message) of a 1 x 1 grid in float64."""
    algorithm = programs.backprop(dtype=torch.float64, **constants)
    state = algorithm.encode(torch.tensor([[[w]]], dtype=torch.float64))
    x_, e_ = (torch.tensor([[[value]]], dtype=torch.float64) for value in (x, e))
    change, message = algorithm.learn(state, x_, e_, samples=1)
    update = algorithm.decode(algorithm.commit(state, change)) - w
    return algorithm.forward(state, x_).item(), update.item(), message.item()


@pytest.mark.parametrize(
    ("constants", "activation"),
    [({}, lambda x: x), ({"k": 1.0}, torch.tanh)],
    ids=["k large: a linear layer", "k = 1: the paper's synapse, eq. 14"],
)
@settings(max_examples=60)
@given(x=inputs, e=feedbacks, w=weights)
def test_one_synapse_against_autograd(constants: dict, activation: Callable, x: float, e: float, w: float) -> None:
    """Forward f(x) w, update lr e dy/dw, message e dy/dx; the documented relative errors bound the rest."""
    x_, w_ = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (x, w))
    y = activation(x_) * w_
    dy_dx, dy_dw = torch.autograd.grad(y, (x_, w_))
    ours, update, message = one_synapse(x, e, w, lr=0.1, **constants)
    assert ours == pytest.approx(y.item(), rel=1e-6, abs=1e-9)
    assert update == pytest.approx(0.1 * e * dy_dw.item(), rel=1e-6, abs=1e-9)
    assert message == pytest.approx(e * dy_dx.item(), rel=2e-6, abs=1e-8)


@settings(max_examples=50)
@given(x=inputs, e=feedbacks, w=weights)
def test_units_by_role(x: float, e: float, w: float) -> None:
    """What the docstring's table says each unit holds after each learn tick."""
    algorithm = programs.backprop(dtype=torch.float64)
    cell, (first, second) = algorithm.cell, algorithm.protocol.learn
    k, eps, zeta, scale = (algorithm.card["constants"][name] for name in ("k", "eps", "zeta", "scale"))
    state = State(*algorithm.layout.expand(algorithm.encode(torch.tensor([[[w]]], dtype=torch.float64))))
    x_, e_ = (torch.tensor([[[value]]], dtype=torch.float64) for value in (x, e))

    h, c = (s.flatten().tolist() for s in reference.unroll(cell, (first,), state, x_, e_))
    assert c[2] + c[3] == pytest.approx(math.tanh(eps * e) * math.tanh(x / k), rel=1e-9, abs=1e-14)  # product x e
    assert h[0] - h[1] == pytest.approx(math.tanh(eps * e) * math.tanh(w / scale), rel=1e-6, abs=1e-14)  # product e w
    assert c[0] == c[1] == pytest.approx(w / scale, rel=1e-9, abs=1e-14)  # not written yet

    h, c = (s.flatten().tolist() for s in reference.unroll(cell, (first, second), state, x_, e_))
    assert scale * c[0] == pytest.approx(w + algorithm.lr * e * x, rel=1e-5, abs=1e-8)
    assert c[0] == c[1]  # no common mode between them
    assert h[0] == h[1]
    assert h[2] == pytest.approx(0, abs=1e-13) and h[3] == pytest.approx(0, abs=1e-13)  # forgotten
    assert 4 / zeta * h[4] == pytest.approx(e * w / math.cosh(x / k) ** 2, rel=2e-6, abs=1e-8)


@pytest.mark.parametrize("size", [0.01, 0.05, 0.2])
def test_saturation_limits(size: float) -> None:
    """The relative errors the docstring states, with constants so coarse that they show."""
    coarse = {"k": 16.0, "scale": 64.0, "eps": 2.0**-6, "zeta": 2.0**-6}
    tiny = 1e-3
    x, w, e = size * 16, size * 64, size * 64  # each `size` of its range

    def loss_of(ours: float, exact: float) -> float:
        return 1 - ours / exact

    assert loss_of(one_synapse(x, 0, tiny, **coarse)[0], x * tiny) == pytest.approx(size**2 / 3, rel=0.1)
    assert loss_of(one_synapse(tiny, 0, w, **coarse)[0], tiny * w) == pytest.approx(size**2 / 3, rel=0.1)
    assert loss_of(one_synapse(x, tiny, 0, lr=1, **coarse)[1], tiny * x) == pytest.approx(size**2 / 3, rel=0.1)
    assert loss_of(one_synapse(tiny, e, 0, lr=1, **coarse)[1], e * tiny) == pytest.approx(size**2 * 7 / 12, rel=0.1)
    assert loss_of(one_synapse(x, tiny, tiny, **coarse)[2], tiny**2) == pytest.approx(size**2, rel=0.1)
    assert loss_of(one_synapse(0, tiny, w, **coarse)[2], tiny * w) == pytest.approx(size**2 / 3, rel=0.1)
    assert loss_of(one_synapse(0, e, tiny, **coarse)[2], e * tiny) == pytest.approx(size**2 / 3, rel=0.1)
    fine = {**coarse, "scale": 2.0**20, "eps": 2.0**-20}  # only zeta e w is large
    assert loss_of(one_synapse(0, 1, w, **fine)[2], w) == pytest.approx(size**2 * 5 / 12, rel=0.1)


def test_no_feedback_changes_nothing() -> None:
    """Retention: 100 learning steps with e = 0 leave the weights bitwise as they were."""
    algorithm = programs.backprop()
    weights = torch.randn(1, 5, 3)
    state = algorithm.encode(weights)
    for _ in range(100):
        change, _ = algorithm.learn(state, torch.randn(8, 1, 5), torch.zeros(8, 1, 3), samples=8)
        state = algorithm.commit(state, change)
    assert torch.equal(algorithm.decode(state), weights)


def test_forward_after_learning_reads_the_new_weight() -> None:
    """Nothing but the weight is left over from a learning step."""
    algorithm = programs.backprop(dtype=torch.float64)
    state = algorithm.encode(torch.randn(1, 5, 3).double())
    x = torch.randn(8, 1, 5).double()
    for _ in range(5):
        change, _ = algorithm.learn(state, x, torch.randn(8, 1, 3).double(), samples=8)
        state = algorithm.commit(state, change)
    fresh = algorithm.encode(algorithm.decode(state))
    torch.testing.assert_close(algorithm.forward(state, x), algorithm.forward(fresh, x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": torch.float16}, "codec.encode should be 1, so that a weight survives; got nan"),
        ({"lr": 0.0}, "lr should be positive"),
        ({"k": -1.0}, "k should be positive"),
    ],
)
def test_bad_constants(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        programs.backprop(**arguments)


def test_weights_survive_exactly() -> None:
    """Its scale is a power of two."""
    algorithm, weights = programs.backprop(), torch.randn(2, 3, 4)
    assert torch.equal(algorithm.decode(algorithm.encode(weights)), weights)
