"""Algorithms where they were not meta-trained: small networks of many kinds, by VSMLLearner and by torch's optimizers.

python benchmarks/elsewhere.py                             # tiny ones on random data with a linear teacher
python benchmarks/elsewhere.py --dataset fashion_mnist     # with norms and convolutions, on 14 x 14 images

Mean over steps 0-40, 40-120 and 120-240 and over seeds, of the loss of each batch (random data) or of the accuracy
(images) before learning from it. Algorithms run as they are; of SGD and Adam the best of six learning rates counts, for
each figure.
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from rich import get_console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, mse_loss, one_hot
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import LearningAlgorithm, VSMLLearner, checkpoints, datasets
from lightning_vsml.algorithms.options import Parser, Refused, count

WINDOWS = ((0, 40), (40, 120), (120, 240))
STEPS = WINDOWS[-1][1]
RATES = {"SGD": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0), "Adam": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)}
CLASSES = 4  # of random data
Loss = Callable[[Tensor, Tensor], Tensor]


def squared(logits: Tensor, y: Tensor) -> Tensor:
    return mse_loss(logits, one_hot(y, CLASSES).to(logits))


class Case(NamedTuple):
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | None  # of random inputs; None: images
    loss: Loss = cross_entropy


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, CLASSES))


def cnn() -> nn.Module:
    layers = (nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(6, CLASSES))


def up_and_down() -> nn.Module:
    layers = (nn.Conv2d(2, 4, 3, 2, 1), nn.Tanh(), nn.ConvTranspose2d(4, 2, 2, 2), nn.Tanh(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(72, CLASSES))


def classifier(norm: Callable[[int], nn.Module]) -> nn.Module:
    """Of images, 14 x 14."""
    layers = [nn.Conv2d(1, 8, 3, 2, 1), norm(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), norm(16), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))


CASES = {
    "two hidden layers": Case(mlp, (6,)),
    "the same, squared error": Case(mlp, (6,), squared),
    "layer norm": Case(normed, (6,)),
    "convolutions, batch norm": Case(cnn, (2, 6, 6)),
    "transposed convolution": Case(up_and_down, (2, 6, 6)),
    "images: layer norm": Case(perceptron, None),
    "images: convolutions": Case(lambda: classifier(lambda channels: nn.Identity()), None),
    "images: convolutions, batch norm": Case(lambda: classifier(nn.BatchNorm2d), None),
    "images: convolutions, group norm": Case(lambda: classifier(lambda channels: nn.GroupNorm(4, channels)), None),
}


class Module(LightningModule):
    def __init__(self, net: nn.Module, loss: Loss, optimizer: str | None, lr: float | None) -> None:
        super().__init__()
        self.net, self.loss, self.optimizer, self.lr = net, loss, optimizer, lr
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self.net(x)
        loss = self.loss(logits, y)
        self.losses.append(float(loss))
        self.accuracies.append(float((logits.argmax(1) == y).float().mean()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        return None if self.optimizer is None else getattr(torch.optim, self.optimizer)(self.parameters(), lr=self.lr)


def batches(case: Case, images: datasets.Images | None, batch: int) -> DataLoader:
    """By torch's seed."""
    if case.shape is None:
        assert images is not None
        chosen = torch.randperm(len(images.x))[: STEPS * batch]
        return DataLoader(TensorDataset(adaptive_avg_pool2d(images.x[chosen], 14), images.y[chosen]), batch_size=batch)
    x = torch.randn(80 * batch, *case.shape)
    y = (x.flatten(1) @ torch.randn(x[0].numel(), CLASSES)).argmax(1)
    return DataLoader(TensorDataset(x, y), batch_size=batch)


def fit(case: Case, images: datasets.Images | None, learner: str, lr: float | None, seed: int, batch: int) -> Tensor:
    """Means over the windows: of the loss, or of the accuracy where there are images."""
    torch.manual_seed(seed)
    loader = batches(case, images, batch)
    optimizer = learner if learner in RATES else None
    module = Module(case.build(), case.loss, optimizer, lr)
    callbacks = [] if optimizer else [VSMLLearner(learner)]
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_steps=STEPS, callbacks=callbacks, **dict.fromkeys(off, False))  # type: ignore[arg-type]
    trainer.fit(module, loader)
    values = torch.tensor(module.losses if images is None else module.accuracies)
    return torch.stack([values[first:last].mean() for first, last in WINDOWS])


def figures(case: Case, images: datasets.Images | None, learner: str, seeds: int, batch: int) -> Tensor:
    """Of each window; for optimizers by the best learning rate."""
    rates = RATES.get(learner, (None,))
    runs = [torch.stack([fit(case, images, learner, lr, seed, batch) for seed in range(seeds)]).mean(0) for lr in rates]
    every = torch.stack(runs)
    return every.nan_to_num(torch.inf).amin(0) if images is None else every.amax(0)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", nargs="+", default=["backprop", "adaptive"])
    parser.add_argument("--dataset", choices=datasets.NAMES, help="images instead of random data")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds MNIST/raw/*.gz, or gets them")
    parser.add_argument("--batch-size", type=count, default=8)
    parser.add_argument("--seeds", type=count, default=5)
    options = parser.parse_args()
    parser.without_effect(options.dataset is None, "without --dataset", "--data-dir")
    parser.without_effect(options.dataset == "digits", "with --dataset digits", "--data-dir")
    try:
        for name in options.algorithm:
            checkpoints.load(name, kind=LearningAlgorithm)
        images = datasets.load(options.dataset, options.data_dir) if options.dataset else None
    except (ValueError, datasets.DatasetError) as error:
        raise Refused(Path(__file__).name, str(error)) from error
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    learners = [*(f"{name}, tuned" for name in RATES), *options.algorithm]
    what, form = ("mean loss", "{:.2f}") if images is None else (f"accuracy on {images.name}, %,", "{:.1%}")
    table = Table("network", *learners, title=f"{what} in steps 0-40, 40-120, 120-240, batches of {options.batch_size}")
    cases = {name: case for name, case in CASES.items() if (case.shape is None) == (images is not None)}
    for name, case in track(cases.items(), transient=True, disable=not get_console().is_terminal):
        means = [
            figures(case, images, learner, options.seeds, options.batch_size)
            for learner in (*RATES, *options.algorithm)
        ]
        table.add_row(name, *(", ".join(form.format(value).rstrip("%") for value in mean.tolist()) for mean in means))
    get_console().print(table)


if __name__ == "__main__":
    main()
