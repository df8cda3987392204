"""Processes that learn tasks, which they make by number from data sets of their own."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_vsml.lab import datasets
from lightning_vsml.lab.datasets import Images
from lightning_vsml.meta.wide.tasks import Distribution, Task


class Job(NamedTuple):
    """Learning of a task.

    Attributes:
        run: gets the task, coordinates and steps; a function of a module.
        distribution, number, seed: which task.
        steps: how long.
        coordinates: ``(K, n)``.
    """

    run: Callable[[Task, Tensor, int], Tensor]
    distribution: Distribution
    number: int
    seed: int
    steps: int
    coordinates: Tensor

    def done(self, images: Mapping[str, Images]) -> Tensor:
        """What ``run`` returns."""
        return self.run(self.distribution.sample(self.number, images, self.seed), self.coordinates, self.steps)


class Workers:
    """Processes that wait for jobs until they are closed.

    Args:
        processes: how many; 1: jobs are done in this one.
        images: data sets of this process.
        data_dir: from where other processes load them.
    """

    def __init__(self, processes: int, images: Mapping[str, Images], data_dir: Path) -> None:
        self.images = images
        self._pool = None
        if processes > 1:
            fresh = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, fresh, _begin, (tuple(images), data_dir))

    def run(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Do jobs, long ones first; results come in the order of the jobs."""
        if self._pool is None:
            return [job.done(self.images) for job in jobs]
        order = sorted(range(len(jobs)), key=lambda place: -jobs[place].steps)
        futures = {place: self._pool.submit(_do, *_plain(jobs[place])) for place in order}
        try:
            return [torch.from_numpy(futures[place].result()) for place in range(len(jobs))]
        finally:  # where one has failed, nobody waits for the others
            for future in futures.values():
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


_images: dict[str, Images] = {}


def _begin(names: Sequence[str], data_dir: Path) -> None:
    torch.set_num_threads(1)
    _images.update({name: datasets.load(name, data_dir) for name in names})


def _plain(job: Job) -> tuple[Any, ...]:
    """What travels between processes, without shared memory."""
    return *job[:-1], job.coordinates.numpy()


def _do(*job: Any) -> np.ndarray:
    made = Job._make(job)
    return made._replace(coordinates=torch.from_numpy(made.coordinates)).done(_images).numpy()
