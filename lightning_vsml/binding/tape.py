"""The recorded calls of mapped layers in one training step, and the way back along them.

Each call's output is a fresh leaf, so autograd's graphs are the pieces of glue between layers. Going back
differentiates one piece at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor


class GraphError(RuntimeError):
    """The loss cannot be followed back to a mapped layer."""


@dataclass
class Call:
    """One use of a mapped layer.

    Attributes:
        name: of the layer.
        x: its input, with the graph of the glue before it.
        version: of ``x`` when it was used.
        leaf: its output, where the glue behind it begins; ``leaf.grad`` collects dLoss/dOutput.
        sent: what the forward ticks sent out, where they ran.
    """

    name: str
    x: Tensor
    version: int
    leaf: Tensor
    sent: list[Tensor] | None = None

    def send_back(self, x: Tensor, gradient: Tensor) -> None:
        """Carry dLoss/dInput through the glue to the outputs of earlier calls; ``x`` is a function of :attr:`x`."""
        if x.requires_grad:
            torch.autograd.backward(x, gradient, retain_graph=True)  # two layers may share the glue before them


@dataclass
class Tape:
    """The calls of one training step, in order."""

    calls: list[Call] = field(default_factory=list)

    def record(self, name: str, x: Tensor, output: Tensor, sent: list[Tensor] | None = None) -> Tensor:
        """Note a call; what it returns is the layer's output for the user's code."""
        leaf = output.detach().requires_grad_()
        self.calls.append(Call(name, x, x._version, leaf, sent))
        return leaf.clone()  # the user may work in place on it, which a leaf forbids

    def replay(self, name: str, x: Tensor) -> Tensor:
        """The output that was recorded for ``x``: activation checkpointing computes the glue again on the way back.

        Raises:
            GraphError: the call was not recorded.
        """
        for call in self.calls:
            if call.name == name and call.x.shape == x.shape and torch.equal(call.x, x):
                return call.leaf.detach().requires_grad_().clone()
        raise GraphError(
            f"layer {name!r} was called on the way back with an input it did not have before. Within activation "
            "checkpointing, use torch.utils.checkpoint.checkpoint(..., use_reentrant=False), and nothing random but "
            "what it preserves."
        )

    def reverse(self, loss: Tensor) -> Iterator[Call]:
        """The calls that ``loss`` depends on, last first, each with its whole gradient in ``leaf.grad``.

        :meth:`Call.send_back` must be called for one before the next is asked for. A call can depend on earlier ones
        only, so its gradient is complete when its turn comes.

        Raises:
            GraphError: there is none, or an input was changed in place after its use.
        """
        reached = False
        for call in self.calls:  # of an earlier way back
            call.leaf.grad = None
        if self.calls and loss.requires_grad:
            torch.autograd.backward(loss, retain_graph=True)
            for call in reversed(self.calls):
                if call.leaf.grad is None:
                    continue
                if call.x._version != call.version:
                    raise GraphError(
                        f"the input of layer {call.name!r} was changed in place after the layer had used it; learning "
                        "needs it as it was. Use the out-of-place operation, or clone it first."
                    )
                reached = True
                yield call
        if not reached:
            called = ", ".join(dict.fromkeys(call.name for call in self.calls))
            found = f"no way leads back from it to {called}" if called else "training_step called no mapped layer"
            raise GraphError(
                f"expected a loss that depends on the output of a mapped layer, but {found}. Return the loss with its "
                "graph from training_step (no .detach(), .item() or torch.no_grad() on the way)."
            )
