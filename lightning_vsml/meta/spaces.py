"""Search spaces by name."""

from collections.abc import Callable

from lightning_vsml import checkpoints
from lightning_vsml.algorithm import LearningAlgorithm
from lightning_vsml.meta.space import Coordinate, Place, Space
from lightning_vsml.meta.spare import modulated_backprop

SATURATED = 20.0  # gates biased beyond are open or shut for good


def entries(algorithm: LearningAlgorithm, step: float = 0.1) -> Space:
    """Every parameter of ``algorithm`` that is neither a structural zero nor a constant gate, each by itself.

    Args:
        algorithm: where the search starts.
        step: of the logarithm of an entry's size.
    """
    coordinates = []
    for name, tensor in algorithm.cell._asdict().items():
        matrix = tensor.unsqueeze(0) if name == "b" else tensor
        for row, column in matrix.nonzero().tolist():
            if abs(float(matrix[row, column])) < SATURATED or name != "b":
                coordinates.append(Coordinate(f"{name}[{row},{column}]", step, log={Place(name, row, column): 1.0}))
    return Space(algorithm, tuple(coordinates))


SPACES: dict[str, Callable[[], Space]] = {
    "modulated_backprop": modulated_backprop,
    "backprop": lambda: entries(checkpoints.load("backprop")),
    "cloned_backprop": lambda: entries(checkpoints.load("cloned_backprop")),
}
"""``modulated_backprop``: few tied coordinates, see :mod:`~lightning_vsml.meta.spare`; the others: every parameter."""
