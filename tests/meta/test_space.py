"""Search spaces: what moves, what doesn't, and what is refused."""

import pytest
import torch
from helpers import COARSE
from torch import Tensor

from lightning_vsml import checkpoints, programs
from lightning_vsml.lab.networks import Dense, Network, learn, loss
from lightning_vsml.meta.space import Coordinate, Place, Space, at
from lightning_vsml.meta.spaces import SPACES, sizes
from lightning_vsml.ticks import Cell

NETWORK = Network((Dense(4), Dense(3)))
NAMES = sorted(SPACES)


@pytest.fixture(scope="module", params=NAMES)
def space(request: pytest.FixtureRequest) -> Space:
    """Every search space there is."""
    return SPACES[request.param]()


def small_space(dtype: torch.dtype = torch.float64) -> Space:
    """Of ``backprop``: the learning rate by its logarithm, and the bias of what writes the weight by addition."""
    program = programs.backprop(lr=0.5, dtype=dtype, **COARSE)
    rate = Coordinate("rate", 0.3, log=at(5, "W", (2, 3), "g", (0, 1)))
    gate = Coordinate("gate", 0.3, add=at(5, "b", (0,), "i", (0, 1), -50.0))
    both = Coordinate("both", 0.1, {Place("P_b", 4, 0): 10.0}, {Place("P_b", 4, 0): 0.5})
    return Space(program, (rate, gate, both))


def batches(steps: int, groups: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.rand(6, 1, 5, generator=generator, dtype=dtype).repeat(1, groups, 1),
            torch.randint(0, 3, (6, 1), generator=generator).repeat(1, groups),
        )
        for _ in range(steps)
    ]


def test_at_zero_the_cell_is_exactly_the_start_s(space: Space) -> None:
    algorithm = space.algorithm(torch.zeros(space.size, dtype=torch.float64))
    for name, want in (space.start.cell._asdict() | space.start.codec._asdict()).items():
        got = getattr(algorithm.cell if hasattr(algorithm.cell, name) else algorithm.codec, name)
        assert torch.equal(got, want) and got.dtype == want.dtype, name


def test_what_no_coordinate_moves_stays_to_the_bit(space: Space) -> None:
    """Structural zeros, and all else that is not named; in a population too."""
    named = {place for coordinate in space.coordinates for place in (*coordinate.add, *coordinate.log)}
    u = torch.randn(3, space.size, dtype=torch.float64)
    for member in (space.algorithm(u[0]).cell, *(Cell(*parts) for parts in zip(*space.algorithm(u).cell, strict=True))):
        moved = set()
        for name, want in space.start.cell._asdict().items():
            want, got = (part.view(-1, part.shape[-1]) for part in (want, getattr(member, name)))
            moved |= {Place(name, *place) for place in (want != got).nonzero().tolist()}
        assert moved and moved <= named
    assert torch.equal(space.algorithm(u[0]).codec.encode, space.start.codec.encode)


@pytest.mark.parametrize("name", ["small", "cloned_backprop"])
def test_a_population_is_its_members(name: str) -> None:
    space = small_space() if name == "small" else SPACES[name]()
    dtype = space.start.cell.W.dtype
    u = 0.2 * torch.randn(3, space.size, dtype=torch.float64)
    weights = [layer.to(dtype) for layer in NETWORK.initial((5,), [7])]

    def outputs(u: Tensor, K: int) -> Tensor:
        algorithm = space.algorithm(u)
        states = [algorithm.encode(layer.repeat(K, 1, 1)) for layer in weights]
        logits = []
        for x, y in batches(4, K, dtype):
            states, out = learn(algorithm, NETWORK, states, x, y)
            logits.append(out)
        return torch.stack(logits)

    together, alone = outputs(u, 3), torch.cat([outputs(one, 1) for one in u], 2)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=3e-4 if dtype == torch.float32 else 1e-9)
    assert float((together[-1, :, 0] - together[-1, :, 1]).abs().max()) > 1e-3  # members differ


def test_an_entry_is_start_and_sum_times_exponential() -> None:
    """The formula, entry by entry, by hand."""
    space, u = small_space(), torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64)
    start, moved = space.start.cell, space.algorithm(u).cell
    assert float(moved.W[2, 10]) == pytest.approx(float(start.W[2, 10]) * 2.718281828459045**0.3)
    assert float(moved.b[0]) == pytest.approx(float(start.b[0]) + 10.0)
    assert float(moved.P_b[4, 0]) == pytest.approx((float(start.P_b[4, 0]) + 7.0) * 2.718281828459045**0.35)


