"""A convolutional network with batch norm learns handwritten digits; the picture shows what it gets wrong.

python examples/cnn.py                               # by the algorithm "adaptive", which has no learning rate to choose
python examples/cnn.py --algorithm backprop --lr 0.1
"""

from lightning_vsml.algorithms.options import Parser

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_algorithm("adaptive")
    parser.add_count("--steps", 300)
    parser.add_count("--batch-size", 32)
    parser.add_count("--channels", 16, "of the first layer; the second has twice as many")
    parser.add_seed()
    parser.add_run_dir("cnn", each=True)
    options = parser.parse_args()

import argparse

import torch
from common import fit, save
from lightning.pytorch import LightningModule, seed_everything
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import VSMLLearner, datasets


class Network(LightningModule):
    """Two convolutions with batch norm and ReLU, and a linear layer on means over quarters of the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.BatchNorm2d(2 * channels), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * channels, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.log_dict({"loss": loss, "accuracy": (logits.argmax(1) == y).float().mean()}, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())  # whose place the learner takes


def mistakes(x: Tensor, y: Tensor, guess: Tensor) -> Figure:
    """Images with another class than their own, at most 20."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    wrong = (guess != y).nonzero().flatten()[:20].tolist()
    figure.suptitle(f"{int((guess != y).sum())} of {len(y)} test images are mistaken; the first {len(wrong)}")
    for place, axis in enumerate(figure.subplots(2, 10).flat):
        axis.axis("off")
        if place < len(wrong):
            axis.imshow(x[wrong[place], 0].numpy(), cmap="gray_r")
            axis.set_title(f"{int(y[wrong[place]])} as {int(guess[wrong[place]])}", fontsize=9)
    return figure


def main(options: argparse.Namespace, parser: Parser) -> None:
    seed_everything(options.seed, verbose=False)
    with parser.refusing(datasets.DatasetError):
        data = datasets.load("digits")
        learner = VSMLLearner(options.algorithm, lr=options.lr)
    parser.at_most("--batch-size", options.batch_size, len(data.x), "the training examples")
    train = TensorDataset((data.x - data.x.mean()) / data.x.std(), data.y)
    loader = DataLoader(train, options.batch_size, shuffle=True, drop_last=True)
    module = Network(options.channels)
    trainer = fit(module, loader, learner, steps=options.steps, run_dir=options.run_dir)

    module.cpu().eval()
    with torch.no_grad():
        guess = module((data.x_test - data.x.mean()) / data.x.std()).argmax(1)
    right = (guess == data.y_test).float().mean()
    print(f"test accuracy on digits: {right:.2%} ({learner.algorithm.name}, seed {options.seed})")
    save(mistakes(data.x_test, data.y_test, guess), options.run_dir / "mistakes.png")
    print(f"{trainer.global_step} steps of {options.batch_size}, curves in {options.run_dir}")


if __name__ == "__main__":
    main(options, parser)
