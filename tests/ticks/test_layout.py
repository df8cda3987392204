"""What is kept of a state, and that it is enough."""

import pytest
import torch
from torch import Tensor

from lightning_vsml import LearningAlgorithm, checkpoints, programs
from lightning_vsml.ticks import ROWWISE, Cell, Fused, RowWise, State, Told
from lightning_vsml.ticks.commit.reference import commit_by_ticks
from lightning_vsml.ticks.plan.layout import layout
from lightning_vsml.ticks.sites import Rows

STEPS, ROWS, SHAPE = 30, 8, (1, 6, 4)
KEPT = {
    "backprop": ["c0"],
    "cloned_backprop": ["c0"],
    "meta_cloned": ["c0"],
    "adaptive": ["c0", "c5", "c6", "c9", "c10", "c11", "c12", "c13", "c14"],
    "sensing": ["c0", "c5", "c6"],
}


def codec(algorithm: LearningAlgorithm) -> frozenset[int]:
    return frozenset((algorithm.codec.encode.abs() + algorithm.codec.decode.abs()).nonzero().flatten().tolist())


def kept(algorithm: LearningAlgorithm) -> list[str]:
    return [f"{'hc'[plane.part]}{plane.unit}" for plane in algorithm.layout.planes]


def test_every_algorithm_keeps_what_it_needs(algorithm: LearningAlgorithm) -> None:
    assert kept(algorithm) == KEPT[algorithm.name]
    first, *others = algorithm.layout.planes
    assert first.codes and first.scale == pytest.approx(float(algorithm.codec.encode[0]))
    assert not any(plane.codes for plane in others)


@pytest.mark.parametrize("constants", [{}, {"scale": 2.0**10, "eps": 2.0**-8, "zeta": 2.0**-8, "k": 2.0**8}])
def test_two_units_that_hold_a_weight_are_one_plane(constants: dict[str, float]) -> None:
    for dtype in (torch.float32, torch.float64):
        algorithm = programs.backprop(dtype=dtype, **constants)
        assert kept(algorithm) == ["c0"]
        assert algorithm.layout.units[1][:2] == ((0, 1 / constants.get("scale", 2.0**28)),) * 2
        assert set(algorithm.layout.units[0]) == {None}


def test_opposite_units_are_one_plane(algorithm: LearningAlgorithm) -> None:
    """As far as they begin with a weight, they have its sign."""
    for unit, share in enumerate(algorithm.codec.encode.tolist()):
        if share and algorithm.layout.units[1][unit] is not None:
            place, factor = algorithm.layout.units[1][unit]
            assert algorithm.layout.planes[place].codes and factor == pytest.approx(share)


def whole_steps(algorithm: LearningAlgorithm, weights: Tensor) -> tuple[list[Tensor], Tensor, State]:
    """Steps of the readable ticks on whole states; messages, weights and the state after them."""
    ticks = ROWWISE["reference"](algorithm.cell, *algorithm.protocol[:2], codec(algorithm))
    c = weights.unsqueeze(-1) * algorithm.codec.encode
    state = State(torch.zeros_like(c), c)
    generator, messages = torch.Generator().manual_seed(0), []
    limit, clamp = algorithm.stability.state_clip, algorithm.stability.change_clamp
    for _ in range(STEPS):
        x, e = (torch.randn(ROWS, 1, size, generator=generator, dtype=torch.float64) for size in SHAPE[1:])
        sent = ticks.forward(state, x)
        change, message = ticks.learn(state, x, e, torch.asinh(sent[..., 1:]))
        messages += [sent[..., 0], message[..., 0]]
        moved = [part / ROWS for part in change]  # a row is a sample
        if clamp is not None:
            moved = [part.clamp(-clamp, clamp) for part in moved]
        after = [part + by for part, by in zip(state, moved, strict=True)]
        state = State(*(part if limit is None else part.clamp(-limit, limit) for part in after))
        if algorithm.protocol.commit:  # no h outlives a phase
            merged = State(torch.zeros_like(state.h), state.c)
            told = Told.of(SHAPE[1], state.c)
            _, c = commit_by_ticks(algorithm.cell, algorithm.protocol.commit, merged, told)
            state = State(torch.zeros_like(c), c)
    return messages, state.c @ algorithm.codec.decode, state


def test_a_long_run_with_planes_is_one_with_whole_states(algorithm: LearningAlgorithm) -> None:
    """In float64, with the planes of the shipped cell in float32: what they leave out is below its rounding."""
    twin = algorithm.to(dtype=torch.float64).on("reference")
    vars(twin)["layout"] = algorithm.layout
    weights = torch.randn(SHAPE, dtype=torch.float64) * 0.3
    wanted, last, _ = whole_steps(twin, weights)
    state, ours = twin.encode(weights), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        x, e = (torch.randn(ROWS, 1, size, generator=generator, dtype=torch.float64) for size in SHAPE[1:])
        sent = twin.send(state, x)
        change, message = twin.learn(state, x, e, ROWS, sent)
        ours += [sent[0], message]
        state = twin.commit(state, change)
    for mine, theirs in zip(ours, wanted, strict=True):
        assert (mine - theirs).norm() <= 1e-6 * theirs.norm()
    moved = (last - weights).norm()
    assert (twin.decode(state) - last).norm() <= 1e-6 * last.norm() and moved > 1e-3


