"""How close learning by matrix products comes to learning by exact ticks, and to SGD.

    python benchmarks/closeness.py curves     # an algorithm by products and by exact ticks: online accuracy, 8 seeds
    python benchmarks/closeness.py rule       # backprop's constants: one step against the exact rule, over x, e, w
    python benchmarks/closeness.py networks   # backprop against SGD on a residual CNN and a small ResNet, 100 steps

Differences are relative Frobenius norms; of networks the distance to SGD over the distance that SGD travelled, of the
worst parameter.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from lightning_vsml import LearningAlgorithm, attach, checkpoints, datasets, programs
from lightning_vsml.algorithms.options import Parser, count
from lightning_vsml.lab.curves import ByAlgorithm, learning_curves
from lightning_vsml.ticks.sites import Rows


def curves(name: str, data_dir: str, steps: int, seeds: int, hidden: list[int]) -> None:
    """Online accuracy by products and by exact ticks, from the same weights and batches."""
    for dataset in ("mnist", "fashion_mnist"):
        data = datasets.load(dataset, data_dir)
        online = {}
        for ticks in ("products", "native"):
            algorithm = checkpoints.load(name, kind=LearningAlgorithm).on(ticks)
            run = partial(learning_curves, data=data, hidden=hidden, steps=steps, batch=16, seeds=range(seeds))
            online[ticks] = run(partial(ByAlgorithm, algorithm=algorithm)).online * 100
            exact, _ = algorithm.exact_calls()
            for first, last in ((0, 50), (50, 200), (200, 1000)):
                mean = float(online[ticks][first:last].mean())
                print(f"{dataset} {ticks} steps {first}-{last}: {mean:.2f} %", flush=True)
            if ticks == "products":
                print(f"exact ticks in {exact} of {4 * steps if hidden else 2 * steps} calls")
        difference = online["products"].mean(0) - online["native"].mean(0)
        print(
            f"{dataset}: products - native, mean over {steps} steps: {difference.mean():+.3f} points, by seed", end=" "
        )
        print(" ".join(f"{value:+.3f}" for value in difference.tolist()), flush=True)


def rule() -> None:
    """One step of backprop by its constants."""
    cases = ((1, 1, 0.1), (256, 1, 1), (1, 256, 1), (256, 256, 1), (4, 4, 1e4), (1, 1e-3, 1e-2), (2048, 2048, 1))
    print("y / dw / message; x, e clipped to 3 standard deviations, the largest |x|, |e|, std of w as headed")
    print("| k = 1/eps | ticks | " + " | ".join(f"{x:g}, {e:g}, {w:g}" for x, e, w in cases) + " |\n|" + "---|" * 9)
    for exponent in (8, 12, 16, 20, 24):
        for ticks, dtype in (("reference", torch.float64), ("products", torch.float32)):
            k = 2.0**exponent
            algorithm = programs.backprop(
                k=k, eps=1 / k, scale=2.0 ** (exponent + 8), zeta=2.0 ** -(exponent + 12), dtype=dtype
            ).on(ticks)
            found = []
            for x_size, e_size, w_size in cases:
                torch.manual_seed(0)
                W = torch.randn(1, 65, 32).to(dtype) * w_size
                x, e = ((torch.randn(16, 1, n).clamp(-3, 3) / 3).to(dtype) for n in (64, 32))
                x, e = x * (3 if x_size == 1 else x_size), e * (3 if e_size == 1 else e_size)
                state, site = algorithm.encode(W), Rows(x, (1, 65, 32), True)
                y = algorithm.forward(state, site)[:, 0]
                change, message = algorithm.learn(state, site, e, 16)
                X = nn.functional.pad(x, (0, 1), value=1.0).double()[:, 0]
                E, w = e.double()[:, 0], W.double()[0]
                wanted = (X @ w, algorithm.lr / 16 * X.T @ E, E @ w[:64].T)
                pairs = zip((y, change.planes[0, 0], message[:, 0]), wanted, strict=True)
                found.append("/".join(f"{float((a - b).norm() / b.norm()):.0e}" for a, b in pairs))
            print(f"| 2^{exponent} | {ticks} {str(dtype)[6:]} | " + " | ".join(found) + " |")


class Residual(nn.Module):
    """Convolutions with stride and groups, a shared one, GELU, tanh, SiLU, average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.grouped, self.shared = nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.gelu(self.stem(x))
        x = x + torch.tanh(self.grouped(x))
        x = x + nn.functional.silu(self.shared(x))
        x = x + torch.tanh(self.shared(x))
        return self.head(nn.functional.avg_pool2d(x, 2).mean((2, 3)))


