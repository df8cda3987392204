"""Networks of fresh states that learn from streams of single examples, as an emergent algorithm has it."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.emergent import Emergent
from lightning_vsml.meta.sequences.looks import Stream
from lightning_vsml.meta.sequences.problem import Episode, Parameters
from lightning_vsml.ticks import Cell

States = Sequence[Tensor]  # of the layers, (2N, learners, A, B) each


class Learning(Episode):
    """Learners of one size, and what they are to learn from.

    Args:
        examples: theirs.
        sizes: of their layers.
        steps: examples of a segment.
        segments: how many there are.
        seed: of fresh states.
        moving: how much of what they learn hidden layers keep.
        early: how much more first examples weigh.
    """

    def __init__(
        self,
        examples: Stream,
        sizes: tuple[int, ...],
        steps: int,
        segments: int,
        seed: int,
        moving: float = 1.0,
        early: float = 0.0,
    ) -> None:
        self.examples, self.sizes, self.steps, self.segments, self.seed = examples, sizes, steps, segments, seed
        self.moving, self.early = moving, early

    def fresh(self, V: Parameters) -> States:
        """Noise, as :meth:`Emergent.begin` has it."""
        generator, learners = torch.Generator().manual_seed(self.seed), self.examples.x.shape[1]
        cell = Cell(**V)
        std = Emergent("", cell).std
        return tuple(
            std * torch.randn(2 * cell.units, learners, a + 1, b, generator=generator).to(cell.W)
            for a, b in pairwise(self.sizes)
        )

    def run(self, V: Parameters, state: States, segment: int) -> tuple[Tensor, States]:
        """Online cross-entropy over the logarithm of the number of classes: 1 is chance."""
        part = slice(segment * self.steps, (segment + 1) * self.steps)
        cell = Cell(**V)
        examples = Stream(self.examples.x[part].to(cell.W), self.examples.y[part].to(cell.W.device))
        loss, _, state = unroll(Emergent("", cell), state, examples, self.moving)
        if self.early:
            at = torch.arange(segment * self.steps, segment * self.steps + len(loss)).to(loss)
            loss = loss * ((1 + at / 10) ** -self.early).unsqueeze(1)
        return loss.mean() / math.log(self.sizes[-1]), state


def moving(progress: float, thaw: tuple[float, float]) -> float:
    """How much of what they learn hidden layers keep: nothing at first, so that the last layer learns from what their
    noise makes of the input, then a share that grows from a thousandth to all. A hidden layer that learns all at once
    destroys what the last one sees, and with it all gradients (docs/from_scratch.md).
    """
    begin, end = thaw
    if progress >= end:
        return 1.0
    return 0.0 if progress < begin else 1000.0 ** ((progress - begin) / (end - begin) - 1)


def unroll(algorithm: Emergent, states: States, examples: Stream, moving: float = 1.0) -> tuple[Tensor, Tensor, States]:
    """Learn from a stream, each learner by itself.

    Args:
        algorithm: how.
        states: of each layer, ``(2N, learners, A, B)``.
        examples: theirs.
        moving: see :func:`moving`; 1 is what the algorithm does.

    Returns:
        Cross-entropy of every prediction and whether it was right, ``(steps, learners)``, both before the example is
        learned from; and the states after.
    """
    losses, right = [], []
    bias = algorithm.enter(examples.x.new_ones(examples.x.shape[1], 1))
    for x, y in zip(examples.x, examples.y, strict=True):
        m, inputs = algorithm.enter(x), []
        for state in states:
            inputs.append(torch.cat([m, bias], 1))
            m = algorithm.forward_tick(state, inputs[-1])
        logits = m[..., 0]
        losses.append(F.cross_entropy(logits, y, reduction="none"))
        right.append((logits.detach().argmax(-1) == y).float())
        target = F.one_hot(y, logits.shape[-1])
        m = algorithm.feedback(target - logits.softmax(-1))
        after: list[Tensor] = []
        for state, seen in zip(states[::-1], inputs[::-1], strict=True):
            ticked, last = algorithm.learning_tick(state, seen, m), not after
            after.append(ticked.state if last or moving == 1 else state + moving * (ticked.state - state))
            m = ticked.backward[:, :-1]
        states = tuple(after[::-1])
    return torch.stack(losses), torch.stack(right), states
