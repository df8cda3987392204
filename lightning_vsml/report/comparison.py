"""The committed change of every layer beside the gradient step, on steps that are measured."""

import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.base import Pace
from lightning_vsml.binding.measure import Measurements
from lightning_vsml.binding.synapses import Synapses
from lightning_vsml.report.outcome import LayerStep


class Comparison(Measurements):
    """Compares, without weight decay, with -lr dLoss/dW: the step of SGD with the rates of the parameters' groups.

    For algorithms that choose their own steps, lr is the one by which the two are as long, so that the difference is
    one of direction alone.

    Args:
        synapses: of the model.
    """

    def __init__(self, synapses: Synapses) -> None:
        super().__init__(cosines=not synapses.algorithm.chained)
        self._synapses = synapses
        self.steps: dict[str, LayerStep] = {}

    def committed(self, name: str, state: Tensor, update: Tensor) -> None:
        super().committed(name, state, update)
        if name not in self.gradients or not self._synapses.algorithm.readable:
            return
        grid, rates = self._synapses.grids[name], self._synapses.rates
        algorithm = self._synapses.changes.states.runs(name)
        before = algorithm.decode(state) - update
        gradient = self.gradients[name].to(update).clone()
        expected, change = gradient.clone(), update.clone()
        for parameter in grid.parameters:
            rows = grid.rows(parameter)
            rate = rates.of(parameter) if parameter.requires_grad else 0.0
            expected[:, rows] *= -rate
            gradient[:, rows] *= bool(rate)
            if parameter.requires_grad:
                change[:, rows] += rates.decay(parameter) * before[:, rows]
        if algorithm.pace is Pace.COMMIT:
            expected *= change.norm() / expected.norm()
        self.steps[name] = LayerStep(
            F.cosine_similarity(change.flatten().double(), -gradient.flatten().double(), dim=0).item(),
            ((change - expected).norm() / expected.norm()).item(),
            (change.norm() / gradient.norm()).item(),
        )
