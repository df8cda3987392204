"""A training loop of your own, by Lightning Fabric, in which a learning algorithm takes the optimizer's place.

python examples/fabric_loop.py                          # the learning algorithm "backprop", run as LSTM states
python examples/fabric_loop.py --algorithm meta_mnist   # another one
python examples/fabric_loop.py --devices 2              # two processes learn as one
"""

import argparse

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import attach, datasets


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="backprop", help="name or path of the learning algorithm")
    parser.add_argument("--lr", type=float, help="default: the algorithm's own")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64, help="of each process")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse()
    fabric = Fabric(accelerator="auto", devices=options.devices)
    fabric.launch()
    fabric.seed_everything(options.seed, verbose=False)

    data = datasets.load("digits")
    mean, std = data.x.mean(), data.x.std()
    train = TensorDataset((data.x - mean) / std, data.y)
    loader = fabric.setup_dataloaders(DataLoader(train, options.batch_size, shuffle=True, drop_last=True))
    layers = nn.Flatten(), nn.Linear(data.x[0].numel(), options.hidden), nn.ReLU(), nn.Linear(options.hidden, 10)
    model = fabric.setup_module(nn.Sequential(*layers))

    try:
        synapses = attach(model, options.algorithm, lr=options.lr)  # after setup, so that it sees the processes
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    with synapses:
        for epoch in range(options.epochs):
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
    main()