def test_a_moved_space_begins_elsewhere_and_says_where() -> None:
    space, u = small_space(), torch.tensor([0.7, 0.0, -0.2], dtype=torch.float64)
    moved = space.moved({"rate": 0.5}).moved({"rate": 0.2, "both": -0.2})
    for there, here in zip(moved.algorithm(torch.zeros(3)).cell, space.algorithm(u).cell, strict=True):
        torch.testing.assert_close(there, here)
    assert moved.start.card["made_by"]["coordinates"] == pytest.approx({"rate": 0.7, "both": -0.2})
    assert space.moved({}) is space
    with pytest.raises(ValueError, match="begin should name coordinates out of rate, gate, both, got speed"):
        space.moved({"speed": 1.0})


def test_gradients_in_u_are_finite_differences() -> None:
    space = small_space()
    weights = [layer.double() for layer in NETWORK.initial((5,), [7])]

    def after(u: Tensor) -> Tensor:
        algorithm = space.algorithm(u).on("reference")
        states = [algorithm.encode(layer) for layer in weights]
        for x, y in batches(3, 1, torch.float64):
            states, logits = learn(algorithm, NETWORK, states, x, y)
        return loss(logits, y)

    u = torch.tensor([0.1, 1.2, -0.1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(after(u), u)
    step = 1e-4 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        slope = torch.stack([(after(u + d) - after(u - d)) / 2e-4 for d in step])
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-8)
    assert float(gradient.abs().min()) > 1e-6


def test_the_decoded_weight_moves_too() -> None:
    program = programs.backprop()
    free = Place("decode", 2, 0)  # nothing is encoded there, so weights survive
    space = Space(program, (Coordinate("read", 1.0, {free: 2.0}),))
    assert float(space.algorithm(torch.tensor([0.5])).codec.decode[2]) == 1.0
    assert torch.equal(space.algorithm(torch.tensor([[0.5], [1.0]])).codec.decode, program.codec.decode)


def test_sizes_that_are_alike_change_together_and_the_forward_path_stays() -> None:
    for name in ("backprop", "cloned_backprop"):
        algorithm = checkpoints.load(name)
        space = sizes(algorithm, step=0.2)
        assert space.steps.tolist() == [0.2] * space.size
        torch.manual_seed(1)
        moved = space.algorithm(torch.randn(space.size) * 0.3)
        weights, x = torch.randn(1, 5, 3), torch.randn(4, 1, 5)
        state = moved.encode(weights)
        torch.testing.assert_close(moved.forward(state, x), algorithm.forward(algorithm.encode(weights), x))
        for before, after in zip(algorithm.cell, moved.cell, strict=True):
            assert torch.equal(before == 0, after == 0) and torch.equal(before.sign(), after.sign())
            for value in before.abs().unique():
                alike = after.abs()[before.abs() == value]
                assert len(alike.unique()) <= 4  # a size changes as one, gate by gate


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        (
            (Coordinate("a", 1.0, {Place("b", 0, 0): 1.0}), Coordinate("a", 1.0, {Place("b", 0, 1): 1.0})),
            "coordinates should have names of their own, got a, a",
        ),
        ((Coordinate("a", 1.0),), "coordinate 'a' should move at least one entry, and moves none"),
        ((Coordinate("a", 1.0, {Place("W", 5, 0): 1.0}),), r"'a' moves Place\(.*row=5.*which is not there: W has"),
        ((Coordinate("a", 1.0, {Place("W", 0, 20): 1.0}),), r"W has shape \(5, 20\)"),
        ((Coordinate("a", 1.0, {Place("b", 1, 0): 1.0}),), r"b has shape \(1, 20\)"),
        ((Coordinate("a", 1.0, {Place("b", 0, -1): 1.0}),), "which is not there"),
        ((Coordinate("a", 1.0, log={Place("Q", 0, 0): 1.0}),), "parameters are W, V, U, b, P_f, P_b, decode"),
    ],
)
def test_what_cannot_be_moved_is_an_error(coordinates: tuple[Coordinate, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space(programs.backprop(), coordinates)