def test_expanded_and_compressed_states_are_the_same(algorithm: LearningAlgorithm) -> None:
    """Of planes always; of h and c what learning reaches, in all units that something reads."""
    twin = algorithm.to(dtype=torch.float64)
    layout_ = twin.layout
    planes = torch.randn(len(layout_.planes), *SHAPE, dtype=torch.float64)
    h, c = layout_.expand(planes)
    assert h.shape == c.shape == (*SHAPE, twin.cell.units)
    torch.testing.assert_close(layout_.compress(h, c), planes)
    *_, state = whole_steps(twin, torch.randn(SHAPE, dtype=torch.float64) * 0.3)
    assert layout_.misfit(*state) is None
    again = layout_.expand(layout_.compress(*state))
    for part, whole, units in zip(again, state, layout_.units, strict=True):
        read = [unit for unit, place in enumerate(units) if place is not None]
        torch.testing.assert_close(part[..., read], whole[..., read], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["backprop", "cloned_backprop"])
def test_a_misfit_names_its_unit(name: str) -> None:
    algorithm = checkpoints.load(name)
    h, c = algorithm.layout.expand(algorithm.encode(torch.randn(SHAPE)))
    assert algorithm.layout.misfit(h, c) is None
    units = [unit for unit, place in enumerate(algorithm.layout.units[1]) if place is not None]
    for unit in units[1:]:
        other = c.clone()
        other[0, 1, 2, unit] += 1.0
        assert algorithm.layout.misfit(h, other) == f"c of unit {unit}"
    unread = next(unit for unit, place in enumerate(algorithm.layout.units[1]) if place is None)
    c[..., unread] += 1.0  # nothing reads it
    assert algorithm.layout.misfit(h + 1.0, c) is None


def test_units_that_come_apart_are_planes_of_their_own() -> None:
    """The codec writes both alike, but another gate writes one of them."""
    algorithm = programs.backprop(dtype=torch.float64)
    cell = Cell(*(parameter.clone() for parameter in algorithm.cell))
    cell.W[2, 10] *= 2  # rho of unit 0
    found = layout(cell, *algorithm.protocol[:2], *algorithm.codec, algorithm.memory)
    assert [(plane.part, plane.unit, plane.codes) for plane in found.planes] == [(1, 0, True), (1, 1, True)]
    memory = (True, False, False, False, False)  # one is scratch space
    apart = layout(algorithm.cell, *algorithm.protocol[:2], *algorithm.codec, memory)
    assert [plane.unit for plane in apart.planes] == [0, 1]


def test_a_memory_that_no_codec_knows_is_kept_where_something_reads_it() -> None:
    """A trace of the product in unit 2, which the next write reads."""
    algorithm = programs.backprop(dtype=torch.float64)
    cell = Cell(*(parameter.clone() for parameter in algorithm.cell))
    cell.b[5 + 2] = 1.0  # unit 2 does not forget all
    found = layout(cell, *algorithm.protocol[:2], *algorithm.codec, algorithm.memory)
    assert {(plane.part, plane.unit) for plane in found.planes} >= {(1, 0), (1, 2)}
    assert [plane.unit for plane in found.planes if plane.codes] == [0]


def test_cells_that_learn_keep_every_number_apart() -> None:
    """Of which the structure is not known: each entry may change."""
    algorithm = programs.backprop(dtype=torch.float64)
    cell = Cell(*(parameter.clone().requires_grad_() for parameter in algorithm.cell))
    found = layout(cell, *algorithm.protocol[:2], *algorithm.codec, algorithm.memory)
    assert [(plane.part, plane.unit) for plane in found.planes] == [
        (part, unit) for part in (0, 1) for unit in range(5)
    ]


def test_a_population_shares_the_planes_of_its_members() -> None:
    members = [programs.backprop(lr=lr, dtype=torch.float64) for lr in (0.1, 0.3)]
    stacked = Cell.stack([member.cell for member in members])
    one = members[0]
    assert layout(stacked, *one.protocol[:2], *one.codec, one.memory) == one.layout


@pytest.mark.parametrize("seed", range(6))
def test_a_row_wise_implementation_gives_changes_of_planes(seed: int) -> None:
    """With a bias, and in another dtype."""
    torch.manual_seed(seed)
    algorithm = programs.backprop(dtype=torch.float64)
    ticks = Fused(algorithm.cell, *algorithm.protocol[:2], codec(algorithm))
    plain, other = RowWise(ticks, algorithm.layout), RowWise(ticks, algorithm.layout, torch.float64)
    weights, x, e = torch.randn(1, 4, 5).double(), torch.randn(6, 1, 3).double(), torch.randn(6, 1, 5).double()
    planes, site = algorithm.encode(weights), Rows(x, (1, 4, 5), bias=True)
    changes, message = plain.learn(planes, site, e, [], [2.0])
    with_one = torch.cat([x, torch.ones(6, 1, 1).double()], -1)
    torch.testing.assert_close(changes[0], 0.2 * torch.einsum("rga,rgb->gab", with_one, e), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(message, torch.einsum("rgb,gab->rga", e, weights[:, :3]), rtol=1e-6, atol=1e-8)
    small = Rows(x.float(), (1, 4, 5), bias=True)
    again, same = other.learn(planes.float(), small, e.float(), [], [2.0])
    assert again.dtype == same.dtype == torch.float32
    torch.testing.assert_close(again.double(), changes, rtol=1e-5, atol=1e-6)
