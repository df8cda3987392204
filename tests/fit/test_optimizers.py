"""The user's optimizers: their settings, their number, and who calls their steps; as with SGD."""

import io
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, mlp, relative_differences, trainer
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BackboneFinetuning, ModelPruning
from torch import Tensor, nn

from lightning_vsml import VSMLLearner

LR = 0.1


def compare(build: Callable[[], LightningModule], limit: float = 1e-4, steps: int = 30, **settings: Any) -> None:
    """The same module by its optimizer and by the learner."""
    ends = []
    for learner in ([], [VSMLLearner(lr=LR)]):
        torch.manual_seed(0)
        module = build()
        start = deepcopy(module)
        callbacks = settings.get("callbacks", list)()
        rest = {name: value for name, value in settings.items() if name != "callbacks"}
        trainer(*learner, *callbacks, max_steps=steps, **rest).fit(module, classification())
        ends.append(module)
    differences = relative_differences(ends[1], ends[0])
    assert differences and max(differences.values()) < limit
    assert max(relative_differences(start, ends[0]).values()) > 0.02  # something was learned


def with_optimizer(configure: Callable[[Any], Any], net: Callable[[], nn.Module] = mlp) -> Callable[[], Module]:
    class Own(Module):
        def configure_optimizers(self) -> Any:
            return configure(self)

    return lambda: Own(net())


def grouped(module: Any) -> Any:
    body, head = module.net[0], module.net[2]
    groups = [
        {"params": body.parameters()},
        {"params": [head.weight], "lr": 0.3 * LR},
        {"params": [head.bias], "lr": 0},
    ]
    optimizer = torch.optim.SGD(groups, lr=LR)
    return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95), "interval": "step"}]


def test_parameter_groups_with_rates_of_their_own_under_a_scheduler() -> None:
    compare(with_optimizer(grouped))


def test_weight_decay_of_sgd() -> None:
    compare(with_optimizer(lambda m: torch.optim.SGD(m.parameters(), lr=LR, weight_decay=0.05)))


def test_decoupled_weight_decay_of_adamw() -> None:
    """Each step takes off the share that AdamW would, whatever the gradients are."""
    learner, module = (
        VSMLLearner(lr=0),
        with_optimizer(lambda m: torch.optim.AdamW(m.parameters(), 0.1, weight_decay=0.2))(),
    )
    before = deepcopy(module.net)
    learner.lr = 1e-12  # nothing but decay
    trainer(learner, max_steps=10).fit(module, classification())
    for now, then in zip(module.net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(now, then * (1 - 0.1 * 0.2) ** 10, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradient_clipping(algorithm: str) -> None:
    compare(lambda: Module(mlp(), lr=LR), gradient_clip_val=0.1, gradient_clip_algorithm=algorithm)


def test_a_warm_up_by_hand_in_optimizer_step() -> None:
    """As in Lightning's documentation."""

    class Warm(Module):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            optimizer.step(closure=closure)
            if self.trainer.global_step < 20:
                for group in optimizer.param_groups:
                    group["lr"] = (self.trainer.global_step + 1) / 20 * LR

    compare(lambda: Warm(mlp(), lr=LR))


def test_a_module_that_calls_the_raw_optimizer() -> None:
    class Raw(Module):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
            optimizer.optimizer.step(closure=closure)

    compare(lambda: Raw(mlp(), lr=LR), max_epochs=3)


def test_a_backward_of_the_modules_own() -> None:
    class Own(Module):
        def backward(self, loss: Tensor) -> None:
            (2 * loss).backward()

    compare(lambda: Own(mlp(), lr=LR))


def test_layers_that_stay_with_the_optimizer() -> None:
    """By name; the head is trained by momentum, the rest by synapses."""

    class Two(Module):
        def configure_optimizers(self) -> Any:
            momentum = {"params": self.net[2].parameters(), "momentum": 0.9}
            return torch.optim.SGD([{"params": self.net[0].parameters()}, momentum], lr=LR)

    ends = []
    for learner in ([], [VSMLLearner(lr=LR, optimizer="net.2")]):  # a single name may stand alone
        module = Two(mlp())
        trainer(*learner, max_steps=30).fit(module, classification())
        ends.append(module)
    assert max(relative_differences(ends[1].net, ends[0].net).values()) < 1e-4


# --- manual optimization


class Gan(LightningModule):
    """Two networks, two optimizers; the generator's loss goes through the discriminator."""

    def __init__(self, toggle: bool) -> None:
        super().__init__()
        self.automatic_optimization, self.toggle = False, toggle
        self.generator, self.discriminator = (
            mlp(activation=nn.Tanh),
            nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)),
        )

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, _ = batch
        generator, discriminator = self.optimizers()
        wanted = nn.functional.binary_cross_entropy_with_logits

        if self.toggle:
            self.toggle_optimizer(generator)
        judged = self.discriminator(self.generator(x))
        generator.zero_grad()
        self.manual_backward(wanted(judged, torch.ones_like(judged)))  # leaves something with the discriminator, too
        generator.step()
        if self.toggle:
            self.untoggle_optimizer(generator)
            self.toggle_optimizer(discriminator)
        real = self.discriminator(x[:, :4].tanh())
        fake = self.discriminator(self.generator(x).detach())
        loss = wanted(real, torch.ones_like(real)) + wanted(fake, torch.zeros_like(fake))
        discriminator.zero_grad()
        self.manual_backward(loss)
        discriminator.step()
        if self.toggle:
            self.untoggle_optimizer(discriminator)
        for scheduler in self.lr_schedulers():
            scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizers = [
            torch.optim.SGD(self.generator.parameters(), lr=LR),
            torch.optim.SGD(self.discriminator.parameters(), lr=2 * LR),
        ]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97) for optimizer in optimizers]


