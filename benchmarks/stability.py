"""What each stability rule of the paper's appendix C buys: test accuracy of shallow networks with and without it.

python benchmarks/stability.py --algorithm cloned_backprop --dataset mnist --data-dir data
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning_vsml import LearningAlgorithm, Stability, checkpoints, datasets
from lightning_vsml.algorithms.options import Parser, count
from lightning_vsml.lab.curves import ByAlgorithm, learning_curves

CLIP, CLAMP = 4.0, 1.0  # the paper's values
RULES = {
    "clip ±4, clamp 1, averaged (the paper's)": (Stability(CLIP, CLAMP), True),
    "no clip": (Stability(None, CLAMP), True),
    "no clamp": (Stability(CLIP, None), True),
    "neither": (Stability(), True),
    "not averaged: a step for every sample": (Stability(CLIP, CLAMP), False),
}


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", nargs="+", default=["cloned_backprop"], help="names or paths")
    parser.add_argument("--dataset", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=count, default=1000, help="of 64 samples")
    parser.add_argument("--seeds", type=count, default=3)
    options = parser.parse_args()
    parser.without_effect(options.dataset == "digits", "with --dataset digits", "--data-dir")
    with parser.refusing(datasets.DatasetError):
        data = datasets.load(options.dataset, options.data_dir)
        for name in options.algorithm:
            checkpoints.load(name, kind=LearningAlgorithm)
    points = tuple(options.steps // n for n in (10, 3))
    print(f"test accuracy on {data.name} after {', '.join(map(str, points))}, {options.steps} steps of 64 samples")
    for name in options.algorithm:
        algorithm = checkpoints.load(name, kind=LearningAlgorithm)
        for rule, (stability, averaged) in RULES.items():
            many = 1 if averaged else 64  # as many samples, one by one; each moves the weights a 64th as far
            curves = learning_curves(
                partial(ByAlgorithm, algorithm=replace(algorithm, stability=stability), lr=algorithm.lr / many),
                data,
                steps=options.steps * many,
                batch=64 // many,
                seeds=range(options.seeds),
                at=[point * many for point in points],
            )
            spread = int(options.seeds > 1)
            cells = [f"{float(a.mean()):6.2%} ± {float(a.std(correction=spread)):.2%}" for a in curves.accuracy]
            print(f"{algorithm.name:18} {rule:42} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
