"""The learning-curve check: a clone is judged by how networks learn by it, on real data that it has never seen."""

from functools import partial
from typing import Any

import torch

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.lab import datasets
from lightning_vsml.lab.curves import ByAlgorithm, ByOptimizer, learning_curves

# The optimizers that targets imitate; the others have none in torch, and are judged by their drift alone.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": torch.optim.SGD, "lr": 0.1},
    "momentum": {"optimizer": torch.optim.SGD, "lr": 0.01, "momentum": 0.9},
}
STEPS, SEEDS = 1000, 10


def learns_digits(
    algorithm: LearningAlgorithm, target: str, steps: int = STEPS, seeds: int = SEEDS
) -> list[dict[str, Any]]:
    """Accuracy on scikit-learn's digits after ``steps`` of 64, of a shallow network and one with 32 tanh units.

    Args:
        algorithm: the clone.
        target: what it is a clone of; see :data:`OPTIMIZERS`.
        steps: of learning.
        seeds: networks.

    Returns:
        A measurement for the card for each network; none where torch has no such optimizer.
    """
    if target not in OPTIMIZERS:
        return []
    data, found = datasets.load("digits"), []
    for hidden in ((), (32,)):
        run = partial(learning_curves, data=data, hidden=hidden, steps=steps, seeds=range(seeds))
        accuracy = {
            "clone": run(partial(ByAlgorithm, algorithm=algorithm)).accuracy[-1] * 100,
            "optimizer": run(partial(ByOptimizer, **OPTIMIZERS[target])).accuracy[-1] * 100,
        }
        found.append(
            {
                "data": "digits",
                "network": "-".join(map(str, (64, *hidden, 10))) + (" tanh" if hidden else ""),
                "steps": steps,
                "seeds": seeds,
                "test_accuracy": _percent(accuracy["clone"]),
                "baseline": f"torch.optim {target}: {_percent(accuracy['optimizer'])}",
            }
        )
    return found


def _percent(values: torch.Tensor) -> str:
    spread = f" ± {float(values.std()):.2f}" if len(values) > 1 else ""
    return f"{float(values.mean()):.2f}{spread} %"
