"""What every synapse grid does: a layer's input, output and weights as messages and weights of a grid.

A grid has G groups of A x B synapses (A = fan-in, with the bias as a last input that is always 1; B = fan-out). A
call is a *site* (:mod:`lightning_vsml.ticks.sites`): the layer's input in the layout that its sums work on.
Reshaping, padding and normalising is all that happens here; it is differentiable, so that the way back from a message
to the layer's input is autograd's adjoint of the way there.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_vsml.ticks.sites import Site, empty_grid


class Grid:
    """The synapses of one layer. Subclasses say how one layer type maps."""

    layer: Any  # of a type that the subclass knows
    groups: int
    fan_in: int  # without the bias row
    fan_out: int

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    @staticmethod
    def obstacle(layer: nn.Module) -> str | None:
        """Why a layer of this type cannot be mapped, and what to do; None if it can."""
        return None

    @property
    def bias(self) -> bool:
        """Whether a bias row follows the inputs."""
        return getattr(self.layer, "bias", None) is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, A, B)."""
        return self.groups, self.fan_in + self.bias, self.fan_out

    def site(self, x: Tensor, dtype: torch.dtype) -> Site:
        """Where the grid is used for the layer's input ``x``, in ``dtype``; differentiable, without side effects."""
        raise NotImplementedError

    def observe(self, x: Tensor) -> None:
        """What the layer notes of its input besides giving an output; called once for each forward."""

    def check(self, x: Tensor) -> None:
        """Say clearly what is wrong with an input.

        Raises:
            TypeError: ``x`` is not a floating-point tensor, or of another type than the weight without autocast.
            ValueError: ``x`` does not have the shape the layer takes.
        """
        if not x.is_floating_point():
            raise TypeError(f"{self.layer} expects a floating-point input, got {x.dtype}. Convert it, e.g. x.float().")
        if x.dtype != self.layer.weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{self.layer} expects an input of its weight's type, {self.layer.weight.dtype}, got {x.dtype}. "
                "Convert the input or the module."
            )
        if not self._fits(x):
            raise ValueError(f"{self.layer} expects an input of shape {self._expected}, got {tuple(x.shape)}.")

    def samples(self, x: Tensor) -> int:
        """S, the number of samples in the layer's input."""
        return x.shape[0] if x.dim() > self._sample_dims else 1

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        """Forward messages out, in the site's layout, as the layer's output for the input ``x``."""
        raise NotImplementedError

    def output_dtype(self, x: Tensor) -> torch.dtype:
        """What the layer itself would give for ``x``, autocast or not."""
        if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
            return torch.get_autocast_dtype(x.device.type)
        return x.dtype

    def feedback(self, g: Tensor) -> Tensor:
        """A tensor of the output's shape in the site's layout; the inverse of :meth:`output`."""
        raise NotImplementedError

    def read(self, dtype: torch.dtype) -> Tensor:
        """The layer's weight and bias as one tensor ``(G, A, B)``, a copy in ``dtype``."""
        weights = empty_grid(self.shape, self.layer.weight.detach().to(dtype))
        weights[:, : self.fan_in] = self._matrix(self.layer.weight.detach())
        if self.bias:
            weights[:, self.fan_in :] = self.layer.bias.detach().reshape(self.groups, 1, self.fan_out)
        return weights

    @torch.no_grad()
    def write(self, weights: Tensor, inputs: Tensor | None = None) -> None:
        """Write ``weights`` (G, A, B) into the layer's own parameters, in place; only those of ``inputs``, if given."""
        self.layer.weight.copy_(self._weight(weights[:, : self.fan_in]))
        if self.bias:
            self.layer.bias.copy_(weights[:, self.fan_in].reshape(self.layer.bias.shape))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The layer's weight and bias."""
        return [self.layer.weight, *([self.layer.bias] if self.bias else [])]

    _sample_dims: int  # of one sample
    _expected: str  # in words

    def _matrix(self, weight: Tensor) -> Tensor:
        """The layer's weight, (fan-out, fan-in) in most, as ``(G, fan_in, fan_out)``."""
        return weight.reshape(self.groups, self.fan_out, self.fan_in).mT

    def _weight(self, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`_matrix`."""
        return matrix.mT.reshape(self.layer.weight.shape)

    def _fits(self, x: Tensor) -> bool:
        raise NotImplementedError
