"""An ordinary module and its data, to try the report on."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml.lab import datasets


class Digits(LightningModule):
    """A perceptron 64-32-10 that tells scikit-learn's handwritten digits apart; nothing in it knows who trains it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self.net(x)
        self.log("accuracy", (logits.argmax(1) == y).float().mean())
        return nn.functional.cross_entropy(logits, y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def digits() -> tuple[Digits, DataLoader]:
    """A module with its initial weights, and batches of 32 images.

    Raises:
        DatasetError: scikit-learn is not there.
    """
    data = datasets.load("digits")
    return Digits(), DataLoader(TensorDataset(data.x, data.y), batch_size=32, shuffle=True)
