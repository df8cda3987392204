"""What a Trainer's checkpoint holds: as many numbers as the documentation says."""

from pathlib import Path

import checkpoint_sizes
import pytest
import torch

from lightning_vsml import checkpoints

PAGE = (Path(__file__).parents[2] / "docs" / "caveats.md").read_text(encoding="utf-8")
DOCUMENTED = PAGE.split("\n## ")[1]  # what it costs


@pytest.mark.parametrize(("optimizer", "numbers"), [("torch SGD", 0), ("torch SGD, momentum", 1), ("torch Adam", 2)])
def test_torch_s_optimizers(optimizer: str, numbers: int, tmp_path: Path) -> None:
    size = checkpoint_sizes.measure(optimizer, 32, tmp_path)
    assert size.states == pytest.approx(numbers, abs=0.01) and size.file == pytest.approx(1 + numbers, abs=0.1)


@pytest.mark.parametrize("name", ["backprop", "feedback_alignment", "mplp_mnist", "vsml_scratch"])
def test_states_are_an_algorithm_s_planes(name: str, tmp_path: Path) -> None:
    numbers = len(checkpoints.load(name).layout.planes)
    assert checkpoint_sizes.measure(name, 32, tmp_path).states == numbers


@pytest.mark.parametrize("name", checkpoint_sizes.trained_by())
def test_the_documentation_knows_each(name: str) -> None:
    numbers = len(checkpoints.load(name).layout.planes)
    [row] = [line for line in DOCUMENTED.splitlines() if line.strip().startswith("| `") and f"`{name}`" in line][-1:]
    assert row.split("|")[3].strip().startswith(f"{numbers}:")


def test_numbers_are_counted_wherever_they_are() -> None:
    assert checkpoint_sizes.numbers({"a": [torch.ones(2, 3), (torch.ones(()), 5)], "b": {"c": torch.ones(4)}}) == 11
