"""Fixed-weight learners: an LSTM that learns functions without changing a weight (Younger, Hochreiter, Conwell 2001).

It is the smallest emergent algorithm, a grid of 1 x 1 synapses: with A = B = 1 variable sharing shares nothing, and
Theorem 1 of arXiv 2012.14905 leaves a plain recurrent network. What it is told at every step is the input of an
unknown function, and the function's value at the *previous* one; what it sends is its prediction.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import family
from lightning_vsml.algorithms.emergent import Emergent


class Learner(NamedTuple):
    """Where a learner is in its stream.

    Attributes:
        state: h and c of each unit, ``(2N, G, 1, 1)`` for G learners.
        previous: the last value that it was told, ``(G,)``.
    """

    state: Tensor
    previous: Tensor


@family
@dataclass(frozen=True)
class MetaRNN(Emergent):
    """An :class:`~lightning_vsml.algorithms.emergent.Emergent` with A = B = 1, which learns from a stream by itself.

    Forward messages in are (x, previous value), of as many numbers as V has rows; the prediction is the logistic
    function of the first number out.
    """

    family: ClassVar[str] = "meta_rnn"

    def validate(self) -> NoReturn:
        """No model is made of it.

        Raises:
            ValueError: says how it is used.
        """
        raise ValueError(
            f"{self.name!r} is a learner by itself, not an algorithm for the layers of a model. Feed it a stream: "
            "learner = algorithm.fresh(1); predictions, learner = algorithm.run(learner, x, y)."
        )

    def fresh(self, learners: int) -> Learner:
        """Learners that know nothing: states of 0, as after no input at all."""
        return Learner(self.cell.W.new_zeros(2 * self.units, learners, 1, 1), self.cell.W.new_zeros(learners))

    def run(self, learner: Learner, x: Tensor, y: Tensor) -> tuple[Tensor, Learner]:
        """Predict along a stream; each value is told after it was predicted.

        Args:
            learner: of G functions.
            x: inputs, ``(steps, G, k)``.
            y: values, ``(steps, G)``.

        Returns:
            Predictions ``(steps, G)``, and the learner after them.

        Raises:
            ValueError: there are not as many inputs as the cell takes.
        """
        k = self.cell.V.shape[0] - 1
        if x.shape[-1] != k or x.shape[:2] != y.shape:
            raise ValueError(
                f"{self.name!r} expects inputs (steps, learners, {k}) and values (steps, learners), got "
                f"{tuple(x.shape)} and {tuple(y.shape)}."
            )
        previous = torch.cat([learner.previous.unsqueeze(0), y[:-1]])
        told = torch.cat([x, previous.unsqueeze(-1)], -1).to(self.cell.W)
        h, c = (part[..., 0, 0].T.unsqueeze(0).contiguous() for part in learner.state.chunk(2))
        cell = self.cell
        weights = (cell.V.T.contiguous(), cell.W.T.contiguous(), cell.b, torch.zeros_like(cell.b))
        # a stream at once: with A = B = 1 ticks are torch's own LSTM
        out, h, c = torch.lstm(told, (h, c), weights, True, 1, 0.0, False, False, False)
        after = torch.cat([h[0].T, c[0].T]).unsqueeze(-1).unsqueeze(-1)
        return torch.sigmoid(out @ cell.P_f[:, 0]), Learner(after, y[-1].to(cell.W))
