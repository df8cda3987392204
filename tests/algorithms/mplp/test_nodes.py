"""Networks of nodes against the equations, and the perceptron against autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_vsml.algorithms.mplp import nodes, perceptron
from lightning_vsml.algorithms.mplp.nodes import Sizes


def plain(V: dict[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    """MLP of two hidden layers, of inputs side by side."""
    for layer in range(3):
        x = x @ V[f"{prefix}.W{layer}"] + V[f"{prefix}.b{layer}"]
        x = x.relu() if layer < 2 else x
    return x


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    numbers=st.integers(1, 3),
    chunk=st.sampled_from([1, 5, 4096]),
)
def test_perceptron(seed: int, shape: tuple[int, ...], numbers: int, chunk: int) -> None:
    """Whatever broadcasts, and however many nodes are computed at a time."""
    R, G, A, B = shape
    generator = torch.Generator().manual_seed(seed)
    V = perceptron.initial("g", numbers + 2, (5, 4), 3, generator)
    V = {name: (tensor.double() + 0.1).requires_grad_() for name, tensor in V.items()}
    shapes = (R, G, 1, B, numbers), (R, G, A, 1, 1), (1, G, A, B, 1)
    parts = [torch.randn(*s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    whole = torch.cat([part.expand(R, G, A, B, -1) for part in parts], -1)
    before, perceptron.CHUNK = perceptron.CHUNK, chunk
    try:
        ours = perceptron.perceptron(V, "g", parts)
        found = torch.autograd.grad(ours.sin().sum(), [*V.values(), *parts])
    finally:
        perceptron.CHUNK = before
    theirs = plain(V, "g", whole)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(found, torch.autograd.grad(theirs.sin().sum(), [*V.values(), *parts]), strict=True):
        torch.testing.assert_close(one, other)


def test_a_stateful_node() -> None:
    """Eqs. 10 to 12, and what of the carry is message and update."""
    M, K = 3, 6
    V = nodes.fresh("weight", "weight", Sizes(M, K, (5, 4)), torch.Generator().manual_seed(0))
    parts = [torch.randn(2, 1, 1, 4, M), torch.randn(2, 1, 3, 1, 1), torch.randn(1, 1, 3, 4, 1)]
    c = torch.randn(1, 1, 3, 4, K).tanh()
    x = torch.cat([part.expand(2, 1, 3, 4, -1) for part in parts], -1)
    both = torch.cat([x, c.expand(2, -1, -1, -1, -1)], -1)
    u, r = (torch.sigmoid(both @ V[f"weight.{gate}.W"] + V[f"weight.{gate}.b"]) for gate in "ur")
    expected = u * c + (1 - u) * torch.tanh(plain(V, "weight.x", x) + plain(V, "weight.c", c * r))
    sent = nodes.run(V, "weight", parts, M, c)
    assert sent.carry is not None and sent.update is not None
    torch.testing.assert_close(sent.carry, expected)
    torch.testing.assert_close(sent.message, expected[..., :M])
    torch.testing.assert_close(sent.update, expected[..., M : M + 1])


def test_a_plain_gru_is_one_of_them() -> None:
    """Where both networks of the candidate are linear, torch's GRU, but for its reset of the whole product."""
    cell = nn.GRUCell(2, 4)
    x, c = torch.randn(5, 2), torch.randn(5, 4)
    V = {}
    for gate, at in (("r", 0), ("u", 4)):
        V[f"n.{gate}.W"] = torch.cat([cell.weight_ih[at : at + 4], cell.weight_hh[at : at + 4]], 1).T
        V[f"n.{gate}.b"] = cell.bias_ih[at : at + 4] + cell.bias_hh[at : at + 4]
    for network, weight in (("x", cell.weight_ih[8:]), ("c", torch.zeros(4, 4))):
        wide = weight.shape[1]
        V |= {
            f"n.{network}.W0": torch.cat([torch.eye(wide), -torch.eye(wide)], 1),
            f"n.{network}.b0": torch.zeros(2 * wide),
        }
        V |= {f"n.{network}.W1": torch.eye(2 * wide), f"n.{network}.b1": torch.zeros(2 * wide)}
        V |= {f"n.{network}.W2": torch.cat([weight.T, -weight.T]), f"n.{network}.b2": torch.zeros(4)}
    V["n.x.b2"] = cell.bias_ih[8:]
    with torch.no_grad():
        cell.weight_hh[8:], cell.bias_hh[8:] = 0, 0
        torch.testing.assert_close(nodes.run(V, "n", [x], 1, c).carry, cell(x, c))


@pytest.mark.parametrize("kind", [*nodes.PARAMETERS, *nodes.ACTIVATIONS, *nodes.LOSSES])
def test_stateless_nodes_are_two_networks(kind: str) -> None:
    V = nodes.fresh(kind, kind, Sizes(4, 0, (80, 40)), torch.Generator().manual_seed(0))
    fed = sum(nodes.width(name, Sizes(4, 0, (80, 40))) for name in nodes.inputs(kind))
    networks = {"f": 1, "g": 4} if kind in nodes.PARAMETERS else {"g": 4}
    assert {name: tuple(tensor.shape) for name, tensor in V.items() if "W" in name} == {
        f"{kind}.{network}.W{layer}": shape
        for network, out in networks.items()
        for layer, shape in enumerate(((fed, 80), (80, 40), (40, out)))
    }
    parts = [torch.randn(7, nodes.width(name, Sizes(4, 0, (80, 40)))) for name in nodes.inputs(kind)]
    torch.testing.assert_close(nodes.respond(V, kind, parts), plain(V, f"{kind}.g", torch.cat(parts, -1)).tanh())
