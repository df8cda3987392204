"""Parameters that no layer's grid owns: a grid of 1 x 1 synapses, each fed with x = 1.

Its forward message is the weight itself, the user's code uses the parameter as it is, and the feedback is the negative
derivative of the loss with respect to it: a bias row without neighbours (eq. 8 of the paper). What it does not know
is a single sample's input.
"""

import torch
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid


class ParameterGrid(Grid):
    """One synapse for every number of a parameter; two for a complex one."""

    fan_in = fan_out = 1
    centred = False

    def __init__(self, parameter: nn.Parameter, owner: nn.Module) -> None:
        self.kind = self.label = type(owner).__name__
        self.weight, self.bias = parameter, None
        self.groups = parameter.numel() * (1 + parameter.is_complex())

    def _matrix(self, weight: Tensor) -> Tensor:
        return (torch.view_as_real(weight) if weight.is_complex() else weight).reshape(-1, 1, 1)

    def _weight(self, matrix: Tensor) -> Tensor:
        if self.weight.is_complex():
            return torch.view_as_complex(matrix.reshape(*self.weight.shape, 2).contiguous())
        return matrix.reshape(self.weight.shape)
