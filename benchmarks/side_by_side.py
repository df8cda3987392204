"""SGD and Adam with all learning rates of a grid at once: networks side by side, each group with a rate of its own."""

import torch
from torch import Tensor

from lightning_vsml.lab.curves import Learner
from lightning_vsml.lab.networks import Network, Weights, loss

BETAS, EPS = (0.9, 0.999), 1e-8  # torch's defaults


class SideBySide(Learner):
    """K networks for each of R rates.

    Args:
        weights: where all begin, ``(K, A, B)`` each.
        network: their architecture.
        rates: R of them.
        adam: or plain SGD.
    """

    def __init__(self, weights: Weights, network: Network, rates: tuple[float, ...], adam: bool) -> None:
        super().__init__(weights, network)
        self.rates, self.adam, self.count = rates, adam, 0
        self.parameters = [layer.repeat(len(rates), 1, 1) for layer in weights]
        self.lr = torch.tensor(rates).repeat_interleave(len(weights[0])).view(-1, 1, 1)
        self.means = [torch.zeros_like(layer) for layer in self.parameters]
        self.squares = [torch.zeros_like(layer) for layer in self.parameters]

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Inputs (S, K, A) and labels (S, K) -> logits from before, (S, R, K, classes)."""
        x, y = x.repeat(1, len(self.rates), 1), y.repeat(1, len(self.rates))
        own = [layer.requires_grad_() for layer in self.parameters]
        logits = self.network.outputs(own, x)
        gradients = torch.autograd.grad(loss(logits, y), own)
        self.count += 1
        with torch.no_grad():
            self.parameters = [layer.detach() for layer in own]
            for parts in zip(self.parameters, gradients, self.means, self.squares, strict=True):
                self._update(*parts)
        return logits.detach().unflatten(1, (len(self.rates), -1))

    def weights(self) -> Weights:
        return self.parameters

    def _update(self, weight: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> None:
        if not self.adam:
            weight -= self.lr * gradient
            return
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        unbiased = (square / (1 - BETAS[1] ** self.count)).sqrt_().add_(EPS)
        weight -= self.lr / (1 - BETAS[0] ** self.count) * mean / unbiased
