"""The true gradient of a step, which diagnostics compare the learner's update with."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.change import Change
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.tape import Tape
from lightning_vsml.ticks.sites import Lookup


def true_gradients(
    tape: Tape, loss: Tensor, grids: Mapping[str, Grid], weights: Mapping[str, Tensor], others: Sequence[nn.Parameter]
) -> dict[str, Tensor]:
    """dLoss/dW of each layer that the loss depends on: a way back by backpropagation, beside the learner's.

    Args:
        tape: the calls of the step; it can be reversed again afterwards.
        loss: scalar.
        grids: by layer name.
        weights: of each grid, ``(G, A, B)``.
        others: parameters whose ``.grad`` the way back through glue would add to; it is kept as it was.

    Returns:
        By layer name, ``(G, A, B)``.
    """
    before = [None if parameter.grad is None else parameter.grad.clone() for parameter in others]
    gradients: dict[str, Tensor] = {}
    for call in tape.reverse(loss):
        grid, w = grids[call.name], weights[call.name]
        assert call.leaf.grad is not None
        with torch.enable_grad():
            site = grid.site(call.x, w.dtype)
        with torch.no_grad():
            g = grid.feedback(call.leaf.grad.to(w.dtype))
            own = site.change(site.x, 1.0, g, 1.0)
            inputs = site.occurring if isinstance(site, Lookup) else None
            whole = Change(own.unsqueeze(0), 1, inputs).whole(w.shape[1])[0]
            gradients[call.name] = gradients.get(call.name, 0) + whole
            message = None if site.sparse else site.backward(g, w, 1.0)
        if message is not None:
            call.send_back(site.x, message)
    for parameter, gradient in zip(others, before, strict=True):
        parameter.grad = gradient
    return gradients
