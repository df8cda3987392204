"""How large the checkpoint of a run is, and what it holds: files that a Trainer saves after a few steps.

    python benchmarks/checkpoint_sizes.py
    python benchmarks/checkpoint_sizes.py --algorithms backprop adaptive --width 1024

A dense network of 784 inputs, one hidden layer and ten outputs, float32. Sizes are over that of the weights; states are
what the learner adds to a checkpoint. In the first rows, without a learner, the optimizer's own state takes that place.
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_vsml import VSMLLearner, checkpoints
from lightning_vsml.algorithms.options import Parser, count

OPTIMIZERS = {
    "torch SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "torch SGD, momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "torch Adam": lambda parameters: torch.optim.Adam(parameters),
}
NOT_OF_MODELS = "fixed_weight"  # learners by themselves, which no Trainer runs
STEPS = 3


class Size(NamedTuple):
    """Of a file: bytes over the bytes of the weights; how many numbers of state there are for each weight."""

    file: float
    states: float


class Classifier(LightningModule):
    """784 pixels, a hidden layer, ten classes."""

    def __init__(self, width: int, optimizer: str, activation: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(784, width), activation, nn.Linear(width, 10))
        self.optimizer = optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Where there is a learner, one that has no state of its own."""
        return OPTIMIZERS[self.optimizer](self.parameters())


def numbers(part: Any) -> int:
    """How many numbers the tensors of a nested object hold."""
    if isinstance(part, Tensor):
        return part.numel()
    values = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
    return sum(map(numbers, values))


def measure(name: str, width: int, folder: Path) -> Size:
    """Train for a few steps by an algorithm, or an optimizer, and look at what the Trainer saves."""
    torch.manual_seed(0)
    learner = name not in OPTIMIZERS
    # mplp_mnist has a rule for this activation alone
    model = Classifier(width, "torch SGD" if learner else name, nn.Sigmoid() if name.startswith("mplp") else nn.ReLU())
    callbacks = [VSMLLearner(name, unmapped="error")] if learner else []
    data = DataLoader(TensorDataset(torch.rand(STEPS * 4, 784), torch.arange(STEPS * 4) % 10), batch_size=4)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=callbacks, default_root_dir=folder, **quiet)
    trainer.fit(model, data)
    path = folder / "run.ckpt"
    trainer.save_checkpoint(path, weights_only=False)
    saved = torch.load(path, weights_only=False)
    weights = sum(parameter.numel() for parameter in model.parameters())
    states = saved["callbacks" if learner else "optimizer_states"]
    return Size(path.stat().st_size / (4 * weights), numbers(states) / weights)


def trained_by() -> list[str]:
    """Shipped algorithms that train this network."""
    return [name for name in checkpoints.names() if not name.startswith((NOT_OF_MODELS, "mplp_sinusoid"))]


def main() -> None:
    """Command line."""
    parser = Parser(__doc__)
    parser.add_argument("--algorithms", nargs="+", choices=trained_by(), default=trained_by())
    parser.add_argument("--width", type=count, default=256, help="of the hidden layer")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, 784-{options.width}-10\n")
    print("| learner | file, over the weights | numbers of state per weight |\n|---|---|---|", flush=True)
    for name in (*OPTIMIZERS, *options.algorithms):
        with tempfile.TemporaryDirectory() as folder:
            size = measure(name, options.width, Path(folder))
        print(f"| {name if name in OPTIMIZERS else f'`{name}`'} | {size.file:.1f} | {size.states:.1f} |", flush=True)


if __name__ == "__main__":
    main()
