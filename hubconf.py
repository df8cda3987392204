"""Entry points of torch.hub."""

from typing import Any

dependencies = ["lightning", "rich", "safetensors", "tensorboard", "torch", "torchmetrics"]


def vsml_algorithm(name: str = "backprop") -> Any:
    """A learning algorithm, for ``VSMLLearner(algorithm)`` or ``attach(model, algorithm)``.

    Args:
        name: what ``lightning_vsml.checkpoints.load`` takes: the name of a shipped one, a path, an ``hf://`` address.
    """
    from lightning_vsml import checkpoints  # torch.hub imports this file before it names dependencies that are missing

    return checkpoints.load(name)
