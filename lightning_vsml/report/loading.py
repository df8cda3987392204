"""Where batches come from: a module's own loader, a data module's, or one that was given."""

import copy
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from lightning_vsml.report.errors import ReportError, told


def loader_of(module: LightningModule, data: Any) -> tuple[Iterable[Any], LightningDataModule | None]:
    """Where batches come from.

    Raises:
        ReportError: there is no training data.
    """
    own = data is None
    source: Any = copy.deepcopy(module) if own else data
    if own or isinstance(source, LightningDataModule):
        base = LightningModule if own else LightningDataModule
        if inspect.unwrap(type(source).train_dataloader) is inspect.unwrap(base.train_dataloader):
            raise ReportError(
                f"{type(source).__name__} has no train_dataloader, so there is no data to train on. "
                + ("Give data: a LightningDataModule, a DataLoader or a list of batches." if own else "Define it.")
            )
        try:
            source.prepare_data()
            source.setup("fit")
            loader = source.train_dataloader()
        except Exception as error:
            raise ReportError(f"the data of {type(source).__name__} could not be loaded: {told(error)}") from error
        return _joined(loader), source if isinstance(source, LightningDataModule) else None
    if not isinstance(data, Iterable):
        raise ReportError(
            f"data should be a LightningDataModule, a DataLoader or a list of batches, got {type(data).__name__}."
        )
    return _joined(data), None


class _Several:
    """Several loaders as one, as Lightning joins them."""

    def __init__(self, loaders: Any) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, *_ in CombinedLoader(self.loaders, "max_size_cycle"))


def _joined(loader: Any) -> Iterable[Any]:
    if isinstance(loader, CombinedLoader):
        return _Several(loader.iterables)
    parts = list(loader.values()) if isinstance(loader, dict) else loader if isinstance(loader, list | tuple) else []
    return _Several(loader) if parts and all(isinstance(part, DataLoader) for part in parts) else loader
