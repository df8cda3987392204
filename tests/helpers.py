"""Small modules and fits that several test modules use."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import LearningAlgorithm, Protocol, Tick, programs

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]

COARSE = {"scale": 2.0**10, "eps": 2.0**-8, "zeta": 2.0**-8, "k": 2.0**8}  # of backprop, so that its gates are felt


def cross_entropy(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x), y)


class Module(LightningModule):
    """An ordinary LightningModule around a net and a loss; it remembers its training losses."""

    def __init__(self, net: nn.Module, loss: Loss = cross_entropy, lr: float = 0.1, optimizer: str = "SGD") -> None:
        super().__init__()
        self.net, self.loss, self.lr, self.optimizer = net, loss, lr, optimizer
        self.losses: list[float] = []

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(self.net, *batch)
        self.losses.append(loss.detach().item())
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(self.net, *batch))

    def configure_optimizers(self) -> Any:
        return getattr(torch.optim, self.optimizer)(self.parameters(), lr=self.lr)


def mlp(dtype: torch.dtype = torch.float32, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), activation(), nn.Linear(8, 4)).to(dtype)


def classification(
    n: int = 96, shape: tuple[int, ...] = (6,), classes: int = 4, dtype: torch.dtype = torch.float32, batch: int = 8
) -> DataLoader:
    """Random inputs whose class is a linear function of them; the batches come in a fixed order."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, *shape, generator=generator, dtype=dtype)
    teacher = torch.randn(x[0].numel(), classes, generator=generator, dtype=dtype)
    return DataLoader(TensorDataset(x, (x.flatten(1) @ teacher).argmax(1)), batch_size=batch)


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def trainer(*callbacks: Callback, **settings: Any) -> Trainer:
    """A quiet Trainer on one CPU; any setting can be given."""
    return Trainer(callbacks=list(callbacks), **{**QUIET, "max_epochs": -1, **settings})


def relative_differences(ours: nn.Module, theirs: nn.Module) -> dict[str, float]:
    """||ours - theirs|| / ||theirs|| of every parameter."""
    reference = theirs.state_dict()
    return {
        name: float((parameter - reference[name]).norm() / reference[name].norm())
        for name, parameter in ours.state_dict().items()
        if name in dict(ours.named_parameters())
    }


def with_own_messages() -> LearningAlgorithm:
    """backprop, whose neurons tell their synapses the sums of h of two units, at the second learn tick."""
    algorithm = programs.backprop(dtype=torch.float64, **COARSE)
    cell, (first, second) = algorithm.cell, algorithm.protocol.learn
    generator = torch.Generator().manual_seed(3)
    more = torch.randn(2, cell.U.shape[1], generator=generator, dtype=torch.float64) * 0.1
    P_f = torch.cat([cell.P_f, 1e6 * torch.eye(5, dtype=torch.float64)[:, :2]], 1)
    return replace(
        algorithm,
        name="own",
        cell=cell._replace(U=torch.cat([cell.U, more]), P_f=P_f),
        protocol=Protocol(algorithm.protocol.forward, (first, Tick(second.x, second.e, own=(1, 2)))),
    )


def graph_leaves(loss: Tensor) -> list[Tensor]:
    """Every tensor that autograd would accumulate a gradient into."""
    found, todo, seen = [], [loss.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        todo += [parent for parent, _ in node.next_functions]
    return found
