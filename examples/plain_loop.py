"""The shortest use: an ordinary PyTorch loop, in which what ``attach`` gives stands where the optimizer stood.

python examples/plain_loop.py                       # "backprop", and torch's SGD beside it, from the same weights
python examples/plain_loop.py --algorithm adaptive
"""

from lightning_vsml.algorithms.options import Parser

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_algorithm("backprop")
    parser.add_count("--hidden", 32, "units of the hidden layer")
    parser.add_count("--steps", 500)
    parser.add_count("--batch-size", 64)
    parser.add_seed()
    parser.add_run_dir("plain_loop")
    options = parser.parse_args()

import argparse
from copy import deepcopy

import torch
from common import save, until_stopped
from matplotlib.figure import Figure
from rich.progress import track
from torch import nn

from lightning_vsml import attach, datasets


def main(options: argparse.Namespace, parser: Parser) -> None:
    torch.manual_seed(options.seed)
    with parser.refusing(datasets.DatasetError):
        data = datasets.load("digits")
    parser.at_most("--batch-size", options.batch_size, len(data.x), "the training examples")
    x, x_test = ((part - data.x.mean()) / data.x.std() for part in (data.x, data.x_test))
    layers = nn.Flatten(), nn.Linear(64, options.hidden), nn.ReLU(), nn.Linear(options.hidden, 10)
    model = nn.Sequential(*layers)
    beside = deepcopy(model)

    with parser.refusing():
        synapses = attach(model, options.algorithm, lr=options.lr)
    sgd = torch.optim.SGD(beside.parameters(), lr=options.lr or 0.1)
    losses: dict[str, list[float]] = {synapses.algorithm.name: [], "torch.optim.SGD": []}
    with synapses, until_stopped():  # on leaving, the model is a plain module again, and has learned
        for _ in track(range(options.steps), "learning"):
            chosen = torch.randperm(len(x))[: options.batch_size]
            for net, learner, curve in zip((model, beside), (synapses, sgd), losses.values(), strict=True):
                loss = nn.functional.cross_entropy(net(x[chosen]), data.y[chosen])
                loss.backward()
                learner.step()
                learner.zero_grad()
                curve.append(loss.item())

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for (name, curve), net, line in zip(losses.items(), (model, beside), ("-", "--"), strict=True):
        right = (net(x_test).argmax(1) == data.y_test).float().mean()
        print(f"test accuracy on digits: {right:.2%} ({name}, {len(curve)} steps, seed {options.seed})")
        axis.plot(curve, line, label=f"{name}: {right:.1%} of the test images")
    axis.set(xlabel="step", ylabel="loss of the batch", yscale="log")
    axis.legend()
    save(figure, options.run_dir / "losses.png")


if __name__ == "__main__":
    main(options, parser)
