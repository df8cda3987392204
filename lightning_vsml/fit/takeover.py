"""Taking learning over from the optimizer inside Lightning's automatic optimization.

For the duration of fit three methods of the Trainer's strategy are replaced on the instance. Everything around them
(loops, closures, progress, accumulation, schedulers, hooks, checkpoints) stays Lightning's own.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.optim import Optimizer

from lightning_vsml.binding.bridge import Bridge


class TakeOver:
    """The replaced methods, from construction to :meth:`release`.

    Args:
        strategy: the Trainer's strategy.
        module: the user's module.
        bridge: what learns instead.
        gain: the factor on the feedback now: learning rate over the algorithm's own.
        hybrid: whether the user's optimizer steps too, for what is not mapped.
    """

    METHODS = ("training_step", "backward", "optimizer_step")

    def __init__(
        self, strategy: Strategy, module: LightningModule, bridge: Bridge, gain: Callable[[], float], hybrid: bool
    ) -> None:
        self.strategy, self.module, self.bridge, self.gain, self.hybrid = strategy, module, bridge, gain, hybrid
        self.commits = self.sweeps = 0
        self.last_gain = gain()
        self._shadowed = {name: vars(strategy)[name] for name in self.METHODS if name in vars(strategy)}
        self._original = {name: getattr(strategy, name) for name in self.METHODS}
        for name in self.METHODS:
            setattr(strategy, name, getattr(self, name))

    def release(self) -> None:
        """Put the strategy's own methods back; calling it twice does no harm."""
        for name in self.METHODS:
            vars(self.strategy).pop(name, None)
        vars(self.strategy).update(self._shadowed)

    def _mean(self, tensor: Tensor) -> Tensor:
        """Over processes."""
        mean = self.strategy.reduce(tensor, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def training_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """The user's step, with mapped layers run by their states."""
        block_sync = getattr(self.strategy, "block_backward_sync", nullcontext)  # DDP's reducer awaits no gradient
        with block_sync(), self.bridge.attached():
            return self._original["training_step"](*args, **kwargs)

    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Glue is differentiated, learn ticks run; the hooks around a backward pass fire as ever."""
        strategy, precision = self.strategy, self.strategy.precision_plugin
        strategy.pre_backward(closure_loss)
        precision.pre_backward(closure_loss, self.module)  # for its hooks; the loss it scales for fp16 is not used
        self.last_gain = self.gain()  # schedulers move on before anybody logs it
        self.bridge.sweep(closure_loss, self.last_gain, self.module.trainer.global_step)
        self.sweeps += 1
        loss = precision.post_backward(closure_loss, self.module)
        strategy.post_backward(loss)
        return loss

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """Runs the closure and commits the states; the user's optimizer steps only in hybrid mode."""
        if self.hybrid:  # mapped weights have no .grad, so it leaves them alone
            result = self._original["optimizer_step"](optimizer, closure, model, **kwargs)
        else:
            result = closure()
            self.strategy.precision_plugin._after_closure(self.module, optimizer)
            optimizer._opt_called = True  # type: ignore[attr-defined]  # else LR schedulers miss the step and warn
        several = self.module.trainer.world_size > 1
        self.bridge.commit(self._mean if several else None)
        self.commits += 1
        return result
