"""Fits on two CPU processes, by the learner and by SGD; rank 0 saves what came out of each run.

python ddp_fit.py STRATEGY OUT LEARNER-DATA ...
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Sampler

sys.path.insert(0, str(Path(__file__).parent.parent))

from helpers import Module, classification, mlp, trainer
from sensing import sensing

from lightning_vsml import VSMLLearner

STEPS = 24
LEARNERS: dict[str, Callable[[], list[Callback]]] = {
    "backprop": lambda: [VSMLLearner("backprop", lr=0.1)],
    "sensing": lambda: [VSMLLearner(sensing(), lr=0.1)],
    "hybrid": lambda: [VSMLLearner("backprop", lr=0.1, optimizer=("net.2",))],
    "sgd": list,
}


class Drift(Callback):
    """The largest difference between processes, of weights and of states; and the weights."""

    def __init__(self, out: Path, learner: Callback | None = None) -> None:
        self.out, self.learner = out, learner

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        tensors = [parameter.detach() for parameter in module.parameters()]
        if self.learner is not None:
            tensors += [t for state in self.learner.state_dict()["states"].values() for t in state.values()]
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        every = trainer.strategy.all_gather(flat)  # type: ignore[attr-defined]
        assert every.shape[0] == 2
        if trainer.is_global_zero:
            result = {"weights": module.net.state_dict(), "drift": float((every[0] - every[1]).abs().max())}
            torch.save(result, self.out)


class Share(Sampler):
    """Every other sample; or uneven ones: batches of 4, the last of 3 on rank 0 and of 1 on rank 1."""

    def __init__(self, data: str) -> None:
        rank = torch.distributed.get_rank()
        uneven_share = range(rank * 50, rank * 50 + (11 if rank == 0 else 9))
        self.share = uneven_share if data == "uneven" else range(rank, 96, 2)

    def __iter__(self) -> Any:
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)


class Skipping(nn.Sequential):
    """Each of two ranks has a first layer of its own."""

    def forward(self, x: Tensor) -> Tensor:
        own, last = self[torch.distributed.get_rank()], self[2]
        return last(torch.relu(own(x)))


class Shared(Module):
    """Its loader is made on each process."""

    def __init__(self, data: str) -> None:
        net = mlp(activation=nn.PReLU) if data in ("prelu", "clipped") else mlp()
        super().__init__(Skipping(net[0], nn.Linear(6, 8), net[2]) if data == "skipping" else net)
        self.data = data

    def train_dataloader(self) -> DataLoader:
        return DataLoader(classification().dataset, batch_sampler=BatchSampler(Share(self.data), 4, drop_last=False))


def main() -> None:
    strategy, out = sys.argv[1], Path(sys.argv[2])
    for name in sys.argv[3:]:
        learner, data = name.split("-")
        callbacks = LEARNERS[learner]()
        callbacks.append(Drift(out / f"{name}.pt", *callbacks))
        unused = "_find_unused_parameters_true" if name == "sgd-skipping" else ""  # torch's reducer has to be told
        settings = {"gradient_clip_val": 0.2} if data == "clipped" else {}
        run = trainer(
            *callbacks,
            devices=2,
            strategy=strategy + unused,
            max_steps=STEPS,
            use_distributed_sampler=False,
            **settings,
        )
        run.fit(Shared(data))


if __name__ == "__main__":
    main()
