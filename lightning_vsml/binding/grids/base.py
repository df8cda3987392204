"""What every synapse grid does: the parameters of a layer as synapses, and the function that uses them as ticks.

A grid has G groups of A x B synapses (A = fan-in, with the bias as a last input that is always 1; B = fan-out). The
functions that use its weight are replaced by :meth:`Grid.call`, which reshapes, pads or normalises the input as the
function does and runs the ticks at a *site* (:mod:`lightning_vsml.ticks.sites`): the input in the layout that their
sums work on. All that stands around the ticks is ordinary glue, which autograd differentiates.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vsml.ticks.sites import Site, empty_grid

Run = Callable[[Site], Tensor]  # the ticks of a call: outputs in the site's layout
Use = tuple[Any, int, int | None]  # a function, and the places of weight and bias in its arguments


class Grid:
    """The synapses of one weight and its bias.

    Args:
        layer: whose they are; a grid of another kind of layer looks for them elsewhere.
    """

    uses: tuple[Use, ...] = ()
    """What :meth:`call` stands for."""

    centred = True  # whether inputs have a mean that is worth knowing, as those of layers with many weights do
    strict = True  # whether inputs have to be of the weight's type
    groups: int
    fan_in: int  # without the bias row
    fan_out: int
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Module) -> None:
        self.kind, self.label = type(layer).__name__, str(layer)
        self.weight, self.bias = layer.weight, getattr(layer, "bias", None)  # type: ignore[assignment]

    @staticmethod
    def obstacle(layer: nn.Module) -> str | None:
        """Why a layer of this type has no grid of its own; None if it has."""
        return None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weight and bias."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, A, B)."""
        return self.groups, self.fan_in + (self.bias is not None), self.fan_out

    @property
    def placement(self) -> tuple[torch.device, torch.dtype]:
        """Where states are, and of what type."""
        wide = self.weight.dtype in (torch.float64, torch.complex128)
        return self.weight.device, torch.float64 if wide else torch.float32

    def call(self, run: Run, *args: Any, **kwargs: Any) -> Tensor:
        """What the function gives for these arguments, by ``run`` in place of its weight and bias."""
        raise NotImplementedError

    def check(self, x: Tensor) -> None:
        """Say clearly what is wrong with an input.

        Raises:
            TypeError: ``x`` is not a floating-point tensor, or of another type than the weight without autocast.
            ValueError: ``x`` does not have the shape the layer takes.
        """
        if not x.is_floating_point():
            raise TypeError(f"{self.label} expects a floating-point input, got {x.dtype}. Convert it, e.g. x.float().")
        if self.strict and x.dtype != self.weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{self.label} expects an input of its weight's type, {self.weight.dtype}, got {x.dtype}. "
                "Convert the input or the module."
            )
        if not self._fits(x):
            raise ValueError(f"{self.label} expects an input of shape {self._expected}, got {tuple(x.shape)}.")

    def samples(self, x: Tensor, *_: Any, **__: Any) -> int:
        """S, the number of samples in the function's arguments."""
        return x.shape[0] if x.dim() > self._sample_dims else 1

    def output_dtype(self, x: Tensor) -> torch.dtype:
        """What the layer itself would give for ``x``, autocast or not."""
        if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
            return torch.get_autocast_dtype(x.device.type)
        return x.dtype

    def rows(self, parameter: nn.Parameter) -> slice:
        """Which of the A inputs a parameter's synapses are."""
        return slice(0, self.fan_in) if parameter is self.weight else slice(self.fan_in, self.fan_in + 1)

    def biases(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the A inputs are biases beside weights; and which are plain: without a bias that could take what a
        mean moves, or with inputs that have no mean. 1 there, else 0; ``(A,)`` each.
        """
        bias, plain = torch.zeros_like(like), torch.zeros_like(like)
        if self.centred and self.bias is not None:
            bias[self.fan_in :] = 1.0
        else:
            plain[:] = 1.0
        return bias, plain

    def matrix(self, parameter: nn.Parameter, values: Tensor) -> Tensor:
        """A tensor of the parameter's shape as its synapses lie, ``(G, rows, B)``."""
        if parameter is self.weight:
            return self._matrix(values)
        return values.reshape(self.groups, 1, self.fan_out)

    def values(self, parameter: nn.Parameter, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`matrix`."""
        return self._weight(matrix) if parameter is self.weight else matrix.reshape(parameter.shape)

    @torch.no_grad()
    def read(self, dtype: torch.dtype) -> Tensor:
        """Weight and bias as one tensor ``(G, A, B)``, a copy in ``dtype``."""
        weights = empty_grid(self.shape, self.weight.new_empty(0, dtype=dtype))
        for parameter in self.parameters:
            weights[:, self.rows(parameter)] = self.matrix(parameter, parameter.detach())
        return weights

    @torch.no_grad()
    def write(self, weights: Tensor, inputs: Tensor | None = None) -> None:
        """Write ``weights`` (G, A, B) into the parameters, in place; only those of ``inputs``, if given."""
        for parameter in self.parameters:
            parameter.copy_(self.values(parameter, weights[:, self.rows(parameter)]))

    _sample_dims: int  # of one sample
    _expected: str  # in words

    def _matrix(self, weight: Tensor) -> Tensor:
        """The weight, (fan-out, fan-in) in most layers, as ``(G, fan_in, fan_out)``."""
        return weight.reshape(self.groups, self.fan_out, self.fan_in).mT

    def _weight(self, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`_matrix`."""
        return matrix.mT.reshape(self.weight.shape)

    def _fits(self, x: Tensor) -> bool:
        raise NotImplementedError
