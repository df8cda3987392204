"""How coordinates stand on held-out tasks, in numbers for a card."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_vsml.meta.wide.objective import EDGES


def standing(cells: Sequence[Tensor]) -> dict[str, Any]:
    """Of logarithms of loss over another's loss: less than 0 is ahead.

    Args:
        cells: of each task in each window, ``(windows,)``.

    Returns:
        The share of cells ahead; and by window the mean logarithm, the share ahead and the largest logarithm.
    """
    by_window: dict[str, Any] = {}
    for place in range(max(map(len, cells))):
        logs = [float(cell[place]) for cell in cells if place < len(cell)]
        by_window[f"from step {EDGES[place]}"] = {
            "ahead": _share(logs),
            "mean log ratio": round(sum(logs) / len(logs), 4),
            "largest log ratio": round(max(logs), 4),
        }
    return {"tasks": len(cells), "ahead": _share([float(log) for cell in cells for log in cell]), **by_window}


def _share(logs: Sequence[float]) -> float:
    return round(sum(log < 0 for log in logs) / len(logs), 4)
