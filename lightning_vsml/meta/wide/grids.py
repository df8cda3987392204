"""Parameters of K copies of a network as synapses: tensors ``(K, G, A, B)``, and what these see of their inputs.

As in :mod:`lightning_vsml.binding.grids`: a layer's weight has its bias as a last input that always is 1; vectors of
an embedding are chosen by one-hot inputs; norms have a group for each feature; any other parameter has one for each
number.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.algorithms.adaptive.formula import Gathered
from lightning_vsml.lab.ensembles import Parameters

Seen = tuple[Tensor, ...]


class Grid(ABC):
    """Some parameters.

    Args:
        layer: its name.
        names: of the parameters: the weight, and the bias if there is one.

    Attributes:
        watches: whether inputs of the layer have to be seen.
        centred: whether weights have a bias that takes what they do to a mean input.
    """

    watches, centred = True, False

    def __init__(self, layer: str, names: list[str]) -> None:
        self.layer, self.names = layer, names

    def biases(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Which inputs are biases beside weights, and of which no mean is taken off: 1 there, else 0; ``(A, 1)``."""
        bias, plain = torch.zeros_like(weight[0, 0, :, :1]), torch.zeros_like(weight[0, 0, :, :1])
        if self.centred:
            bias[-1] = 1.0
        else:
            plain[:] = 1.0
        return bias, plain

    @abstractmethod
    def matrix(self, tensors: Parameters) -> Tensor:
        """Tensors of the parameters' shapes as ``(K, G, A, B)``."""

    @abstractmethod
    def parameters(self, matrix: Tensor, like: Parameters) -> Parameters:
        """The inverse of :meth:`matrix`."""

    def watch(self, layer: nn.Module, x: Tensor) -> Seen:
        """What is to be known of an input of the layer."""
        return ()

    @abstractmethod
    def gathered(self, gradients: Parameters, mean: Tensor, seen: Seen) -> Gathered:
        """What learn ticks gather.

        Args:
            gradients: of the loss.
            mean: what updates are centred by, ``(K, G, A, 1)``.
            seen: what :meth:`watch` returned, of each copy.
        """


class Dense(Grid):
    """``nn.Linear`` and ``nn.Conv2d`` without groups: one group; rows are samples and places. Without a bias, inputs
    are as they are.
    """

    def __init__(self, layer: str, names: list[str]) -> None:
        super().__init__(layer, names)
        self.centred = len(names) > 1

    def matrix(self, tensors: Parameters) -> Tensor:
        weight, *bias = (tensors[name] for name in self.names)
        columns = [weight.flatten(2), *(vector.unsqueeze(-1) for vector in bias)]
        return torch.cat(columns, -1).unsqueeze(1).mT

    def parameters(self, matrix: Tensor, like: Parameters) -> Parameters:
        rows = matrix.squeeze(1).mT
        weight, *bias = self.names
        inputs = like[weight][0, 0].numel()
        return {weight: rows[..., :inputs].reshape(like[weight].shape)} | {name: rows[..., -1] for name in bias}

    def watch(self, layer: nn.Module, x: Tensor) -> Seen:
        """Mean and variance of each input over rows."""
        if isinstance(layer, nn.Conv2d):
            assert isinstance(layer.padding, tuple)
            rows = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride).mT.flatten(0, 1)
        else:
            rows = x.reshape(-1, x.shape[-1])
        mean = rows.mean(0)
        return mean, (rows - mean).square().mean(0)

    def gathered(self, gradients: Parameters, mean: Tensor, seen: Seen) -> Gathered:
        update = -self.matrix(gradients)
        first, second = (part[:, None, :, None] for part in seen)
        if not self.centred:
            return Gathered(update, first, second + first.square())
        one, mean = torch.ones_like(first[:, :, :1]), mean[:, :, :-1]
        update = update - torch.cat([mean, 0 * one], 2) * update[:, :, -1:]
        return Gathered(update, torch.cat([first, one], 2), torch.cat([second + (first - mean).square(), one], 2))


