"""Learning algorithms that are themselves neural networks, for PyTorch and Lightning."""

import logging

__version__ = "0.1.0"

from lightning_vsml.algorithms import checkpoints, programs
from lightning_vsml.algorithms.base import Algorithm, family
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.checkpoints import CheckpointError
from lightning_vsml.algorithms.emergent import Emergent
from lightning_vsml.algorithms.meta_rnn import MetaRNN
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach, Stability
from lightning_vsml.algorithms.plugins import PluginError
from lightning_vsml.binding.health import NonFiniteError
from lightning_vsml.binding.mapping import MappingError
from lightning_vsml.binding.parameter import GraphError
from lightning_vsml.binding.synapses import Synapses, attach
from lightning_vsml.fit.learner import VSMLLearner
from lightning_vsml.lab import datasets
from lightning_vsml.ticks import Cell, State, Tick

# Messages appear where Lightning's own do, and are silenced with them.
logging.getLogger("lightning_vsml").parent = logging.getLogger("lightning.pytorch")

__all__ = [
    "Algorithm",
    "Cell",
    "CheckpointError",
    "Codec",
    "Emergent",
    "GraphError",
    "LearningAlgorithm",
    "MappingError",
    "MetaRNN",
    "NonFiniteError",
    "PluginError",
    "Protocol",
    "Reach",
    "Stability",
    "State",
    "Synapses",
    "Tick",
    "VSMLLearner",
    "attach",
    "checkpoints",
    "datasets",
    "family",
    "programs",
]
