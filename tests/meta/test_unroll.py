"""The inner loop and the meta-loss, against learning curves, finite differences and a loop."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import COARSE
from torch import Tensor

from lightning_vsml import programs
from lightning_vsml.lab.curves import ByAlgorithm
from lightning_vsml.meta.objective import EVEN, meta_loss
from lightning_vsml.meta.space import Coordinate, Space, at
from lightning_vsml.meta.tasks import Task, Tasks
from lightning_vsml.meta.unroll import Unrolled, begin, unroll
from lightning_vsml.ticks import Cell

TASKS = Tasks(datasets=["clusters"], hidden=(4, 6), batch=(4, 6), examples=100, shallow=0.0)


@pytest.fixture(scope="module")
def task() -> Task:
    return TASKS.sample(1, {})


@pytest.fixture(scope="module")
def space() -> Space:
    """The learning rate, and a gate that writes the weight, of ``backprop`` in float64."""
    rate = Coordinate("rate", 0.3, log=at(5, "W", (2, 3), "g", (0, 1)))
    message = Coordinate("message", 0.3, log=at(5, "W", (0, 1), "g", (4,)))
    return Space(programs.backprop(lr=0.3, dtype=torch.float64, **COARSE).on("reference"), (rate, message))


def test_it_is_a_learning_curve_step_by_step(space: Space, task: Task) -> None:
    algorithm = space.start
    running = ByAlgorithm(
        [layer.double() for layer in task.network.initial(task.shape, [task.seed, task.seed + 1])],
        task.network,
        algorithm,
    )
    unrolled = unroll(algorithm, task.network, begin(algorithm, task, 2), task.batches(7, 2))
    assert unrolled.loss.shape == unrolled.accuracy.shape == (7, 1, 2)
    for step, (x, y) in enumerate(task.batches(7, 2)):
        logits = running.step(x.double(), y)
        for seed in range(2):
            want = torch.nn.functional.cross_entropy(logits[:, seed], y[:, seed])
            torch.testing.assert_close(unrolled.loss[step, 0, seed], want)
            right = (logits[:, seed].argmax(-1) == y[:, seed]).double().mean()
            torch.testing.assert_close(unrolled.accuracy[step, 0, seed], right)
    for state, weights in zip(unrolled.states, running.weights(), strict=True):
        torch.testing.assert_close(algorithm.decode(state), weights)
    assert float(unrolled.loss[0].mean()) != float(unrolled.loss[-1].mean())


@pytest.mark.parametrize("segment", [0, 3])
def test_a_population_is_its_members(space: Space, task: Task, segment: int) -> None:
    u = torch.tensor([[0.0, 0.0], [1.0, -0.5], [-1.0, 0.5]], dtype=torch.float64)
    population = space.algorithm(u)
    together = unroll(population, task.network, begin(population, task, 2), task.batches(5, 2), segment=segment)
    for place, one in enumerate(u):
        algorithm = space.algorithm(one)
        alone = unroll(algorithm, task.network, begin(algorithm, task, 2), task.batches(5, 2))
        torch.testing.assert_close(together.loss[:, place], alone.loss[:, 0])
        torch.testing.assert_close(together.accuracy[:, place], alone.accuracy[:, 0])
    assert float((together.loss[-1, 0] - together.loss[-1, 1]).abs().min()) > 1e-4


def test_two_halves_are_a_whole(space: Space, task: Task) -> None:
    whole = unroll(space.start, task.network, begin(space.start, task), task.batches(6, 1))
    first = unroll(space.start, task.network, begin(space.start, task), task.batches(2, 1))
    second = unroll(space.start, task.network, first.states, task.batches(4, 1, start=2))
    assert torch.equal(torch.cat([first.loss, second.loss]), whole.loss)


def lost(space: Space, task: Task, u: Tensor, segment: int) -> Tensor:
    algorithm = space.algorithm(u)
    return meta_loss(unroll(algorithm, task.network, begin(algorithm, task), task.batches(5, 1), segment=segment)).sum()


def test_gradients_do_not_depend_on_segments_and_are_finite_differences(space: Space, task: Task) -> None:
    u = torch.tensor([0.2, -0.3], dtype=torch.float64)
    gradients = {}
    for segment in (0, 1, 2, 5, 9):
        leaf = u.clone().requires_grad_()
        (gradients[segment],) = torch.autograd.grad(lost(space, task, leaf, segment), leaf)
    for gradient in gradients.values():
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-12, atol=1e-14)
    steps = 1e-4 * torch.eye(2, dtype=torch.float64)
    slope = torch.stack([(lost(space, task, u + d, 0) - lost(space, task, u - d, 0)) / 2e-4 for d in steps])
    torch.testing.assert_close(gradients[0], slope, rtol=1e-4, atol=1e-8)
    assert float(slope.abs().min()) > 1e-5


def test_segments_bound_what_is_kept(space: Space, task: Task) -> None:
    """Bytes that autograd keeps for the way back."""

    def kept(segment: int) -> int:
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        u = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            lost(space, task, u, segment)
        return total

    assert kept(5) < 0.3 * kept(0)


def test_a_diverging_algorithm_has_no_finite_loss_and_raises_nothing(task: Task) -> None:
    sound, broken = (programs.backprop() for _ in range(2))
    broken.cell.P_f.mul_(torch.inf)
    unrolled = unroll(broken, task.network, begin(broken, task), task.batches(4, 1))
    assert not meta_loss(unrolled, 0.5).isfinite().any()
    population = replace(sound, cell=Cell.stack([sound.cell, broken.cell]))
    losses = meta_loss(unroll(population, task.network, begin(population, task), task.batches(4, 1)), 0.5)
    alone = meta_loss(unroll(sound, task.network, begin(sound, task), task.batches(4, 1)), 0.5)
    assert float(losses[0]) == pytest.approx(float(alone[0]), rel=1e-3) and not losses[1].isfinite()


@pytest.mark.parametrize(
    ("start", "steps", "windows"),
    [
        (0, 7, [(0, 7)]),
        (0, 10, [(0, 10)]),
        (0, 35, [(0, 10), (10, 30), (30, 35)]),
        (8, 4, [(0, 2), (2, 4)]),
        (40, 20, [(0, 20)]),
        (95, 10, [(0, 5), (5, 10)]),
        (0, 150, [(0, 10), (10, 30), (30, 100), (100, 150)]),
        (9_990, 20, [(0, 10), (10, 20)]),
        (12_000, 5, [(0, 5)]),
    ],
)
@pytest.mark.parametrize("errors", [0.0, 0.3, 1.0])
def test_the_meta_loss_is_a_mean_over_windows(
    start: int, steps: int, windows: list[tuple[int, int]], errors: float
) -> None:
    """A loop over members, windows and seeds."""
    loss, accuracy = torch.rand(steps, 3, 2) + 0.1, torch.rand(steps, 3, 2)
    got = meta_loss(Unrolled(loss, accuracy, []), errors, start)
    for member in range(3):
        terms = []
        for first, last in windows:
            for seed in range(2):
                mean = sum(float(value) for value in loss[first:last, member, seed]) / (last - first)
                right = sum(float(value) for value in accuracy[first:last, member, seed]) / (last - first)
                terms.append((1 - errors) * math.log(mean) + errors * math.log(1 - right + EVEN))
        assert float(got[member]) == pytest.approx(sum(terms) / len(terms), abs=1e-5)


def test_a_flawless_network_has_a_finite_error_term() -> None:
    assert meta_loss(Unrolled(torch.full((4, 1, 1), 0.1), torch.ones(4, 1, 1), []), 0.5).isfinite().all()
