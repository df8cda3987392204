"""The true gradient of a step, which diagnostics compare with: another way back through the same graph."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_vsml.algorithms.change import Change
from lightning_vsml.binding.call import Use
from lightning_vsml.binding.parameter import plainly
from lightning_vsml.ticks import Site
from lightning_vsml.ticks.sites import Lookup

if TYPE_CHECKING:
    from lightning_vsml.binding.synapses import Synapses


class Gradients:
    """dLoss/dW of each grid that the loss depends on, by backpropagation.

    Args:
        synapses: of the model.
        loss: scalar; the graph behind it stays.

    Attributes:
        found: by grid, ``(G, A, B)``.
    """

    def __init__(self, synapses: "Synapses", loss: Tensor) -> None:
        self.found: dict[str, Tensor] = {}
        with plainly():
            parameters = [
                *synapses.parameters(),
                *(p for p in synapses.model.parameters() if id(p) in synapses.holding.left),
            ]
            before = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.grad = None
            synapses.passes.gradients = self
            try:
                torch.autograd.backward(loss, retain_graph=True)
            finally:
                synapses.passes.gradients = None
                for name, grid in synapses.grids.items():
                    for parameter in grid.parameters:
                        if parameter.grad is not None:
                            direct = torch.zeros(grid.shape, device=grid.placement[0], dtype=grid.placement[1])
                            direct[:, grid.rows(parameter)] = grid.matrix(parameter, parameter.grad).to(direct)
                            self.found[name] = self.found.get(name, 0) + direct
                for parameter, gradient in zip(parameters, before, strict=True):
                    parameter.grad = gradient

    def learn(self, use: Use, site: Site, g: Tensor, wanted: bool) -> Tensor | None:
        """In place of learn ticks."""
        weights = use.algorithm.decode(use.state)
        g = g.to(weights.dtype)
        own = site.change(site.x, 1.0, g, 1.0)
        inputs = site.occurring if isinstance(site, Lookup) else None
        whole = Change(own.unsqueeze(0), 1, inputs).whole(weights.shape[1])[0]
        self.found[use.name] = self.found.get(use.name, 0) + whole
        return site.backward(g, weights, 1.0) if wanted else None
