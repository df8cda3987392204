"""One data set, network and batch size, and everything that learns there."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from baselines import GRIDS, NearestMean, nearest_neighbour
from comparison import Contender, Run, difference, first_step, highest, in_window, spread, windows
from rich import get_console
from rich.progress import track

from lightning_vsml import LearningAlgorithm
from lightning_vsml.lab.curves import ByAlgorithm, Learner, learning_curves
from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.networks import Conv, Network, Weights

RACE = 100  # Adam's test accuracy after so many steps is the goal of the race
TESTED = (*range(1, 11), *range(15, 2 * RACE + 1, 5))  # steps with a test
RACERS = 3  # learning rates that SGD and momentum race with: the best ones by their test after RACE steps

Row = dict[str, Any]


@dataclass
class Group:
    """What all its learners share: initial networks and batches follow from the seeds."""

    data: Images
    hidden: tuple[int | Conv, ...]
    batch: int
    steps: int
    seeds: Sequence[int]
    device: torch.device | str = "cpu"

    @property
    def network(self) -> str:
        hidden = (layer if isinstance(layer, int) else f"c{layer.channels}" for layer in self.hidden)
        return "-".join(map(str, (self.data.x[0].numel(), *hidden, int(self.data.y.max()) + 1)))

    def bar(self, learner: str, total: int | None) -> Callable[[Iterable[Any]], Iterable[Any]]:
        description = f"{self.data.name} {self.network}, batches of {self.batch}: {learner}"
        shown = get_console().is_terminal
        return partial(track, description=description, total=total, transient=True, disable=not shown)

    def run(
        self,
        name: str,
        learner: Callable[[Weights, Network], Learner],
        lr: float | None,
        at: Sequence[int] = TESTED,
        steps: int | None = None,
    ) -> Run:
        steps = steps or self.steps
        curves = learning_curves(
            learner,
            self.data,
            self.hidden,
            steps=steps,
            batch=self.batch,
            seeds=self.seeds,
            at=at,
            device=self.device,
            progress=self.bar(name if lr is None else f"{name}, lr {lr:g}", steps),
        )
        return Run(lr, curves.online, dict(zip(curves.steps, curves.accuracy, strict=True)))

    def optimize(self, name: str, lr: float, **settings: Any) -> Run:
        return self.run(name, partial(GRIDS[name].learner, lr=lr), lr, **settings)

    def learn(self, algorithm: LearningAlgorithm, **settings: Any) -> Run:
        return self.run(algorithm.name, partial(ByAlgorithm, algorithm=algorithm), algorithm.lr, **settings)

    def optimizers(self) -> Iterator[Contender]:
        """Each with its grid of learning rates."""
        for name, grid in GRIDS.items():
            yield Contender(name, "optimizer", tuple(self.optimize(name, lr, at=[RACE]) for lr in grid.rates))

    def algorithms(self, algorithms: Iterable[LearningAlgorithm]) -> Iterator[Contender]:
        """Each at its own learning rate."""
        for algorithm in algorithms:
            yield Contender(algorithm.name, algorithm.card["kind"], (self.learn(algorithm),))

    def memories(self, neighbour: bool = True) -> Iterator[Contender]:
        """Of a group without hidden layers: what only remembers examples."""
        yield Contender("nearest mean", "memory", (self.run("nearest mean", NearestMean, None),))
        if neighbour:
            share = {"steps": self.steps, "batch": self.batch, "seeds": self.seeds, "device": self.device}
            online = nearest_neighbour(self.data, **share, progress=self.bar("1-NN", None))
            yield Contender("1-NN", "memory", (Run(None, online, {}),))

    def race(self, contenders: Sequence[Contender]) -> list[Row]:
        """When each first reaches the mean test accuracy that Adam, tuned for that, has after RACE steps.

        Adam itself may get there before. SGD and momentum race with several learning rates; the first one counts.
        """
        [adam] = (contender for contender in contenders if contender.name == "Adam")
        target = float(highest(adam.runs, RACE)[0].tests[RACE].mean())
        rows = []
        for name, kind, runs in contenders:
            if kind == "optimizer":
                chosen = highest(runs, RACE)[: 1 if name == "Adam" else RACERS]
                runs = [self.optimize(name, run.lr, at=TESTED, steps=min(TESTED[-1], self.steps)) for run in chosen]
            firsts = [(first_step(run, target, TESTED[-1]), run.lr) for run in runs if run.tests]
            if firsts:
                step, lr = min((first for first in firsts if first[0]), default=(None, firsts[0][1]))
                rows.append({"learner": name, "kind": kind, "lr": lr, "target": target, "first_step": step})
        [own] = (row["first_step"] for row in rows if row["learner"] == "Adam")
        return [row | {"ratio_to_adam": row["first_step"] and row["first_step"] / own} for row in rows]

    def long(self, sgd: Contender, algorithms: Iterable[LearningAlgorithm], steps: int) -> list[Row]:
        """Test accuracy after many steps; of SGD by its best learning rate in the last window."""
        best = in_window(sgd, windows(self.steps)[-1]).run
        theirs = self.optimize("SGD", best.lr, at=[], steps=steps)
        runs = [("SGD", "optimizer", theirs)]
        runs += [(a.name, a.card["kind"], self.learn(a, at=[], steps=steps)) for a in algorithms]
        rows = []
        for name, kind, run in runs:
            test = run.tests[steps]
            mean, error = difference(test, theirs.tests[steps])
            row = {"learner": name, "kind": kind, "lr": run.lr, "steps": steps}
            row |= {"test_mean": float(test.mean()), "test_std": spread(test), "seeds": len(test)}
            rows.append(row | {"difference_to_SGD": mean, "standard_error_to_SGD": error})
        return rows
