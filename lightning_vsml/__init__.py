"""Learning algorithms that are themselves neural networks, for PyTorch and Lightning."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from lightning_vsml.algorithms import checkpoints, programs
    from lightning_vsml.algorithms.base import Algorithm, family
    from lightning_vsml.algorithms.cellular import LearningAlgorithm
    from lightning_vsml.algorithms.checkpoints import CheckpointError
    from lightning_vsml.algorithms.emergent import Emergent
    from lightning_vsml.algorithms.meta_rnn import MetaRNN
    from lightning_vsml.algorithms.parts import Codec, Protocol, Reach, Stability
    from lightning_vsml.algorithms.plugins import PluginError
    from lightning_vsml.binding.attach import attach
    from lightning_vsml.binding.health import NonFiniteError
    from lightning_vsml.binding.mapping import MappingError
    from lightning_vsml.binding.parameter import GraphError
    from lightning_vsml.binding.synapses import Synapses
    from lightning_vsml.fit.learner import VSMLLearner
    from lightning_vsml.lab import datasets
    from lightning_vsml.report.compare import parity
    from lightning_vsml.report.errors import ReportError
    from lightning_vsml.report.result import Parity
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
    "Parity",
    "PluginError",
    "Protocol",
    "Reach",
    "ReportError",
    "Stability",
    "State",
    "Synapses",
    "Tick",
    "VSMLLearner",
    "attach",
    "checkpoints",
    "datasets",
    "family",
    "parity",
    "programs",
]

# Imported at their first use: torch and Lightning take seconds, and the --help of a command needs neither.
_HOMES = {
    "algorithms": "checkpoints programs",
    "algorithms.base": "Algorithm family",
    "algorithms.cellular": "LearningAlgorithm",
    "algorithms.checkpoints": "CheckpointError",
    "algorithms.emergent": "Emergent",
    "algorithms.meta_rnn": "MetaRNN",
    "algorithms.parts": "Codec Protocol Reach Stability",
    "algorithms.plugins": "PluginError",
    "binding.health": "NonFiniteError",
    "binding.mapping": "MappingError",
    "binding.parameter": "GraphError",
    "binding.attach": "attach",
    "binding.synapses": "Synapses",
    "fit.learner": "VSMLLearner",
    "lab": "datasets",
    "report.compare": "parity",
    "report.errors": "ReportError",
    "report.result": "Parity",
    "ticks": "Cell State Tick",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_ROOMS = ("algorithms", "binding", "fit", "lab", "report", "ticks")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOME_OF[name]}")
    # programs, checkpoints and datasets are modules, which their package has once they are imported
    value = getattr(home, name, None) or importlib.import_module(f"{home.__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
