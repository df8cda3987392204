"""Train an ordinary LightningModule on MNIST without optimizer and without backpropagation through its weights.

python examples/mnist_mlp.py                       # the learning algorithm "backprop", run as LSTM states
python examples/mnist_mlp.py --learner adam        # the same module, learned by Adam
"""

from lightning_vsml.algorithms.options import Parser, positive

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_argument("--learner", choices=("vsml", "sgd", "adam"), default="vsml", help="(default vsml)")
    parser.add_argument("--algorithm", default="backprop", help="name or path of the learning algorithm, for vsml")
    parser.add_argument(
        "--lr", type=positive, help="default: the algorithm's own for vsml, 0.1 for sgd, 0.001 for adam"
    )
    parser.add_dataset("auto", extra=("auto",))
    parser.add_data_dir()
    parser.add_count("--hidden", 32, "units of the hidden layer")
    parser.add_count("--steps", 300, "", "--max-steps")
    parser.add_count("--batch-size", 64)
    parser.add_seed()
    parser.add_run_dir("mnist_mlp", each=True)
    options = parser.parse_args()
    parser.without_effect(options.learner != "vsml", f"with --learner {options.learner}", "--algorithm")
    parser.without_effect(options.dataset == "digits", "with --dataset digits", "--data-dir")

import argparse
import time
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy

from lightning_vsml import VSMLLearner, datasets


class Classifier(LightningModule):
    """A multilayer perceptron; nothing in it knows who trains it."""

    def __init__(self, inputs: int, hidden: int, classes: int = 10, optimizer: str = "Adam", lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        self.accuracy = nn.ModuleDict({stage: MulticlassAccuracy(classes, average="micro") for stage in _STAGES})

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.accuracy[stage](logits, y)
        self.log(f"{stage}/loss", loss, prog_bar=stage == "fit")
        self.log(
            f"{stage}/accuracy", self.accuracy[stage], prog_bar=True, on_step=stage == "fit", on_epoch=stage != "fit"
        )
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step("fit", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return getattr(torch.optim, self.hparams.optimizer)(self.parameters(), lr=self.hparams.lr)


_STAGES = ("fit", "val", "test")


def load(name: str, data_dir: Path) -> datasets.Images:
    if name != "auto":
        return datasets.load(name, data_dir)
    try:
        return datasets.load("mnist", data_dir)
    except datasets.DatasetError as error:
        print(f"MNIST is not available: running on scikit-learn's 8x8 digits instead.\n({error})", flush=True)
        return datasets.load("digits")


def main(options: argparse.Namespace, parser: Parser) -> None:
    vsml = options.learner == "vsml"
    with parser.refusing(datasets.DatasetError):
        learner = [VSMLLearner(options.algorithm, lr=options.lr)] if vsml else []
        data = load(options.dataset, options.data_dir)
    seed_everything(options.seed, verbose=False)

    mean, std = data.x.mean(), data.x.std()
    train = TensorDataset((data.x - mean) / std, data.y)
    test = TensorDataset((data.x_test - mean) / std, data.y_test)
    train, validation = random_split(train, [0.9, 0.1])
    parser.at_most("--batch-size", options.batch_size, len(train), "the training examples")
    train_loader = DataLoader(train, options.batch_size, shuffle=True, drop_last=True)
    validation_loader, test_loader = DataLoader(validation, 500), DataLoader(test, 500)

    torch_lr = options.lr if options.lr is not None and not vsml else {"sgd": 0.1}.get(options.learner, 1e-3)
    model = Classifier(
        data.x[0].numel(), options.hidden, optimizer={"sgd": "SGD"}.get(options.learner, "Adam"), lr=torch_lr
    )
    name = learner[0].algorithm.name if learner else options.learner
    logger = TensorBoardLogger(options.run_dir, name="", version="", default_hp_metric=False)
    trainer = Trainer(
        max_steps=options.steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1,
        logger=logger,
        log_every_n_steps=10,
        check_val_every_n_epoch=None,
        val_check_interval=min(100, options.steps),
        callbacks=[TQDMProgressBar(), *learner],
    )
    start = time.perf_counter()
    try:
        trainer.fit(model, train_loader, validation_loader)
    except SystemExit:  # Lightning's answer to Ctrl-C
        print(f"stopped after {trainer.global_step} steps: what follows is of what was done until here", flush=True)
    seconds = time.perf_counter() - start
    [result] = trainer.test(model, test_loader, verbose=False)
    print(f"test accuracy on {data.name}: {result['test/accuracy']:.2%} ({name}, seed {options.seed})")
    print(f"{trainer.global_step} steps of {options.batch_size} in {seconds:.1f} s")
    print(f"curves in {logger.log_dir}: tensorboard --logdir {options.run_dir.parent}")


if __name__ == "__main__":
    main(options, parser)
