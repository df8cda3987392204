"""Numbers of curves, by hand; and the words made of them."""

import math

import numpy as np
import pytest
import torch

from lightning_vsml import checkpoints
from lightning_vsml.report import figures
from lightning_vsml.report.outcome import LayerStep, Outcome, Plan
from lightning_vsml.report.verdict import judge

STEPS = 100
NOISE = np.random.default_rng(0).normal(0, 0.05, STEPS)


def outcome(kind: str, name: str, end: float, ms: float, lr: float | None = None, **more: object) -> Outcome:
    """A loss that falls from 2 to ``end`` within a half, and stays there; the same noise in all."""
    losses = list(np.interp(np.arange(STEPS), [0, STEPS / 2], [2, end]) + NOISE)
    algorithm = checkpoints.load(name) if kind == "algorithm" else None
    seconds = [math.nan, *[ms / 1e3] * (STEPS - 1)]
    return Outcome(Plan(name, kind, lr, algorithm), STEPS, losses, seconds=seconds, kept=1.0, **more)  # type: ignore[arg-type]


def test_windows_means_and_passages() -> None:
    assert [figures.window(steps) for steps in (1, 15, 100, 300, 5000)] == [1, 15, 20, 30, 500]
    curve = [4.0, 2.0, 0.0, math.nan, 2.0]
    assert figures.smooth(curve, 2) == [4.0, 3.0, 1.0, 0.0, 2.0]
    ours = outcome("SGD", "a", 1.0, 3.0)
    assert figures.final(ours) == pytest.approx(np.mean(ours.losses[-20:]))
    means = np.convolve(ours.losses, np.ones(20) / 20, "valid")
    assert figures.passage(ours, 1.5) == 20 + int(np.argmax(means <= 1.5))
    assert figures.passage(ours, 0.5) is None and figures.milliseconds(ours) == pytest.approx(3.0)


def test_paired_differences_have_numpys_errors() -> None:
    ours, theirs = outcome("SGD", "a", 1.0, 3.0), outcome("SGD", "b", 0.9, 3.0)
    theirs.losses[-5] += 0.3
    pairs = np.array(ours.losses[-20:]) - np.array(theirs.losses[-20:])
    expected = pairs.mean(), pairs.std(ddof=1) / math.sqrt(20)
    assert figures.paired(ours, theirs) == pytest.approx(expected)


def test_distances_are_shares_of_the_way() -> None:
    start = {"w": torch.zeros(2), "b": torch.zeros(1)}
    theirs, ours = (
        {"w": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])},
        {"w": torch.tensor([3.0, 1.0]), "b": torch.tensor([4.0])},
    )
    assert figures.distance(ours, theirs, start) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("end", "ms", "word", "said"),
    [
        (0.5, 4.0, "ahead", "use it"),
        (0.5, 400.0, "ahead", "it pays where batches"),
        (1.0, 4.0, "level", "no reason to change; it needed no learning rate"),
        (1.5, 4.0, "behind", "So stay with Adam, lr 0.01 here"),
    ],
)
def test_words_follow_from_losses_and_times(end: float, ms: float, word: str, said: str) -> None:
    ours, adam = outcome("algorithm", "adaptive", end, ms, 1.0), outcome("Adam", "Adam, lr 0.01", 1.0, 2.0, 0.01)
    verdict = judge(ours, [ours, adam, outcome("SGD", "SGD, lr 0.1", 1.2, 1.0, 0.1)])
    assert verdict.word == word and said in verdict.text
    assert f"ends at {figures.final(ours):.4g}" in verdict.text and f"{ms / 2:g} times as long" in verdict.text


def test_following_sgd_is_told_from_being_behind() -> None:
    """By weights, or where chaos has led them apart by every step."""
    sgd, adam = outcome("SGD", "SGD, lr 0.1", 1.2, 1.0, 0.1), outcome("Adam", "Adam, lr 0.01", 1.0, 2.0, 0.01)
    for distance, difference, word in ((1e-6, 1e-6, "follows"), (0.1, 1e-6, "follows"), (0.1, 0.1, "behind")):
        layers = {"net": {0: LayerStep(1.0, difference, 0.1)}}
        ours = outcome("algorithm", "backprop", 1.2, 3.0, 0.1, layers=layers, distance=distance)
        verdict = judge(ours, [ours, sgd, adam])
        assert verdict.word == word and (f"{distance:.1g} of the way" in verdict.text) == (word == "follows")
