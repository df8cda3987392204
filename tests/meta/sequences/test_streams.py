"""What emergent algorithms are meta-trained on, and that a segment is what a learner does."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_vsml import attach
from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.lab import datasets
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.sequences import streams
from lightning_vsml.meta.sequences.learning import Learning, moving, unroll
from lightning_vsml.meta.sequences.looks import Pool, Stream, stream
from lightning_vsml.meta.sequences.streams import Streams
from lightning_vsml.ticks import Cell


def images(n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 10
    return torch.rand(n, 1, 28, 28, generator=generator) * 0.1 + y.view(-1, 1, 1, 1) / 20, y


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Streams:
    x, y = images()
    monkeypatch.setattr(datasets, "load", lambda *_: datasets.Images("mnist", x, y, x, y))
    monkeypatch.setattr(streams, "VALIDATION", 100)
    monkeypatch.setattr(streams, "WINDOWS", ((0, 5), (5, 20)))
    return Streams(8, 3, inputs=(4, 30), segment=(3, 6), carried=3, work=20_000, learners=(2, 5), hidden=(4,), deep=0.5)


def test_a_unroll_is_what_a_model_does(small: Streams) -> None:
    """Meta-training and use are the same computation: a user's perceptron, one example after another."""
    V = small.start(3)
    algorithm = Emergent("", Cell(**V))
    examples = Stream(torch.randn(6, 1, 7), torch.randint(3, (6, 1)))
    model = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))
    with attach(model, algorithm) as synapses:
        fresh = [synapses.changes.states.current(name) for name in synapses.grids]
        losses = []
        for x, y in zip(examples.x, examples.y, strict=True):
            loss = F.cross_entropy(model(x), y)
            losses.append(loss.detach())
            loss.backward()
            synapses.step()
        loss, _, after = unroll(algorithm, fresh, examples)
        torch.testing.assert_close(loss[:, 0], torch.stack(losses), rtol=1e-4, atol=1e-5)
        for name, state in zip(synapses.grids, after, strict=True):
            torch.testing.assert_close(synapses.changes.states.items()[name], state, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_readable_tick(small: Streams) -> None:
    episode = small.episode(1, 1.0, 0)
    found = []
    for ticks in ("native", "reference"):
        V = {name: parameter.double().requires_grad_() for name, parameter in small.start(0).items()}
        algorithm = Emergent("", Cell(**V), ticks=ticks)
        part = Stream(episode.examples.x[: episode.steps].double(), episode.examples.y[: episode.steps])
        loss = unroll(algorithm, episode.fresh(V), part)[0].mean()
        found.append(torch.autograd.grad(loss, list(V.values()), allow_unused=True))
    for own, readable in zip(*found, strict=True):
        if readable is not None:
            torch.testing.assert_close(own, readable, rtol=1e-6, atol=1e-9)


def test_episodes_follow_from_number_progress_and_seed(small: Streams) -> None:
    one, same, other = (small.episode(number, 0.5, 7) for number in (3, 3, 4))
    assert torch.equal(one.examples.x, same.examples.x) and one.sizes == same.sizes
    assert one.examples.x.shape != other.examples.x.shape or not torch.equal(one.examples.x, other.examples.x)
    V = small.start(0)
    for a, b in zip(one.fresh(V), same.fresh(V), strict=True):
        assert torch.equal(a, b)


def test_tasks_grow(small: Streams) -> None:
    early, late = ([small.episode(number, progress, 0) for number in range(40)] for progress in (0.0, 1.0))
    assert {episode.sizes[-1] for episode in early} == {2}
    assert max(episode.sizes[-1] for episode in late) == 10
    assert max(episode.sizes[0] for episode in early) <= 16 < max(episode.sizes[0] for episode in late)
    assert {episode.segments for episode in early} == {1} < {episode.segments for episode in late}
    assert {len(episode.sizes) for episode in late} == {2, 3}
    assert all(len(episode.examples.x) == episode.steps * episode.segments for episode in late)


def test_segments_go_on_where_the_last_one_ended(small: Streams) -> None:
    episode = next(e for e in (small.episode(n, 1.0, 0) for n in range(40)) if e.segments > 1)
    V = small.start(0)
    first, state = episode.run(V, episode.fresh(V), 0)
    second, _ = episode.run(V, state, 1)
    whole = unroll(Emergent("", Cell(**V)), episode.fresh(V), episode.examples)[0][: 2 * episode.steps].mean()
    torch.testing.assert_close((first + second) / 2, whole / torch.tensor(float(episode.sizes[-1])).log())


def test_learners_see_classes_in_their_own_way() -> None:
    pool = Pool.of(*images())
    looks = [Draw(torch.Generator().manual_seed(seed)) for seed in range(6)]
    examples = stream(pool, looks, Draw(torch.Generator().manual_seed(9)), inputs=12, classes=3, steps=50)
    assert examples.x.shape == (50, 6, 12) and set(examples.y.flatten().tolist()) == {0, 1, 2}
    for learner in range(6):  # images of a class are alike, so that there is something to learn
        x, y = examples.x[:, learner], examples.y[:, learner]
        means = torch.stack([x[y == label].mean(0) for label in range(3)])
        nearest = (x.unsqueeze(1) - means).square().sum(-1).argmin(-1)
        assert (nearest == y).float().mean() > 0.8
    assert not torch.equal(examples.x[0, 0], examples.x[0, 1])


def test_hard_ones_are_blended_or_have_wrong_labels() -> None:
    pool = Pool.of(*images())
    seen = []
    for hard in (0.0, 1.0):
        looks = [Draw(torch.Generator().manual_seed(seed)) for seed in range(12)]
        seen.append(stream(pool, looks, Draw(torch.Generator().manual_seed(9)), 12, 3, 200, hard))
    right = []
    for examples in seen:
        of_each = []
        for learner in range(12):
            x, y = examples.x[:, learner], examples.y[:, learner]
            means = torch.stack([x[y == label].mean(0) for label in range(3)])
            nearest_class = (x.unsqueeze(1) - means).square().sum(-1).argmin(-1)
            of_each.append(float((nearest_class == y).float().mean()))
        right.append(sum(of_each) / 12)
    assert right[0] > 0.95 and 0.5 < right[1] < right[0] - 0.05
    assert torch.isfinite(seen[1].x).all()


def test_a_limited_number_of_tasks(small: Streams) -> None:
    small.tasks, small.inputs, small.classes = 1, (12, 12), (10, 10)
    pool = small.training
    one = small.episode(0, 1.0, 0)
    assert one.examples.x.shape[2] == 12
    means = []
    for learner in range(2):  # all see the same look of the same classes
        x, y = one.examples.x[:, learner], one.examples.y[:, learner]
        means.append({int(label): x[y == label].mean(0) for label in y.unique()})
    shared = set(means[0]) & set(means[1])
    assert shared and len(pool.sizes) == 10
    for label in shared:
        torch.testing.assert_close(means[0][label], means[1][label], atol=0.25, rtol=0.25)


def test_held_out_streams(small: Streams) -> None:
    found = small.held_out(small.start(0))
    assert {"gain", "mnist_7x7/accuracy", "mnist_14x14/loss_5_20"} <= set(found)
    assert found["gain"] == pytest.approx(-sum(v for k, v in found.items() if "/loss_" in k) / 4)
    assert found == small.held_out(small.start(0))
    del small._validation
    small.hard = 0.5
    assert {"mnist_7x7/accuracy", "mnist_7x7_blended/accuracy"} <= set(small.held_out(small.start(0)))


def test_hidden_layers_thaw(small: Streams) -> None:
    small.deep, small.thaw, V = 1.0, (0.2, 0.8), small.start(0)
    moved = []
    for progress in (0.1, 0.5, 0.9):
        episode = small.episode(5, progress, 0)
        fresh = episode.fresh(V)
        _, (hidden, last) = episode.run(V, fresh, 0)
        assert not torch.equal(last, fresh[1])
        moved.append(float((hidden - fresh[0]).norm()))
    assert moved[0] == 0 < moved[1] < moved[2] / 5
    assert [moving(at, (0.2, 0.8)) for at in (0.1, 0.5, 0.8)] == pytest.approx([0, 1000**-0.5, 1])


def test_first_examples_may_weigh_more_at_the_end(small: Streams) -> None:
    small.early, V = 0.5, small.start(0)
    for progress, early in ((0.7, 0.0), (0.8, 0.5)):
        episode = next(e for e in (small.episode(n, progress, 0) for n in range(40)) if e.segments > 1)
        _, state = episode.run(V, episode.fresh(V), 0)
        steps = episode.steps
        part = Stream(episode.examples.x[steps : 2 * steps], episode.examples.y[steps : 2 * steps])
        each = unroll(Emergent("", Cell(**V)), state, part)[0].mean(1)
        weights = (1 + torch.arange(steps, 2 * steps) / 10) ** -early
        expected = (each * weights).mean() / torch.tensor(float(episode.sizes[-1])).log()
        torch.testing.assert_close(episode.run(V, state, 1)[0], expected)


def test_chance_is_one() -> None:
    episode = Learning(Stream(torch.randn(4, 3, 5), torch.randint(6, (4, 3))), (5, 6), 4, 1, 0)
    quiet = {name: torch.zeros_like(p) for name, p in initial(4, 2)._asdict().items()}
    assert float(episode.run(quiet, episode.fresh(quiet), 0)[0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": (0, 5)}, "inputs should be two numbers, 1 <= low <= high <= 784, got 0, 5"),
        ({"classes": (5, 2)}, "classes should be two numbers"),
        ({"carried": 0}, "carried should be from 1"),
        ({"deep": 1.5}, "deep should be from 0 to 1"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Streams(**settings)


def test_mnist_is_there_or_missed(tmp_path: Path, mnist_dir: Path) -> None:
    pool = Streams(data_dir=mnist_dir).training
    assert pool.images[28].shape == (50_000, 784) and int(pool.sizes.sum()) == 50_000
