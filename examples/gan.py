"""A generator and a discriminator learn by manual optimization; the picture shows the samples beside the data.

python examples/gan.py                            # "backprop", at the rates of the two optimizers
python examples/gan.py --algorithm adaptive
"""

from lightning_vsml.algorithms.options import Parser, positive

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_algorithm("backprop")
    parser.add_count("--steps", 1500)
    parser.add_count("--batch-size", 128)
    parser.add_count("--hidden", 64, "units of the hidden layers")
    parser.add_argument("--noise", type=positive, default=0.1, help="of the data around their curve (default 0.1)")
    parser.add_seed()
    parser.add_run_dir("gan", each=True)
    options = parser.parse_args()

import argparse

import torch
from common import fit, save
from lightning.pytorch import LightningModule, seed_everything
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import VSMLLearner


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers = nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class GAN(LightningModule):
    """Both losses are of logits: softplus(-d) for what should pass as real, softplus(d) for what should not."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = mlp(2, hidden, 2), mlp(2, hidden, 1)

    def samples(self, count: int) -> Tensor:
        return self.generator(torch.randn(count, 2, device=self.device))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for_generator, for_discriminator = self.optimizers()
        real = batch[0]

        fake = self.samples(len(real)).detach()
        wrong = softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(fake)).mean()
        for_discriminator.zero_grad()
        self.manual_backward(wrong)
        for_discriminator.step()

        caught = softplus(-self.discriminator(self.samples(len(real)))).mean()
        for_generator.zero_grad()
        self.manual_backward(caught)
        for_generator.step()
        self.log_dict({"discriminator": wrong, "generator": caught}, prog_bar=True)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """They say which parameters learn in which step; the algorithm takes the place of their rule."""
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.generator, self.discriminator)]


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Between two samples (n, 2): 0 if, and only if, they are of one distribution, in the limit (Szekely 2002)."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def main(options: argparse.Namespace, parser: Parser) -> None:
    seed_everything(options.seed, verbose=False)
    x = torch.tensor(make_moons(8192, noise=options.noise, random_state=options.seed)[0]).float()
    x = (x - x.mean(0)) / x.std(0)
    parser.at_most("--batch-size", options.batch_size, len(x), "the data")
    with parser.refusing():
        learner = VSMLLearner(options.algorithm, lr=options.lr)
    module = GAN(options.hidden)
    with torch.no_grad():
        before = energy_distance(module.samples(2000), x[:2000])
    loader = DataLoader(TensorDataset(x), options.batch_size, shuffle=True, drop_last=True)
    fit(module, loader, learner, steps=2 * options.steps, run_dir=options.run_dir)  # two optimizers' steps each

    module.cpu().eval()
    with torch.no_grad():
        samples = module.samples(2000)
    figure = Figure(figsize=(8, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, points, title in zip(panels, (x, samples), ("data", "samples"), strict=True):
        axis.scatter(*points[:2000].T, s=2)
        axis.set_title(title)
    print(f"energy distance between samples and data: {energy_distance(samples, x[:2000]):.4f}, before {before:.4f}")
    print(f"({learner.algorithm.name}, seed {options.seed})")
    save(figure, options.run_dir / "samples.png")


if __name__ == "__main__":
    main(options, parser)
