"""Local learning rules at what they are known for, on the real MNIST and on random patterns.

python benchmarks/rules.py

Writes rows ``experiment,figure,value`` to ``logs/rules/rules.csv``. Learning rates of classifiers are chosen by seed 0
on 6000 of the training images; accuracies are of the test images, over seeds.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from lightning_vsml import Algorithm, attach, checkpoints, datasets
from lightning_vsml.algorithms.options import Parser, Refused, count, folder
from lightning_vsml.algorithms.rules import Plasticity

RATES = {
    "feedback_alignment": (0.03, 0.1, 0.3),
    "direct_feedback_alignment": (0.03, 0.1, 0.3),
    "three_factor": (0.003, 0.01, 0.03),
    "backprop": (0.03, 0.1, 0.3),
}
REWARD_RATES = (0.001, 0.003, 0.01)
VALIDATION, BATCH, HIDDEN = 6000, 64, 32
PATTERNS, BITS = 20, 400

Row = tuple[str, str, float]


class Split(NamedTuple):
    """Pixels and labels."""

    x: Tensor
    y: Tensor


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds MNIST/raw/*.gz, or gets them")
    parser.add_argument("--steps", type=count, default=4000, help="of classifiers")
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--run-dir", type=folder, default=Path("logs") / "rules")
    return parser.parse_args()


def main() -> None:
    options = parse()
    try:
        data = datasets.load("mnist", options.data_dir)
    except datasets.DatasetError as error:
        raise Refused(Path(__file__).name, str(error)) from error
    options.run_dir.mkdir(parents=True, exist_ok=True)
    with open(options.run_dir / "rules.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("experiment", "figure", "value"))
        for row in rows(data, options.steps, options.seeds):
            writer.writerow(row)
            print(*row[:2], f"{row[2]:.4f}", flush=True)


def rows(data: datasets.Images, steps: int, seeds: int) -> Iterator[Row]:
    """Everything, as it comes."""
    pixels, component = data.x.flatten(1), first_component(data.x.flatten(1))
    for name in ("oja", "hebb"):
        yield name, "cosine to the first principal component", cosine(checkpoints.load(name), pixels, component)
    shift, scale = pixels.mean(), pixels.std()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    x, y = ((pixels - shift) / scale)[order], data.y[order]
    train, validation = Split(x[VALIDATION:], y[VALIDATION:]), Split(x[:VALIDATION], y[:VALIDATION])
    test = Split((data.x_test.flatten(1) - shift) / scale, data.y_test)
    for name, rates in RATES.items():
        algorithm = checkpoints.load(name)
        scores = {rate: accuracy(learned(algorithm, rate, train, steps, 0)[0], validation) for rate in rates}
        rate = max(scores, key=lambda each: scores[each])
        yield name, "lr", rate
        runs = [learned(algorithm, rate, train, steps, seed) for seed in range(seeds)]
        accuracies = torch.tensor([accuracy(net, test) for net, _ in runs])
        yield name, "test accuracy, mean", float(accuracies.mean())
        yield name, "test accuracy, least", float(accuracies.min())
        if name == "feedback_alignment":
            yield name, "angle of the last layer's weights to B, first", runs[0][1][0]
            yield name, "angle of the last layer's weights to B, last", runs[0][1][-1]
    rates = {rate: bandit(rate, train, validation, steps, 0)[1] for rate in REWARD_RATES}
    rate = max(rates, key=lambda each: rates[each])
    yield "reward", "lr", rate
    played = [bandit(rate, train, test, steps, seed) for seed in range(seeds)]
    yield "reward", "share of draws that pay, last 500 batches", sum(paid for paid, _ in played) / seeds
    yield "reward", "test accuracy, mean", sum(score for _, score in played) / seeds
    yield "plasticity", "missing bits that are recalled", recalled()
    yield "plasticity", "missing bits that are recalled without a trace", recalled(alpha=0.0)


def learned(algorithm: Algorithm, lr: float, train: Split, steps: int, seed: int) -> tuple[nn.Module, list[float]]:
    """A classifier, and the angle of its last layer's weights to B, where it has one, in degrees at each step."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(train.x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
    angles = []
    with attach(net, algorithm, lr=lr) as synapses:
        for _ in range(steps):
            chosen = torch.randint(len(train.x), (BATCH,))
            cross_entropy(net(train.x[chosen]), train.y[chosen]).backward()
            synapses.step()
            synapses.zero_grad()
            planes = synapses.changes.states.items()["2"]
            if len(planes) > 1:
                angles.append(math.degrees(math.acos(float(cosine_similarity(*planes.flatten(1), dim=0)))))
    return net, angles


def bandit(lr: float, train: Split, split: Split, steps: int, seed: int) -> tuple[float, float]:
    """A digit is seen, one of ten arms is drawn, and whether it was the digit's is all that is told: how many of the
    last draws paid, and the accuracy of a network without noise.
    """
    torch.manual_seed(seed)
    net, expected, paid = nn.Linear(train.x.shape[1], 10), 0.1, []
    with attach(net, "reward", lr=lr) as synapses:
        for _ in range(steps):
            chosen = torch.randint(len(train.x), (BATCH,))
            y = net(train.x[chosen])
            reward = (y.argmax(1) == train.y[chosen]).float()
            (-((reward - expected) * y.mean(1)).mean()).backward()
            synapses.step()
            expected += 0.05 * (float(reward.mean()) - expected)
            paid.append(float(reward.mean()))
    return sum(paid[-500:]) / len(paid[-500:]), accuracy(net, split)


@torch.no_grad()
def accuracy(net: nn.Module, split: Split) -> float:
    """Share of labels that are right."""
    return float((net(split.x).argmax(1) == split.y).float().mean())


def first_component(x: Tensor) -> Tensor:
    """Direction in which centred inputs vary most."""
    centred = (x - x.mean(0)).double()
    return torch.linalg.eigh(centred.T @ centred)[1][:, -1].to(x)


def cosine(algorithm: Algorithm, x: Tensor, component: Tensor, steps: int = 1500) -> float:
    """Of a neuron's weights to a direction, up to its sign, after learning from centred inputs."""
    torch.manual_seed(0)
    neuron, x = nn.Linear(x.shape[1], 1, bias=False), x - x.mean(0)
    with attach(neuron, algorithm) as synapses:
        for _ in range(steps):
            neuron(x[torch.randint(len(x), (BATCH,))]).sum().backward()  # a loss that depends on the output
            synapses.step()
            synapses.zero_grad()
    return float(cosine_similarity(neuron.weight.detach()[0], component, dim=0).abs())


def recalled(alpha: float = Plasticity.alpha) -> float:
    """Random patterns are shown to an identity with traces; of each, half is given, and the other half asked for.

    A bit of which the layer says nothing counts as a half.
    """
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(2, (PATTERNS, BITS), generator=generator) * 2.0 - 1
    given = torch.arange(BITS) < BITS // 2
    layer = nn.Linear(BITS, BITS, bias=False)
    nn.init.eye_(layer.weight)
    with attach(layer, replace(Plasticity(), alpha=alpha)) as synapses:
        for _ in range(100):
            layer(patterns).sum().backward()
            synapses.step()
            synapses.zero_grad()
        said = layer(patterns * given).detach()[:, ~given].sign()
    return float((1 + said * patterns[:, ~given]).mean() / 2)


if __name__ == "__main__":
    main()