class Lookup(Grid):
    """``nn.Embedding``: one group of one-hot inputs."""

    def matrix(self, tensors: Parameters) -> Tensor:
        return tensors[self.names[0]].unsqueeze(1)

    def parameters(self, matrix: Tensor, like: Parameters) -> Parameters:
        return {self.names[0]: matrix.squeeze(1)}

    def watch(self, layer: nn.Module, x: Tensor) -> Seen:
        """How often each index occurs."""
        assert isinstance(layer, nn.Embedding)
        return (F.one_hot(x.flatten(), layer.num_embeddings).to(layer.weight.dtype).mean(0),)

    def gathered(self, gradients: Parameters, mean: Tensor, seen: Seen) -> Gathered:
        often = seen[0][:, None, :, None]
        return Gathered(-self.matrix(gradients), often, often)


class Affine(Grid):
    """Weights and biases of norms: a group for each feature, with the normalised feature and 1 as inputs."""

    def matrix(self, tensors: Parameters) -> Tensor:
        return torch.stack([tensors[name].flatten(1) for name in self.names], -1).unsqueeze(-1)

    def parameters(self, matrix: Tensor, like: Parameters) -> Parameters:
        columns = matrix.squeeze(-1).unbind(-1)
        return {name: column.reshape(like[name].shape) for name, column in zip(self.names, columns, strict=True)}

    def watch(self, layer: nn.Module, x: Tensor) -> Seen:
        """Mean and mean square of each normalised feature."""
        if isinstance(layer, nn.LayerNorm):
            rows = F.layer_norm(x, layer.normalized_shape, eps=layer.eps).reshape(-1, layer.weight.numel())
        elif isinstance(layer, nn.GroupNorm):
            rows = F.group_norm(x, layer.num_groups, eps=layer.eps).movedim(1, -1).reshape(-1, layer.num_channels)
        else:
            assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
            normalised = F.batch_norm(x, None, None, training=True, eps=layer.eps)
            rows = normalised.movedim(1, -1).reshape(-1, layer.num_features)
        return rows.mean(0), rows.square().mean(0)

    def gathered(self, gradients: Parameters, mean: Tensor, seen: Seen) -> Gathered:
        first, second = (torch.stack([part, torch.ones_like(part)], -1).unsqueeze(-1) for part in seen)
        return Gathered(-self.matrix(gradients), first, second)


class Own(Grid):
    """A parameter of a module that is used in another way: a group of one synapse for each number, with 1 as input."""

    watches = False

    def matrix(self, tensors: Parameters) -> Tensor:
        return tensors[self.names[0]].flatten(1)[..., None, None]

    def parameters(self, matrix: Tensor, like: Parameters) -> Parameters:
        return {self.names[0]: matrix.reshape(like[self.names[0]].shape)}

    def gathered(self, gradients: Parameters, mean: Tensor, seen: Seen) -> Gathered:
        update = -self.matrix(gradients)
        one = update.new_ones(1, 1, 1, 1)
        return Gathered(update, one, one)


GRIDS: dict[type[nn.Module], type[Grid]] = {
    nn.Linear: Dense,
    nn.Conv2d: Dense,
    nn.Embedding: Lookup,
    nn.LayerNorm: Affine,
    nn.GroupNorm: Affine,
    nn.BatchNorm1d: Affine,
    nn.BatchNorm2d: Affine,
}


def grids(module: nn.Module) -> Iterator[Grid]:
    """The grids of a module's parameters.

    Raises:
        ValueError: a convolution has groups, or does not pad with zeros by numbers, or a norm has no bias.
    """
    for layer, part in module.named_modules():
        names = [f"{layer}.{name}" if layer else name for name, _ in part.named_parameters(recurse=False)]
        kind = GRIDS.get(type(part))
        if kind is None:
            yield from (Own(layer, [name]) for name in names)
        elif names:
            plain = not isinstance(part, nn.Conv2d) or (
                part.groups == 1 and part.padding_mode == "zeros" and not isinstance(part.padding, str)
            )
            if not plain or (kind is Affine and len(names) < 2):
                raise ValueError(f"expected no groups and a padding by zeros, or a norm with a bias, got {part}.")
            yield kind(layer, names)
