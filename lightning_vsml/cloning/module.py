"""Learning algorithm cloning as a LightningModule (Kirsch & Schmidhuber, arXiv 2012.14905, section 4.1)."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.cloning import drift
from lightning_vsml.cloning.errors import Errors, compare, outputs
from lightning_vsml.cloning.pool import Pool, born, feedback, inputs, renew
from lightning_vsml.cloning.pruning import Pruning
from lightning_vsml.cloning.recipes import Recipe
from lightning_vsml.cloning.targets import TARGETS
from lightning_vsml.ticks import State

FAR = 4.0  # standard deviations of the widest worlds; beyond, nobody knows what a clone does


class CloningModule(LightningModule):
    """Trains a cell by gradient descent on random data until it does what a learning rule does.

    Every iteration, a pool of living grids takes one learning step; the cell's outputs, changes and messages are
    compared with the rule's, from where the grids are. All that happened is in the module's state and the number of
    iterations, so that a run that was stopped resumes to the same end.

    Args:
        recipe: what is cloned, and how.
        every: iterations of an epoch, after which drift is measured and a checkpoint may be saved.
        drift_steps: after how many learning steps drift is measured.

    Raises:
        ValueError: ``every`` is less than 1.
    """

    def __init__(self, recipe: Recipe, every: int = 1000, drift_steps: tuple[int, ...] = drift.STEPS) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every should be at least 1 iteration, got {every}.")
        self.recipe, self.every, self.drift_steps = recipe, min(every, recipe.iterations), drift_steps
        self.target = TARGETS[recipe.target]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.clone = recipe.build()
        self.pruning = Pruning(self.clone, recipe.prune) if recipe.prune else None
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))
        self.register_buffer("skipped", torch.zeros((), dtype=torch.long))
        self.iteration: Tensor
        self.skipped: Tensor
        for name, tensor in self._born(0)._asdict().items():
            self.register_buffer(f"pool_{name}", tensor)

    @property
    def epochs(self) -> int:
        """What to give the Trainer as ``max_epochs``."""
        return math.ceil(self.recipe.iterations / self.every)

    def algorithm(self, name: str = "clone") -> LearningAlgorithm:
        """What has been learned so far, as a learning algorithm."""
        worlds = self.recipe.worlds
        reach = Reach(*(FAR * largest for _, largest in (worlds.x_std, worlds.e_std)))
        return self.clone.algorithm(name, self.recipe.stability, reach)

    def train_dataloader(self) -> DataLoader:
        """Numbers of iterations: the random data are made where they are used."""
        return DataLoader(range(self.every), batch_size=None)  # type: ignore[arg-type]  # any sequence will do

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One step of the pool; its loss is the sum of the errors, each as Smooth L1."""
        number = int(self.iteration)
        self.iteration += 1
        generator = self._generator(2 * number)
        pool = self._renewed(number, generator)
        errors, state = self._compare(pool, generator)
        first, *others = (smooth_l1_loss(error, torch.zeros_like(error)) for error in errors)
        loss = sum(others, start=first)
        if self.recipe.tidy:
            astray = state.c - self.clone.encode(self.clone.decode(state.c)).c
            loss = loss + self.recipe.tidy * 20 * smooth_l1_loss(astray, torch.zeros_like(astray), beta=0.05)
        self._keep(pool, state)
        with torch.no_grad():
            logged = {f"error/{name}": error.square().mean().sqrt() for name, error in errors._asdict().items()}
        self.log_dict({**logged, "skipped": self.skipped.float()}, on_step=False, on_epoch=True, batch_size=1)
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=1)
        return loss

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """To norm 1; a gradient that is not finite is dropped and counted."""
        if not clip_grad_norm_(self.clone.parameters(), 1.0).isfinite():
            optimizer.zero_grad()
            self.skipped += 1

    def on_train_batch_end(self, *_: Any) -> None:
        """Structural zeros, between a quarter and two thirds of the way."""
        if self.pruning is not None:
            number = int(self.iteration)
            generator = self._generator(2 * number + 1)
            pool = Pool(*(getattr(self, f"pool_{name}") for name in Pool._fields))
            self.pruning.step(number, self.recipe.iterations, lambda: self._compare(pool, generator)[0], generator)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The recipe travels along."""
        checkpoint["recipe"] = self.recipe.plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run resumes with the recipe it was started with.

        Raises:
            MisconfigurationException: names what differs.
        """
        theirs, ours = checkpoint["recipe"], self.recipe.plain()
        changed = [what for what in ours if theirs.get(what) != ours[what]]
        if differ := [f"{what} {theirs.get(what)!r} (now {ours[what]!r})" for what in changed]:
            raise MisconfigurationException(f"the checkpoint was made with {', '.join(differ)}. Resume with the same.")

    def on_train_epoch_end(self) -> None:
        """How far learning by the clone leads from learning by the rule."""
        for what, value in drift.measure(self.algorithm(), self.target, self.drift_steps).items():
            self.log(what, value, prog_bar=what == "drift/100")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam, with a short warm-up and a cosine."""
        optimizer = torch.optim.Adam(self.clone.parameters(), lr=self.recipe.lr)
        total = self.recipe.iterations

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / 100) * (1e-3 + 0.4995 * (1 + math.cos(math.pi * min(1.0, step / total))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _compare(self, pool: Pool, generator: torch.Generator) -> tuple[Errors, State]:
        x = inputs(pool, self.recipe.worlds, generator)
        with torch.no_grad():
            y = outputs(self.target, self.clone.decode(pool.c), x)
            e = feedback(pool, x, y, generator)
        return compare(self.clone, self.target, pool.state, x, e)

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator(self.iteration.device).manual_seed(self.recipe.seed * 2**40 + number)

    def _born(self, number: int) -> Pool:
        return born(self.recipe.worlds, self.clone, len(self.target.memories), self._generator(2 * number + 1))

    def _renewed(self, number: int, generator: torch.Generator) -> Pool:
        """The pool of this iteration; those die whose time has come or whose weights have left the worlds."""
        pool = Pool(*(getattr(self, f"pool_{name}") for name in Pool._fields))
        with torch.no_grad():
            memories = torch.stack(self.clone.decode(pool.c))
        lost = ~(memories[0].abs().amax((1, 2)) < 4 * self.recipe.worlds.w_std[1])
        young = 5.0 if number < 500 else self.recipe.worlds.lifetime  # at first, living on leads nowhere
        chance = torch.rand(lost.shape, generator=generator, device=lost.device)
        dead = lost | (chance < 1 / min(young, self.recipe.worlds.lifetime))
        return renew(pool, self._born(number), dead)

    def _keep(self, pool: Pool, state: State) -> None:
        with torch.no_grad():
            before, after = (torch.stack(tuple(parts)) for parts in (pool.state, state))
            h, c = self.recipe.stability.settle(before, after.detach() - before, (1.0, 1.0))
        for name, tensor in pool._replace(h=h, c=c)._asdict().items():
            getattr(self, f"pool_{name}").copy_(tensor)
