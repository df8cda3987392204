"""A LightningCLI in which the learner, and everything else, is a setting of a YAML file.

python examples/cli.py fit --config examples/cli.yaml
python examples/cli.py fit --config examples/cli.yaml --trainer.callbacks.algorithm backprop --trainer.max_steps 100
python examples/cli.py fit --help
"""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from rich import get_console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import datasets


class Digits(LightningDataModule):
    """scikit-learn's handwritten digits.

    Args:
        batch_size: examples of a step.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        data = datasets.load("digits")
        if not 1 <= batch_size <= len(data.x):
            raise ValueError(f"batch_size should be from 1 to {len(data.x)}, the training examples, got {batch_size}.")
        self.batch_size, mean, std = batch_size, data.x.mean(), data.x.std()
        self.train = TensorDataset((data.x - mean) / std, data.y)
        self.test = TensorDataset((data.x_test - mean) / std, data.y_test)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.test, 500)


class Classifier(LightningModule):
    """A perceptron; nothing in it knows who trains it.

    Args:
        hidden: units of the hidden layer.
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden should be at least 1, got {hidden}.")
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        logits = self.net(batch[0])
        right = (logits.argmax(1) == batch[1]).float().mean()
        self.log_dict({"val/accuracy": right, "val/loss": nn.functional.cross_entropy(logits, batch[1])}, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    cli = LightningCLI(Classifier, Digits)
    table = Table("figure", "value", title=f"after {cli.trainer.global_step} steps")
    for name, value in sorted(cli.trainer.callback_metrics.items()):
        table.add_row(name, f"{value:.4f}")
    get_console().print(table)


if __name__ == "__main__":
    main()
