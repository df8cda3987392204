"""Meta-learning: learning algorithms improved by how well networks learn by them.

``python -m lightning_vsml.meta --preset paper --out my.safetensors`` makes one; see docs/meta_learning.md. From
tasks to the search: :mod:`~lightning_vsml.meta.tasks`, :mod:`~lightning_vsml.meta.unroll`,
:mod:`~lightning_vsml.meta.objective`, :mod:`~lightning_vsml.meta.space`, :mod:`~lightning_vsml.meta.outer`.
"""

import sys

from lightning_vsml.algorithms.options import Refused

try:
    from lightning_vsml.meta.module import MetaLearningModule
    from lightning_vsml.meta.outer import BPTT, CMAES, ES, Outer
    from lightning_vsml.meta.sequences import Digits, FewShot, Functions, Problem, SequenceModule, Sinusoids, Streams
    from lightning_vsml.meta.space import Coordinate, Place, Space
    from lightning_vsml.meta.tasks import Task, Tasks
except ModuleNotFoundError as error:
    message = (
        f'lightning_vsml.meta needs {error.name}: pip install "lightning-vsml[meta]" (from a checkout: ".[meta]").'
    )
    if sys.argv[0] == "-m":  # a command, which is still being looked for
        raise Refused("python -m lightning_vsml.meta", message) from error
    raise ModuleNotFoundError(message) from error

__all__ = [
    "BPTT",
    "CMAES",
    "ES",
    "Coordinate",
    "Digits",
    "FewShot",
    "Functions",
    "MetaLearningModule",
    "Outer",
    "Place",
    "Problem",
    "SequenceModule",
    "Sinusoids",
    "Space",
    "Streams",
    "Task",
    "Tasks",
]