class Block(nn.Module):
    """Of a ResNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.body(x), inplace=True)


def resnet() -> nn.Module:
    """A small one."""
    stem = (nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    return nn.Sequential(
        *stem, Block(8), nn.MaxPool2d(2), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


def networks(steps: int) -> None:
    """Training on random images, by SGD, by SGD from weights that differ by 1e-7, and by backprop."""
    for name, build in (("residual CNN", Residual), ("ResNet", resnet)):
        torch.manual_seed(0)
        start: nn.Module = build()
        data = [(torch.randn(32, 3, 16, 16), torch.randint(0, 10, (32,))) for _ in range(steps)]
        ends = {"SGD": _by_sgd(copy.deepcopy(start), data)}
        for seed in range(5):
            torch.manual_seed(seed)
            perturbed = copy.deepcopy(start)
            with torch.no_grad():
                for parameter in perturbed.parameters():
                    parameter.mul_(1 + 1e-7 * torch.randn_like(parameter))
            ends[f"SGD from weights times 1 + 1e-7 N(0, 1), seed {seed}"] = _by_sgd(perturbed, data)
        ends["SGD in float64"] = _by_sgd(copy.deepcopy(start).double(), data, torch.float64)
        ends["backprop"] = _by_backprop(copy.deepcopy(start), data)
        for other in list(ends)[1:]:
            distance = _distance(ends[other], ends["SGD"], start)
            print(f"{name}, {steps} steps: {other}: {distance:.1e} of the distance travelled")


Data = list[tuple[Tensor, Tensor]]


def _by_sgd(model: nn.Module, data: Data, dtype: torch.dtype = torch.float32) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x.to(dtype)), y).backward()
        optimizer.step()
    return model


def _by_backprop(model: nn.Module, data: Data) -> nn.Module:
    with attach(model, lr=0.05) as synapses:
        for x, y in data:
            nn.functional.cross_entropy(model(x), y).backward()
            synapses.step()
    return model


def _distance(ours: nn.Module, theirs: nn.Module, start: nn.Module) -> float:
    triples = zip(ours.parameters(), theirs.parameters(), start.parameters(), strict=True)
    return max(((a - b).norm() / (b - c).norm()).item() for a, b, c in triples)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("what", choices=["curves", "rule", "networks"])
    parser.add_argument("--algorithm", default="cloned_backprop", help="of curves (default cloned_backprop)")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--steps", type=count, help="of learning (default 1000, of networks 100)")
    parser.add_argument("--seeds", type=count, default=8)
    parser.add_argument("--hidden", type=count, nargs="*", default=[32])
    options = parser.parse_args()
    parser.without_effect(options.what == "rule", "on rule", "--steps")
    curves_alone = ("--algorithm", "--data-dir", "--seeds", "--hidden")
    parser.without_effect(options.what != "curves", f"on {options.what}", *curves_alone)
    runs: dict[str, Callable[[], None]] = {
        "curves": lambda: curves(
            options.algorithm, options.data_dir, options.steps or 1000, options.seeds, options.hidden
        ),
        "rule": rule,
        "networks": lambda: networks(options.steps or 100),
    }
    runs[options.what]()


if __name__ == "__main__":
    main()
