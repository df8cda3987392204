"""Batches that every learner gets, in the same order."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lightning.fabric.utilities.apply_func import apply_to_collection
from torch import Tensor

from lightning_vsml.report.errors import ReportError

LARGEST = 2**30  # bytes of batches that are kept


class Batches:
    """The first batches of a loader, in its epochs; fetched once.

    Args:
        loader: gives batches, as often as it is iterated.
        steps: how many are asked for. Where they would take more memory than :data:`LARGEST`, fewer are kept, and come
            again.
        progress: called with the number of batches that are there.

    Attributes:
        kept: the batches.
        epoch: how many are an epoch of a run.
        whole: whether the loader's own epoch came to its end; if not, the run is one epoch.
        steps: how many :class:`Epochs` give, all together.

    Raises:
        ReportError: it gives none.
    """

    def __init__(self, loader: Iterable[Any], steps: int, progress: Callable[[int], None] = lambda _: None) -> None:
        self.kept: list[Any] = []
        self.steps, self.epoch, size = steps, 0, 0
        while len(self.kept) < steps and size < LARGEST:
            before = len(self.kept)
            for batch in loader:
                self.kept.append(batch)
                size += size_of(batch)
                progress(len(self.kept))
                if len(self.kept) == steps or size >= LARGEST:
                    break
            else:
                self.epoch = self.epoch or len(self.kept)
            if len(self.kept) == before:
                raise ReportError(
                    f"expected batches to train on, but the data gave {'no more' if before else 'none'} "
                    f"({type(loader).__name__}). Give a DataLoader or a list of batches, which can be iterated again."
                )
        self.whole = self.epoch > 0
        self.epoch = self.epoch or steps


class Epochs:
    """:class:`Batches` as a run's data loader: as many epochs as they are.

    Lightning tells samplers the epoch; this is its own sampler, so that it knows.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches, self.number = batches, 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Which comes next."""
        self.number = epoch

    def __len__(self) -> int:
        return self.batches.epoch

    def __iter__(self) -> Iterator[Any]:
        first = self.number * self.batches.epoch
        for step in range(first, min(first + self.batches.epoch, self.batches.steps)):
            yield copy.deepcopy(self.batches.kept[step % len(self.batches.kept)])  # modules may change it in place


def size_of(batch: Any) -> int:
    """Bytes of the tensors in it."""
    sizes: list[int] = []
    apply_to_collection(batch, Tensor, lambda tensor: sizes.append(tensor.nbytes))
    return sum(sizes)
