"""A training loop of your own, by Lightning Fabric, in which a learning algorithm takes the optimizer's place.

python examples/fabric.py                          # the learning algorithm "backprop", run as LSTM states
python examples/fabric.py --algorithm adaptive     # another one
python examples/fabric.py --devices 2              # two processes learn as one
"""

from lightning_vsml.algorithms.options import Parser

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_algorithm("backprop")
    parser.add_count("--hidden", 32, "units of the hidden layer")
    parser.add_count("--epochs", 15)
    parser.add_count("--batch-size", 64, "of each process")
    parser.add_count("--devices", 1, "processes")
    parser.add_seed()
    options = parser.parse_args()

import argparse

import torch
from common import until_stopped
from lightning.fabric import Fabric
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import attach, checkpoints, datasets


def main(options: argparse.Namespace, parser: Parser) -> None:
    with parser.refusing(datasets.DatasetError):
        algorithm = checkpoints.load(options.algorithm)
        data = datasets.load("digits")
    share = len(data.x) // options.devices
    parser.at_most("--batch-size", options.batch_size, share, "a process's training examples")
    fabric = Fabric(accelerator="auto", devices=options.devices)
    fabric.launch()
    fabric.seed_everything(options.seed, verbose=False)

    mean, std = data.x.mean(), data.x.std()
    train = TensorDataset((data.x - mean) / std, data.y)
    loader = fabric.setup_dataloaders(DataLoader(train, options.batch_size, shuffle=True, drop_last=True))
    layers = nn.Flatten(), nn.Linear(data.x[0].numel(), options.hidden), nn.ReLU(), nn.Linear(options.hidden, 10)
    model = fabric.setup_module(nn.Sequential(*layers))

    with parser.refusing():
        synapses = attach(model, algorithm, lr=options.lr)  # after setup, so that it sees the processes
    with synapses, until_stopped():
        epochs = range(options.epochs)
        for epoch in track(epochs, "epochs", disable=not fabric.is_global_zero):
            for x, y in loader:
                loss = nn.functional.cross_entropy(model(x), y)
                fabric.backward(loss)
                synapses.step()
                synapses.zero_grad()
            fabric.print(f"epoch {epoch}: loss of the last batch {loss.item():.3f}")

    model.eval()
    with torch.no_grad():
        right = (model(fabric.to_device((data.x_test - mean) / std)).argmax(1).cpu() == data.y_test).float().mean()
    fabric.print(f"test accuracy on digits: {right:.2%} ({synapses.algorithm.name}, seed {options.seed})")
    fabric.print(f"{synapses.steps} steps of {options.batch_size * fabric.world_size}")


if __name__ == "__main__":
    main(options, parser)
