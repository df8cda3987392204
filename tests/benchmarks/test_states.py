"""The picture of states: planes are where and what it says they are."""

from pathlib import Path

import matplotlib.image
import pytest
import states
import torch

from lightning_vsml import LearningAlgorithm, checkpoints, datasets


@pytest.fixture(scope="module")
def data() -> datasets.Images:
    return datasets.load("digits")


def test_columns_of_the_adaptive_rule_are_what_they_are_called(data: datasets.Images) -> None:
    algorithm = checkpoints.load("adaptive", kind=LearningAlgorithm)
    named = dict(zip(states.names(algorithm), states.learn(algorithm, data, 60, 0), strict=True))
    mean, image = named["mean"].flatten(1).mean(0), data.x.mean(0).flatten()
    assert float(torch.nn.functional.cosine_similarity(mean, image, 0)) > 0.99  # of inputs
    assert bool((named["age"] == named["age"].max()).all()) and bool((named["squares"] >= 0).all())
    assert 0.1 < float(named["weight"].std()) < 1


@pytest.mark.parametrize(("algorithm", "columns"), [("backprop", 1), ("adaptive", 6)])
def test_a_picture_has_a_column_for_each_number_that_is_not_0(
    algorithm: str, columns: int, data: datasets.Images, tmp_path: Path
) -> None:
    loaded = checkpoints.load(algorithm, kind=LearningAlgorithm)
    states.draw(states.learn(loaded, data, 3, 0), states.names(loaded), tmp_path / "new" / "states.png")
    assert matplotlib.image.imread(tmp_path / "new" / "states.png").shape[1] == 180 * columns
