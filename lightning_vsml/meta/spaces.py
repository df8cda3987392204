"""Search spaces by name."""

from collections.abc import Callable

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.meta.space import GATES, Coordinate, Place, Space

SATURATED = 20.0  # gates biased beyond are open or shut for good


def sizes(algorithm: LearningAlgorithm, step: float = 1.0) -> Space:
    """Every size that occurs among the parameters of ``algorithm``; entries of one size in one gate change together.

    So zeros stay zeros, signs stay signs, and pairs that have to cancel go on to: moved one by one, by a thousandth of
    their size, they would destroy what they do together. Gates that are open or shut for good stay, and so does the
    forward path: decoded weights go on to compute what the ticks do.

    Args:
        algorithm: where the search starts.
        step: of the logarithm of a size.
    """
    N, heard = algorithm.cell.units, {channel for tick in algorithm.protocol.forward for channel in tick.x}
    sending = set(algorithm.cell.P_f[:, 0].nonzero().flatten().tolist())

    def stays(name: str, row: int, column: int, value: float) -> bool:
        read_out = column // N == GATES["o"] and column % N in sending
        forward = name == "P_f" or (name == "V" and row in heard) or (name in ("W", "b") and read_out)
        return forward or (name == "b" and abs(value) > SATURATED)

    alike: dict[str, dict[Place, float]] = {}
    for name, tensor in algorithm.cell._asdict().items():
        matrix = tensor.unsqueeze(0) if name == "b" else tensor
        for row, column in matrix.nonzero().tolist():
            value, gate = float(matrix[row, column]), "" if name == "P_b" else f" {'ifgo'[column // N % 4]}"
            if not stays(name, row, column, value):
                alike.setdefault(f"{name}{gate} {abs(value):.4g}", {})[Place(name, row, column)] = 1.0
    return Space(algorithm, tuple(Coordinate(name, step, log=places) for name, places in alike.items()))


SPACES: dict[str, Callable[[], Space]] = {
    "backprop": lambda: sizes(checkpoints.load("backprop", kind=LearningAlgorithm)),
    "cloned_backprop": lambda: sizes(checkpoints.load("cloned_backprop", kind=LearningAlgorithm)),
}
"""The sizes of what is in a cell, by the name of its checkpoint. For other directions write a :class:`Space`."""