@pytest.mark.parametrize("toggle", [False, True])
def test_a_gan_by_manual_optimization(toggle: bool) -> None:
    compare(lambda: Gan(toggle), steps=60)


def test_gradients_accumulated_by_hand() -> None:
    class Manual(Module):
        def __init__(self) -> None:
            super().__init__(mlp(), lr=LR)
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            self.manual_backward(self.loss(self.net, *batch) / 3)
            if batch_idx % 3 == 2:
                self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
                optimizer.step()
                optimizer.zero_grad()

    compare(Manual)


# --- what changes in mid-fit


class Backbone(Module):
    def __init__(self) -> None:
        super().__init__(mlp(), lr=LR)
        self.backbone = self.net[0]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.lr)


@pytest.mark.filterwarnings("ignore:The provided params to be frozen", "ignore:no optimizer holds")
def test_backbone_finetuning() -> None:
    compare(Backbone, callbacks=lambda: [BackboneFinetuning(1, lambda epoch: 1.0, backbone_initial_lr=LR)])


def test_model_pruning() -> None:
    def pruning() -> list[Any]:
        return [ModelPruning("l1_unstructured", amount=0.3, make_pruning_permanent=True)]

    compare(lambda: Module(mlp(), lr=LR), steps=40, callbacks=pruning)


@pytest.mark.filterwarnings("ignore:The provided params to be frozen", "ignore:no optimizer holds")
def test_what_a_finetuning_callback_froze_again_is_named_on_resume(tmp_path: Path) -> None:
    """Lightning does not unfreeze it when a fit is resumed."""

    def finetuning() -> BackboneFinetuning:
        return BackboneFinetuning(1, lambda epoch: 1.0, backbone_initial_lr=LR)

    first = trainer(VSMLLearner(), finetuning(), max_epochs=3)
    first.fit(Backbone(), classification())
    first.save_checkpoint(tmp_path / "3.ckpt")
    named = r"(net\.0|backbone) had learned in the checkpoint and are frozen now"
    with pytest.warns(UserWarning, match=named):
        trainer(VSMLLearner(), finetuning(), max_epochs=4).fit(
            Backbone(), classification(), ckpt_path=str(tmp_path / "3.ckpt")
        )


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_a_checkpoint_without_states_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = trainer(max_epochs=1)
    first.fit(Module(mlp()), classification())
    first.save_checkpoint(tmp_path / "1.ckpt")
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(VSMLLearner(), max_epochs=2).fit(Module(mlp()), classification(), ckpt_path=str(tmp_path / "1.ckpt"))
    assert "has no states of a VSMLLearner: they start from its weights" in caplog.text


# --- what touches the module inside a step


def test_a_momentum_teacher_copied_within_a_step() -> None:
    """A copy is plain from its first breath: it is evaluated, averaged into and saved as with SGD."""

    class Distilled(Module):
        teacher: nn.Module | None = None

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            if self.teacher is None:
                object.__setattr__(self, "teacher", deepcopy(self.net).requires_grad_(False))
            with torch.no_grad():
                for theirs, ours in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                    theirs.lerp_(ours, 0.1)
            logits, wanted = self.net(x), self.teacher(x)
            torch.save(self.net, io.BytesIO())
            return nn.functional.cross_entropy(logits, y) + nn.functional.mse_loss(logits, wanted)

    compare(lambda: Distilled(mlp(), lr=LR))


def test_a_copy_trained_within_a_step() -> None:
    """As in Reptile: a copy is trained by SGD, and the weights move towards it."""

    class Reptile(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            inner = deepcopy(self.net)
            optimizer = torch.optim.SGD(inner.parameters(), lr=0.5)
            for _ in range(3):
                optimizer.zero_grad()
                self.loss(inner, *batch).backward()
                optimizer.step()
            pairs = zip(self.net.parameters(), inner.parameters(), strict=True)
            return sum((ours - theirs.detach()).square().sum() for ours, theirs in pairs)

    compare(lambda: Reptile(mlp(), lr=LR))


def test_compiled_modules_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    module = Module(mlp())
    module.net.compile()
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        trainer(VSMLLearner(), max_steps=3).fit(module, classification())
    assert caplog.text.count("torch.compile has no effect while the model is attached") == 1
