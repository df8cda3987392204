"""Algorithms where they were not meta-trained: tiny networks of many kinds on random data with a linear teacher.

python benchmarks/elsewhere.py --algorithm backprop meta_mnist

Mean training loss over steps 0-40, 40-120 and 120-240, batches of 8, mean over seeds; each by VSMLLearner at the
algorithm's own learning rate.
"""

import argparse
import logging
import warnings
from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule, Trainer
from rich import get_console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import VSMLLearner

WINDOWS = ((0, 40), (40, 120), (120, 240))
CLASSES = 4


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), activation(), nn.Linear(12, 8), activation(), nn.Linear(8, CLASSES))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, CLASSES))


def cnn() -> nn.Module:
    layers = (nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(6, CLASSES))


def up_and_down() -> nn.Module:
    layers = (nn.Conv2d(2, 4, 3, 2, 1), nn.Tanh(), nn.ConvTranspose2d(4, 2, 2, 2), nn.Tanh(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(72, CLASSES))


def squared(logits: Tensor, y: Tensor) -> Tensor:
    return mse_loss(logits, one_hot(y, CLASSES).to(logits))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Tensor, Tensor], Tensor]]] = {
    "two hidden layers": (mlp, (6,), cross_entropy),
    "the same, squared error": (mlp, (6,), squared),
    "layer norm": (normed, (6,), cross_entropy),
    "convolutions, batch norm": (cnn, (2, 6, 6), cross_entropy),
    "transposed convolution": (up_and_down, (2, 6, 6), cross_entropy),
}


class Module(LightningModule):
    def __init__(self, net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(self.net(batch[0]), batch[1])
        self.losses.append(float(loss))
        return loss

    def configure_optimizers(self) -> None:
        return None


def fit(case: str, algorithm: str, seed: int) -> Tensor:
    build, shape, loss = CASES[case]
    torch.manual_seed(seed)
    x = torch.randn(640, *shape)
    y = (x.flatten(1) @ torch.randn(x[0].numel(), CLASSES)).argmax(1)
    module = Module(build(), loss)
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_steps=240, callbacks=[VSMLLearner(algorithm)], **dict.fromkeys(off, False))
    trainer.fit(module, DataLoader(TensorDataset(x, y), batch_size=8))
    return torch.tensor([sum(module.losses[first:last]) / (last - first) for first, last in WINDOWS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", nargs="+", default=["backprop", "meta_mnist"])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    table = Table("network", *options.algorithm, title="mean loss in steps 0-40, 40-120, 120-240")
    for case in CASES:
        means = [
            torch.stack([fit(case, algorithm, seed) for seed in range(options.seeds)]).mean(0)
            for algorithm in options.algorithm
        ]
        table.add_row(case, *(", ".join(f"{value:.2f}" for value in mean.tolist()) for mean in means))
    get_console().print(table)


if __name__ == "__main__":
    main()
