"""The distribution of tasks."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vsml import datasets
from lightning_vsml.lab.datasets import Images
from lightning_vsml.meta.tasks import LOOKS, SYNTHETIC, Task, Tasks

NETWORKS = {
    "shallow": {"shallow": 1.0, "cnn": 0.0},
    "mlp": {"shallow": 0.0, "cnn": 0.0},
    "cnn": {"shallow": 0.0, "cnn": 1.0},
}


def images(n: int = 300, size: int = 14, classes: int = 7) -> Images:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(n, 1, size, size, generator=generator)
    y = torch.arange(n) % classes
    return Images("random", x, y, x, y)


DATA = {"random": images()}


def only(**settings: Any) -> Tasks:
    return Tasks(**({"datasets": ["random"], "examples": 100, "hidden": (4, 8), "batch": (3, 6)} | settings))


def check(task: Task, classes: int = 2) -> None:
    assert bool(task.x.isfinite().all()) and task.x.dtype == torch.float32 and task.y.dtype == torch.int64
    labels = set(task.y.tolist())
    output = task.network.layers[-1].units
    assert labels <= set(range(output)) and max(labels) == output - 1 and output >= classes
    assert float(task.x.std()) > 0
    [(x, y)] = task.batches(1, 2)
    assert x.shape == (task.batch, 2, *task.shape) and y.shape == (task.batch, 2)
    logits = task.network.outputs(task.network.initial(task.shape, [0, 1]), x)
    assert logits.shape == (task.batch, 2, output) and bool(logits.isfinite().all())


def same(a: Task, b: Task) -> bool:
    return (
        torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and (a.name, a.network, a.seed) == (b.name, b.network, b.seed)
    )


@given(number=st.integers(0, 10**6), seed=st.integers(0, 10**4))
@settings(max_examples=20)
def test_every_task_can_be_learned_whatever_its_number(number: int, seed: int) -> None:
    tasks = only(datasets=["random", *SYNTHETIC], cnn=0.3, shallow=0.3, activations=("tanh", "relu", "gelu"))
    task = tasks.sample(number, DATA, seed)
    check(task)
    assert 3 <= task.batch <= 6
    assert same(task, tasks.sample(number, DATA, seed))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("look", LOOKS)
def test_every_look_is_learned_by_every_network(look: str, network: str) -> None:
    tasks = only(looks=(look,), plain=0.0, sizes=(7, 10, 99), **NETWORKS[network])
    for number in range(4):
        task = tasks.sample(number, DATA)
        check(task, classes=5)
        flat = look in ("projected", "permuted")
        assert look in task.name and len(task.shape) == (1 if flat else 3)
        assert ("cnn" in task.name) == (network == "cnn" and not flat)
        assert ("shallow" in task.name) == (network == "shallow")
        if not flat:
            assert task.shape[1] in (7, 10, 14)


@pytest.mark.parametrize("family", SYNTHETIC)
def test_synthetic_families_open_no_file(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was asked for")

    monkeypatch.setattr(datasets, "load", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    tasks = only(datasets=[family])
    assert tasks.images == ()
    drawn = [tasks.sample(number, {}) for number in range(10)]
    for task in drawn:
        check(task)
    assert len({task.shape for task in drawn}) > 3
    assert len({len(task.network.layers) for task in drawn}) > 1


def test_a_number_is_a_task_whoever_asks() -> None:
    """Another object, in another order, with the global generator elsewhere; and it stays where it was."""
    first = [only(datasets=["random", "clusters"]).sample(number, DATA, seed=5) for number in range(6)]
    torch.manual_seed(77)
    state = torch.get_rng_state()
    second = [only(datasets=["random", "clusters"]).sample(number, DATA, seed=5) for number in reversed(range(6))]
    list(second[0].batches(3, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first, reversed(second), strict=True):
        assert same(a, b)
        for (x, y), (x2, y2) in zip(a.batches(2, 3), b.batches(2, 3), strict=True):
            assert torch.equal(x, x2) and torch.equal(y, y2)


def test_other_numbers_and_other_seeds_are_other_tasks() -> None:
    tasks = only(datasets=["random", *SYNTHETIC])
    drawn = [tasks.sample(number, DATA, seed) for seed in (0, 1) for number in range(15)]
    assert len({task.seed for task in drawn}) == 30
    assert not any(same(a, b) for place, a in enumerate(drawn) for b in drawn[:place])


def test_batches_go_on_where_they_were_left() -> None:
    task = only(datasets=["clusters"]).sample(0, {})
    whole = list(task.batches(5, 2))
    parts = [*task.batches(2, 2), *task.batches(3, 2, start=2)]
    for (x, y), (x2, y2) in zip(whole, parts, strict=True):
        assert torch.equal(x, x2) and torch.equal(y, y2)
    assert not torch.equal(whole[0][1], whole[1][1]) or not torch.equal(whole[0][0], whole[1][0])
    assert not torch.equal(whole[0][0][:, 0], whole[0][0][:, 1])  # each network its own


def test_labels_are_drawn_anew_but_examples_keep_their_class() -> None:
    data = images()
    x = data.y.float().view(-1, 1, 1, 1).expand_as(data.x) + 1.0  # an image shows its class
    tasks = only(plain=1.0, scale=(1.0, 1.0), classes=7, sizes=(14,))
    maps = set()
    for number in range(3):
        task = tasks.sample(number, {"random": data._replace(x=x)})
        pairs = {(round(float(value)) - 1, label) for value, label in zip(task.x[:, 0, 0, 0], task.y.tolist())}  # noqa: B905
        assert len(pairs) == 7  # one to one
        maps.add(tuple(sorted(pairs)))
    assert len(maps) > 1


def test_the_range_of_scales_is_that_of_the_inputs() -> None:
    wide = [only(plain=1.0, scale=(0.1, 10.0)).sample(number, DATA) for number in range(20)]
    sizes = [float(task.x.max()) for task in wide]
    assert 0.05 < min(sizes) < 0.5 and 2 < max(sizes) <= 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datasets": []}, "datasets should name image data sets, or some of clusters, teacher, sparse; got none"),
        ({"looks": ("plain", "odd")}, "looks should be some of plain, .*, got plain, odd"),
        ({"looks": ()}, "looks should be some of .* got none"),
        ({"activations": ("selu",)}, "activations should be some of tanh, relu, gelu, got selu"),
        ({"scale": (2.0, 1.0)}, r"scale should be a range from small to large, got 2\.0 to 1\.0"),
        ({"hidden": (0, 8)}, "hidden should be a range from small to large, got 0 to 8"),
        ({"batch": (8, 4)}, "batch should be a range from small to large, got 8 to 4"),
        ({"sizes": ()}, "sizes should be heights and widths of images from 3, got none"),
        ({"sizes": (14, 2)}, "sizes should be heights and widths of images from 3, got 14, 2"),
        ({"classes": 1}, "classes should be at least 2, got 1"),
        ({"examples": 0}, "examples should be at least 2, got 0"),
        ({"plain": 1.5}, r"plain should be a share from 0 to 1, got 1\.5"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        only(**settings)
