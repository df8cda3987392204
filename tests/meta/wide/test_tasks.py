"""Wide tasks: by number, in range, and every one a network can learn."""

from typing import Any

import pytest
import torch
from torch import nn

from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.lab.datasets import Images, load
from lightning_vsml.meta.wide import Distribution, Task
from lightning_vsml.meta.wide.families import FAMILIES
from lightning_vsml.meta.wide.learning import learn
from lightning_vsml.meta.wide.models import norm

START = torch.tensor([Coordinates()])


@pytest.fixture(scope="module")
def images() -> dict[str, Images]:
    return {"digits": load("digits")}


def digits(**settings: Any) -> Distribution:
    return Distribution(datasets=("digits",), **{"examples": 300, "widths": (4, 20), **settings})


@pytest.mark.parametrize("family", ["images", "text", *FAMILIES])
def test_every_family_can_be_learned(family: str, images: dict[str, Images]) -> None:
    distribution = digits(shares={family: 1.0}, batch=(2, 40), classes=12, targets=(0.5, 2.0))
    for number in range(6):
        task = distribution.sample(number, images)
        assert 2 <= task.batch <= 40 and 100 <= len(task.x) == len(task.y) <= 300
        outputs = task.module()(task.x[:8])
        assert outputs.shape[-1] == task.y.shape[-1] or int(task.y.max()) < outputs.shape[-1] < 50
        assert learn(task, START, 3).loss.isfinite().all(), task.name


def test_a_number_is_a_task(images: dict[str, Images]) -> None:
    distribution, names = digits(), set()
    for number in range(12):
        one, same = (distribution.sample(number, images, seed=3) for _ in range(2))
        assert one.name == same.name and torch.equal(one.x, same.x) and torch.equal(one.y, same.y)
        assert all(map(torch.equal, one.module().parameters(), same.module().parameters()))
        for ours, theirs in zip(one.batches(3), same.batches(3), strict=True):
            assert all(map(torch.equal, ours, theirs)) and len(ours[0]) == one.batch
        names.add(one.name)
    assert len(names | {distribution.sample(number, images, seed=4).name for number in range(12)}) == 24


def test_kinds_of_targets_and_networks_occur(images: dict[str, Images]) -> None:
    distribution = digits(shares={"images": 1.0}, sizes=(7,))
    names = " ".join(distribution.sample(number, images).name for number in range(60))
    for kind in ("autoencoder", "multilabel", "numbers", "blocks", "cnn", "whitened", "featured", "projected", "batch"):
        assert kind in names


def test_inputs_with_a_factor_begin_as_the_same_function(images: dict[str, Images]) -> None:
    factors, plain = digits(shares={"images": 1.0}, factors=(7.0, 7.0)), digits(factors=(1, 1), shares={"images": 1.0})
    seen = 0
    for number in range(20):
        one, other = (distribution.sample(number, images) for distribution in (factors, plain))
        if one.factor != 1.0:
            seen += 1
            torch.testing.assert_close(one.x, 7 * other.x)
            torch.testing.assert_close(one.module()(one.x[:4]), other.module()(other.x[:4]), rtol=1e-4, atol=1e-4)
    assert seen


def test_blocks_are_of_few_classes_at_a_time() -> None:
    y = torch.arange(200) // 20
    task = Task("", lambda: nn.Linear(1, 10), torch.zeros(200, 1), y, lambda *_: _, 16, 0, blocks=True)
    blocks = [set(y.tolist()) for _, y in task.batches(400)]
    assert all(len(block) <= 2 for block in blocks) and set().union(*blocks[:200]) == set(range(10))


def test_without_images_there_are_the_others() -> None:
    distribution = Distribution(datasets=())
    assert distribution.images == () and Distribution().images == ("mnist",)
    assert all("mnist" not in distribution.sample(number, {}).name for number in range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shares": {"shapes": 1.0}}, "shares should be of images, text, clusters, .*, got shapes"),
        ({"shares": {"text": -1.0}}, "shares should be from 0"),
        ({"shares": {"images": 1.0}, "datasets": ()}, r"of something that is there \(images need datasets\)"),
        ({"sizes": (2,)}, "sizes should be heights and widths of images from 3, got 2"),
        ({"classes": 1}, "classes should be at least 2, got 1"),
        ({"examples": 3}, "examples should be at least 20, got 3"),
        ({"batch": (8, 4)}, "batch should be a range from small to large, got 8 to 4"),
        ({"targets": (0.0, 4.0)}, "targets should be a range"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distribution(**settings)
    with pytest.raises(ValueError, match="norm should be one of none, layer, batch, group, got 'local'"):
        norm("local", 4, 0)
