"""Small networks outside of modules, many at once: what learning curves and meta-learning run.

G networks of one architecture are G groups of every synapse grid. What a layer does to a message is reshaping; what
lies between layers is an activation, differentiated locally as everywhere in this package.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, unfold

from lightning_vsml.algorithms.base import Pace
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.ticks import Told

Activation = Callable[[Tensor], Tensor]
Weights = list[Tensor]  # of each layer (G, A, B), with the bias as last of the A rows
Shape = tuple[int, ...]


class Dense(NamedTuple):
    """A fully connected layer."""

    units: int

    def sizes(self, shape: Shape) -> tuple[int, int]:
        """Fan-in without bias, and fan-out, for an input of ``shape``."""
        return torch.Size(shape).numel(), self.units

    def shape_after(self, shape: Shape) -> Shape:
        """Of an output."""
        return (self.units,)

    def rows(self, x: Tensor) -> Tensor:
        """Inputs ``(S, G, *shape)`` as messages ``(R, G, A)``."""
        return with_bias(x.flatten(2))

    def output(self, y: Tensor, shape: Shape) -> Tensor:
        """Messages out ``(R, G, B)`` of inputs of ``shape``, as the layer's output ``(S, G, *shape)``."""
        return y


class Conv(NamedTuple):
    """A convolution over images ``(channels, height, width)``, padded so that stride 1 keeps their size."""

    channels: int
    kernel: int = 3
    stride: int = 2

    def sizes(self, shape: Shape) -> tuple[int, int]:
        return shape[0] * self.kernel**2, self.channels

    def shape_after(self, shape: Shape) -> Shape:
        return (self.channels, *(-(-size // self.stride) for size in shape[1:]))

    def rows(self, x: Tensor) -> Tensor:
        S, G = x.shape[:2]
        patches = unfold(x.flatten(0, 1), self.kernel, padding=self.kernel // 2, stride=self.stride)
        return with_bias(patches.view(S, G, *patches.shape[1:]).permute(0, 3, 1, 2).flatten(0, 1))

    def output(self, y: Tensor, shape: Shape) -> Tensor:
        _, height, width = self.shape_after(shape)
        return y.unflatten(0, (-1, height * width)).permute(0, 2, 3, 1).unflatten(-1, (height, width))


class Network(NamedTuple):
    """An architecture: layers with an activation between them."""

    layers: tuple[Dense | Conv, ...]
    activation: Activation = torch.tanh

    def initial(self, shape: Shape, seeds: Sequence[int]) -> Weights:
        """As torch initialises ``nn.Linear`` and ``nn.Conv2d``, each network from a seed of its own."""
        networks = []
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for seed in seeds:
                torch.manual_seed(seed)
                linears, now = [], tuple(shape)
                for layer in self.layers:
                    linears.append(nn.Linear(*layer.sizes(now)))
                    now = layer.shape_after(now)
                networks.append([torch.cat([linear.weight.T, linear.bias.unsqueeze(0)]) for linear in linears])
        return [torch.stack(layers) for layers in zip(*networks, strict=True)]

    def outputs(self, weights: Sequence[Tensor], x: Tensor) -> Tensor:
        """Logits of plain networks: ``x`` (S, G or 1, *shape) -> ``(S, G, classes)``."""
        for place, (layer, weight) in enumerate(zip(self.layers, weights, strict=True)):
            rows, shape = layer.rows(self.activation(x) if place else x), x.shape[2:]
            x = layer.output(torch.einsum("rga,gab->rgb", rows, weight), shape)  # one product of an x that all share
        return x


class Learned(NamedTuple):
    """What a learning step leaves.

    Attributes:
        states: of every layer.
        logits: from before learning, ``(S, G, classes)``.
    """

    states: list[Tensor]
    logits: Tensor


def learn(
    algorithm: LearningAlgorithm, network: Network, states: Sequence[Tensor], x: Tensor, y: Tensor, gain: float = 1.0
) -> Learned:
    """A learning step of G networks.

    Gradients flow through it where the cell or the states require them.

    Args:
        algorithm: runs every layer.
        network: the architecture.
        states: of every layer, ``(P, G, A, B)``.
        x: inputs, ``(S, G, *shape)``.
        y: labels, ``(S, G)``.
        gain: the learning rate over the algorithm's own.
    """
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (*algorithm.cell, states[0]))
    S, inputs, outputs, told = len(x), [], [], []
    with torch.enable_grad():  # for the glue
        for place, (layer, state) in enumerate(zip(network.layers, states, strict=True)):
            shape = x.shape[2:]
            inputs.append(layer.rows(network.activation(x) if place else x))
            with torch.set_grad_enabled(differentiable):
                sent = algorithm.send(state, inputs[-1] if differentiable else inputs[-1].detach())
            told.append(sent)
            y_rows = sent[0] if differentiable else sent[0].detach().contiguous()
            if not y_rows.requires_grad:  # also where what is learned has no part in the forward ticks
                y_rows = y_rows.detach()
            outputs.append(y_rows if y_rows.requires_grad else y_rows.requires_grad_())
            x = layer.output(y_rows, shape)
        (g,) = torch.autograd.grad(loss(x, y), outputs[-1], create_graph=differentiable)
    learned: list[Tensor] = []
    for place in reversed(range(len(outputs))):
        with torch.set_grad_enabled(differentiable):
            rows = inputs[place] if differentiable else inputs[place].detach()
            state, fed = states[place], 1.0 if algorithm.pace is Pace.COMMIT else gain
            change, message = algorithm.learn(state, rows, -S * fed * g, S, told[place])
            outside = Told.of(state.shape[2], state, len(states))
            learned.insert(0, algorithm.commit(state, change, outside._replace(rate=outside.rate * gain)))
            message = message / (-S * fed)
        if place:
            (g,) = torch.autograd.grad(inputs[place], outputs[place - 1], message, create_graph=differentiable)
    return Learned(learned, x if differentiable else x.detach())


def with_bias(x: Tensor) -> Tensor:
    """Inputs of a grid: the last row of weights is fed with 1."""
    return pad(x, (0, 1), value=1.0)


def loss(logits: Tensor, y: Tensor) -> Tensor:
    """Sum over networks of their mean cross-entropies, so that each learns as if alone."""
    return cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / len(logits)
