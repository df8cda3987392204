"""VSMLLearner in a Trainer: everything behaves as with Adam."""

import csv
import pickle
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, graph_leaves, mlp, relative_differences, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from lightning_vsml import LearningAlgorithm, VSMLLearner


def is_plain(module: nn.Module) -> bool:
    return all(type(parameter) is nn.Parameter and parameter.requires_grad for parameter in module.parameters())


def is_patched(run: Trainer) -> bool:
    return any("lightning_vsml" in str(vars(optimizer).get("step")) for optimizer in run.optimizers)


class At(Callback):
    """Does something once, at the end of a batch."""

    def __init__(self, batch: int, action: Any) -> None:
        self.batch, self.action = batch, action

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.batch:
            self.action(trainer, module)


def crash(*_: Any) -> None:
    raise RuntimeError("the power went")


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def logged(logger: CSVLogger) -> list[dict[str, str]]:
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        return list(csv.DictReader(file))


# --- as with Adam


def test_steps_metrics_and_callbacks_as_with_adam(tmp_path: Path) -> None:
    """The same counters, logged metrics, validation points, files and stops."""

    def run(*learner: VSMLLearner) -> tuple[Trainer, list[str], dict[str, int]]:
        calls: dict[str, int] = {}

        class Count(Callback):
            pass

        for hook in (
            "on_before_zero_grad",
            "on_before_backward",
            "on_after_backward",
            "on_before_optimizer_step",
            "on_validation_epoch_end",
            "on_train_epoch_end",
        ):

            def count(self: Any, *_: Any, hook: str = hook) -> None:
                calls[hook] = calls.get(hook, 0) + 1

            setattr(Count, hook, count)
        folder = tmp_path / ("vsml" if learner else "adam")
        fit = trainer(
            *learner,
            Count(),
            ModelCheckpoint(folder, filename="{step}", every_n_train_steps=4, save_top_k=-1),
            max_steps=18,
            val_check_interval=5,
            enable_checkpointing=True,
        )
        fit.fit(Module(mlp(), optimizer="Adam"), classification(), classification(16))
        return fit, sorted(file.name for file in folder.iterdir()), calls

    adam, adam_files, adam_calls = run()
    ours, files, calls = run(VSMLLearner())
    assert ours.global_step == adam.global_step == 18
    assert ours.current_epoch == adam.current_epoch
    assert files == adam_files == [f"step={step}.ckpt" for step in (12, 16, 4, 8)]
    assert calls == adam_calls
    assert set(ours.callback_metrics) == set(adam.callback_metrics) == {"loss", "val_loss"}
    assert ours.progress_bar_metrics.keys() == adam.progress_bar_metrics.keys() == {"loss"}


def test_it_learns_and_early_stopping_stops() -> None:
    module = Module(mlp())
    stop = EarlyStopping("val_loss", stopping_threshold=0.6, patience=100)
    fit = trainer(VSMLLearner(lr=0.5), stop, max_epochs=200)
    fit.fit(module, classification(), classification(16))
    assert stop.stopped_epoch > 0 and fit.current_epoch < 199
    assert sum(module.losses[-12:]) < 0.6 * sum(module.losses[:12])


def test_progress_bar_shows_the_logged_loss(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(VSMLLearner(), max_steps=3, enable_progress_bar=True).fit(Module(mlp()), classification())
    assert re.search(r"loss[=:] ?\d\.\d+", capsys.readouterr().out)


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_learning_rate_schedulers_are_followed(interval: str, tmp_path: Path) -> None:
    """Equal to SGD under the same schedule; LearningRateMonitor tells the truth; no warning about the steps' order."""

    class Scheduled(Module):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.2)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1.0, n / 5) * 0.9**n)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def run(*learner: VSMLLearner) -> tuple[Module, dict[str, float], list[dict[str, str]]]:
        module = Scheduled(mlp())
        logger = CSVLogger(tmp_path / str(len(learner)))
        fit = trainer(*learner, LearningRateMonitor(), max_steps=30, logger=logger, log_every_n_steps=1)
        fit.fit(module, classification(64))
        return module, {row["step"]: float(row["lr-SGD"]) for row in logged(logger) if row["lr-SGD"]}, logged(logger)

    (sgd, sgd_rates, _), (ours, rates, rows) = run(), run(VSMLLearner(lr=0.2))
    assert max(relative_differences(ours.net, sgd.net).values()) < 1e-4
    assert len(set(rates.values())) > 3 and rates == sgd_rates
    own = {row["step"]: float(row["vsml/lr"]) for row in rows if row["vsml/lr"]}
    both = own.keys() & rates.keys()
    assert len(both) >= 3 and [own[step] for step in both] == pytest.approx([rates[step] for step in both])


@pytest.mark.parametrize(
    ("schedule", "interval"),
    [
        (lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.4, 30, cycle_momentum=False), "step"),
        (lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.3, 5, cycle_momentum=False), "step"),
        (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30), "step"),
        (lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=1.0), "epoch"),
    ],
)
def test_schedulers_with_rates_of_their_own(schedule: Callable[[Any], Any], interval: str, tmp_path: Path) -> None:
    """The ratio is to the rate that the optimizer was made with, whatever a scheduler starts from; resumed too."""

    class Scheduled(Module):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.2)
            scheduler = {"scheduler": schedule(optimizer), "interval": interval, "monitor": "loss"}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    ends = []
    for learner in ([], [VSMLLearner(lr=0.2)]):
        halves = trainer(*learner, max_steps=16)
        halves.fit(module := Scheduled(mlp(activation=nn.Tanh)), classification(64))
        halves.save_checkpoint(tmp_path / "half.ckpt")
        trainer(*learner, max_steps=30).fit(module, classification(64), ckpt_path=tmp_path / "half.ckpt")
        ends.append(module.net)
    assert max(relative_differences(ends[1], ends[0]).values()) < 1e-3


def test_learning_rate_schedulers_need_not_be_followed() -> None:
    class Scheduled(Module):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            return [optimizer], [torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.0, total_iters=100)]

    plain, ours, followed = Module(mlp()), Scheduled(mlp()), Scheduled(mlp())
    for module, learner in (
        (plain, VSMLLearner()),
        (ours, VSMLLearner(follow_optimizer=False)),
        (followed, VSMLLearner()),
    ):
        trainer(learner, max_steps=12).fit(module, classification())
    assert ours.losses == plain.losses != followed.losses


def test_accumulated_batches_equal_sgds() -> None:
    fits = []
    for learner in ([], [VSMLLearner(lr=0.1)]):
        module = Module(mlp())
        fit = trainer(*learner, max_steps=20, accumulate_grad_batches=3)
        fit.fit(module, classification())
        assert fit.global_step == 20
        fits.append(module)
    assert max(relative_differences(fits[1].net, fits[0].net).values()) < 1e-4


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_skipped_batches_equal_sgds() -> None:
    class Skipping(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx % 3 == 1 else super().training_step(batch, batch_idx)

    fits = []
    for learner in ([], [VSMLLearner(lr=0.1)]):
        module = Skipping(mlp())
        trainer(*learner, max_steps=20).fit(module, classification())
        fits.append(module)
    assert max(relative_differences(fits[1].net, fits[0].net).values()) < 1e-4


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_a_module_without_optimizer() -> None:
    class Bare(Module):
        def configure_optimizers(self) -> None:
            return None

    with_sgd, bare = Module(mlp()), Bare(mlp())
    trainer(VSMLLearner(), max_steps=5).fit(with_sgd, classification())
    trainer(VSMLLearner(), max_steps=5).fit(bare, classification())
    assert max(relative_differences(bare.net, with_sgd.net).values()) == 0


def test_unmapped_parameters_by_the_optimizer_or_frozen(tmp_path: Path) -> None:
    def net() -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 4))

    sgd, hybrid, frozen = Module(net()), Module(net()), Module(net())
    trainer(max_steps=20).fit(sgd, classification())
    learner = VSMLLearner(lr=0.1, unmapped="optimizer", diagnostics=True)  # which leaves gradients as they were
    trainer(learner, max_steps=20, logger=CSVLogger(tmp_path), log_every_n_steps=1).fit(hybrid, classification())
    trainer(VSMLLearner(lr=0.1, unmapped="freeze"), max_steps=20).fit(frozen, classification())
    assert max(relative_differences(hybrid.net, sgd.net).values()) < 1e-4
    assert torch.equal(frozen.net[1].weight, net()[1].weight) and frozen.net[1].weight.requires_grad
    assert not torch.equal(frozen.net[0].weight, net()[0].weight)


def compile_nothing(module: Module) -> LightningModule:
    return module


def compile_all(module: Module) -> LightningModule:
    return torch.compile(module)


def compile_net(module: Module) -> LightningModule:
    module.net = torch.compile(module.net)
    return module


def compile_in_place(module: Module) -> LightningModule:
    module.net.compile()
    return module


@pytest.mark.parametrize("compiled", [compile_all, compile_net, compile_in_place])
def test_compiled_modules_learn(compiled: Any) -> None:
    """A compiled graph would not see the forwards that the learner puts in place of the layers' own."""
    modules = []
    for how in (compile_nothing, compiled):
        module = Module(mlp())
        trainer(VSMLLearner(), max_steps=5).fit(how(module), classification())
        modules.append(module)
    for ours, plain in zip(modules[1].parameters(), modules[0].parameters(), strict=True):
        assert torch.equal(ours, plain)


def test_no_gradient_through_weights_during_fit() -> None:
    """No parameter is reachable from the loss's graph; what it shows as its gradient is change / -lr."""
    seen, shown = [], []

    class Watched(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            seen.append({id(leaf) for leaf in graph_leaves(loss)} & {id(p) for p in self.parameters()})
            return loss

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            shown.append([p.grad.clone() for p in self.parameters()])

    trainer(VSMLLearner(), max_steps=5).fit(Watched(mlp()), classification())
    assert seen == [set()] * 5
    trainer(max_steps=5).fit(Watched(mlp()), classification())
    assert [len(found) for found in seen[5:]] == [4] * 5  # what the same module shows under SGD
    for ours, theirs in zip(shown[:5], shown[5:], strict=True):
        for gradient, true in zip(ours, theirs, strict=True):
            torch.testing.assert_close(gradient, true, rtol=1e-4, atol=1e-6)


# --- traces


def test_nothing_is_left_patched_and_adam_works_afterwards() -> None:
    module, fit = Module(mlp(), optimizer="Adam"), trainer(VSMLLearner(), max_steps=4)
    pickled = []
    fit.callbacks.append(At(2, lambda run, m: pickled.append(pickle.dumps(m.net))))
    fit.fit(module, classification())
    assert pickled and not is_patched(fit) and is_plain(module)
    restored = pickle.loads(pickle.dumps(module.net))
    assert all(torch.equal(a, b) for a, b in zip(restored.parameters(), module.net.parameters(), strict=True))
    before = module.net[0].weight.clone()
    trainer(max_steps=3).fit(module, classification())
    assert module.net[0].weight.grad is not None and not torch.equal(module.net[0].weight, before)


@pytest.mark.parametrize(("accident", "error"), [(crash, RuntimeError), (interrupt, SystemExit)])
def test_nothing_is_left_patched_after_an_accident(accident: Any, error: type[BaseException]) -> None:
    import signal

    handler = signal.getsignal(signal.SIGINT)
    module, fit = Module(mlp()), trainer(VSMLLearner(), At(2, accident), max_steps=5)
    with pytest.raises(error):
        fit.fit(module, classification())
    signal.signal(signal.SIGINT, handler)
    assert not is_patched(fit) and is_plain(module)
    after = Module(module.net)
    trainer(max_steps=2).fit(after, classification())
    assert len(after.losses) == 2


def test_an_error_within_the_step_leaves_a_plain_module() -> None:
    class Failing(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            super().training_step(batch, batch_idx)
            raise RuntimeError("the power went")

    module, fit = Failing(mlp()), trainer(VSMLLearner(), max_steps=5)
    with pytest.raises(RuntimeError, match="the power went"):
        fit.fit(module, classification())
    assert not is_patched(fit) and is_plain(module)


def test_the_same_learner_fits_several_times() -> None:
    """As an optimizer, it starts afresh from the weights each time."""
    learner, module, twice = VSMLLearner(), Module(mlp()), Module(mlp())
    trainer(learner, max_steps=5).fit(module, classification())
    trainer(learner, max_steps=5).fit(module, classification())
    for _ in range(2):
        trainer(VSMLLearner(), max_steps=5).fit(twice, classification())
    assert max(relative_differences(module.net, twice.net).values()) == 0


def test_validate_and_test_alone_run_untouched() -> None:
    fit = trainer(VSMLLearner())
    assert "val_loss" in fit.validate(Module(mlp()), classification(16), verbose=False)[0]
    assert not is_patched(fit)


# --- resume


class Resumable:
    """A loader that continues where a checkpoint was made."""

    def __init__(self) -> None:
        self.batches, self.start, self.given = list(classification(160)), 0, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        start, self.start = self.start, 0
        for given, batch in enumerate(self.batches[start:], start=start + 1):
            self.given = given
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["given"]


@pytest.mark.parametrize("accident", [None, crash])
@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_resume_is_bitwise(tmp_path: Path, accident: Any) -> None:
    """Stop or crash at step 7 of 20 and resume from the checkpoint of step 5: weights and states end the same."""

    def run(steps: int, *callbacks: Callback, ckpt_path: str | None = None) -> tuple[Module, VSMLLearner]:
        module, learner = Module(mlp()), VSMLLearner()
        fit = trainer(learner, *callbacks, max_steps=steps, enable_checkpointing=bool(callbacks))
        fit.fit(module, Resumable(), ckpt_path=ckpt_path)
        return module, learner

    whole, whole_learner = run(20)
    save = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=5, save_top_k=-1)
    if accident is None:
        run(7, save)
    else:
        with pytest.raises(RuntimeError, match="the power went"):
            run(20, save, At(7, accident))
    resumed, learner = run(20, ckpt_path=str(tmp_path / "step=5.ckpt"))

    assert resumed.losses == whole.losses[5:]
    for ours, theirs in zip(resumed.net.parameters(), whole.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for name, state in whole_learner.state_dict()["states"].items():
        for key, tensor in state.items():
            assert torch.equal(learner.state_dict()["states"][name][key], tensor)


def test_checkpoints_hold_plain_tensors(tmp_path: Path) -> None:
    fit = trainer(VSMLLearner(), max_steps=3)
    fit.fit(Module(mlp()), classification())
    fit.save_checkpoint(tmp_path / "x.ckpt")  # after fit, states included
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    state = content["callbacks"]["VSMLLearner"]
    assert state["states"]["net.0"]["planes"].shape == (1, 1, 7, 8)
    plain = Module(mlp())
    plain.load_state_dict(content["state_dict"])  # the module's own part needs no learner


@pytest.mark.parametrize("fits", [True, False])
def test_resuming_from_states_of_version_0_1(tmp_path: Path, fits: bool) -> None:
    """They held every unit's h and c."""

    def run(steps: int, path: Path | None = None) -> tuple[Trainer, Module]:
        fit, module = trainer(VSMLLearner(), max_steps=steps), Module(mlp())
        fit.fit(module, Resumable(), ckpt_path=path and str(path))
        return fit, module

    path, old = tmp_path / "x.ckpt", tmp_path / "old.ckpt"
    run(3)[0].save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    states, layout = content["callbacks"]["VSMLLearner"]["states"], VSMLLearner().algorithm.layout
    for name, state in states.items():
        h, c = layout.expand(state["planes"])
        h[..., 2:], c[..., 2:] = 7.0, -7.0  # of units that nothing reads
        states[name] = {"h": h, "c": c}
    if not fits:
        states["net.2"]["c"][0, 1, 2, 1] += 1
    torch.save(content, old)
    if fits:
        ours, theirs = run(6, old)[1], run(6, path)[1]
        assert ours.losses == theirs.losses and len(ours.losses) == 3
        assert max(relative_differences(ours.net, theirs.net).values()) == 0
    else:
        with pytest.raises(ValueError, match=r"states of layer 'net.2' .* of version 0.1, .* c of unit 1 is not what"):
            run(6, old)


def test_resuming_with_another_algorithm_is_an_error(tmp_path: Path) -> None:
    from lightning_vsml import programs

    fit = trainer(VSMLLearner(), max_steps=3)
    fit.fit(Module(mlp()), classification())
    fit.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(Exception, match=r"made by the learning algorithm 'backprop' .* Resume with the same algorithm"):
        trainer(VSMLLearner(programs.backprop(k=1.0)), max_steps=5).fit(
            Module(mlp()), classification(), ckpt_path=str(tmp_path / "x.ckpt")
        )


def test_states_of_a_checkpoint_that_was_only_tested_are_not_used(tmp_path: Path) -> None:
    fit = trainer(VSMLLearner(), max_steps=3)
    fit.fit(Module(mlp()), classification())
    fit.save_checkpoint(tmp_path / "x.ckpt")
    learner, module, fresh = VSMLLearner(), Module(mlp()), Module(mlp())
    run = trainer(learner, max_steps=4)
    run.validate(module, classification(16), ckpt_path=str(tmp_path / "x.ckpt"), verbose=False)
    module.load_state_dict(fresh.state_dict())
    run.fit(module, classification())
    trainer(VSMLLearner(), max_steps=4).fit(fresh, classification())
    assert max(relative_differences(module.net, fresh.net).values()) == 0


# --- what it shows


def test_table_at_fit_start(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    net[4].requires_grad_(False)
    trainer(VSMLLearner(lr=0.25), max_steps=1).fit(Module(net), classification(8, (2, 3, 3)))
    assert capsys.readouterr().out == ""  # asked for quiet
    trainer(VSMLLearner(lr=0.25), max_steps=1, enable_model_summary=True).fit(Module(net), classification(8, (2, 3, 3)))
    shown = capsys.readouterr().out
    assert "backprop, lr = 0.25, N = 5" in shown
    assert re.search(r"net.0 +│ Conv2d +│ 2 x 10 x 2 +│ +400", shown)
    assert re.search(r"net.3 +│ Linear +│ +5 x 4 +│ +200", shown)
    assert re.search(r"net.4 +│ Linear +│ +5 x 4 +│ +frozen", shown)
    assert re.search(r"\|V_L\|[^│]*│[^│]*│[^│]*│ +600 ", shown)
    assert re.search(r"\|V_M\|[^│]*│[^│]*│[^│]*│ +190 ", shown)
    assert re.search(r"\|V_L\| / \|V_M\|[^│]*│[^│]*│[^│]*│ +3.2 ", shown)
    assert "glue: Flatten, ReLU" in shown


@pytest.mark.parametrize("diagnostics", [False, True])
def test_curves_per_layer(tmp_path: Path, diagnostics: bool) -> None:
    logger = CSVLogger(tmp_path)
    fit = trainer(VSMLLearner(diagnostics=diagnostics), max_steps=6, logger=logger, log_every_n_steps=2)
    fit.fit(Module(mlp()), classification())
    rows = [row for row in logged(logger) if row["vsml/feedback_norm/net.0"]]
    assert len(rows) == 3
    quantities = {"feedback_norm", "update_norm", "state_absmax"}
    quantities |= {"update_cosine", "message_cosine"} if diagnostics else set()
    for row in rows:
        values = {key: float(value) for key, value in row.items() if key.startswith("vsml/")}
        assert values.pop("vsml/lr") == pytest.approx(0.1)
        assert values.pop("vsml/exact_ticks") == 0
        assert set(values) == {f"vsml/{quantity}/net.{layer}" for quantity in quantities for layer in (0, 2)}
        assert all(value > 0 for value in values.values())
        if diagnostics:
            assert values["vsml/update_cosine/net.0"] == pytest.approx(1, abs=1e-4)
            assert values["vsml/message_cosine/net.2"] == pytest.approx(1, abs=1e-4)


def test_the_cosine_is_that_of_the_weights_step_and_the_gradient(algorithm: LearningAlgorithm, tmp_path: Path) -> None:
    """Whatever else than memories an algorithm reads weights from; in the third step."""
    logger, net, steps = CSVLogger(tmp_path), mlp(activation=nn.Tanh), []

    class Recording(Module):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            net = deepcopy(self.net)  # a plain module
            self.loss(net, *batch).backward()
            layer = list(net[0].parameters())
            steps.append([torch.cat([t.flatten() for t in ts]) for ts in (layer, [p.grad for p in layer])])

    fit = trainer(VSMLLearner(algorithm, diagnostics=True), max_steps=4, logger=logger, log_every_n_steps=1)
    fit.fit(Recording(net), classification())
    (before, gradient), (after, _) = steps[2:4]
    wanted = nn.functional.cosine_similarity((after - before).detach(), -gradient, dim=0)
    rows = [float(row["vsml/update_cosine/net.0"]) for row in logged(logger) if row["vsml/update_cosine/net.0"]]
    assert rows[2] == pytest.approx(float(wanted), abs=1e-3)


def test_pictures_of_states(tmp_path: Path) -> None:
    """At logged steps 0, 1, 3, 7, ...: each time the number of steps has doubled; on TensorBoard, not in a CSV file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [TensorBoardLogger(tmp_path), CSVLogger(tmp_path)]
    fit = trainer(VSMLLearner(diagnostics=True), max_steps=10, logger=loggers, log_every_n_steps=1)
    fit.fit(Module(mlp()), classification())
    events = EventAccumulator(loggers[0].log_dir).Reload()
    layers = {"net.0", "net.2"}
    assert set(events.Tags()["images"]) == {f"vsml/states/{layer}" for layer in layers}
    assert set(events.Tags()["histograms"]) == {f"vsml/c0/{layer}" for layer in layers}
    assert [image.step for image in events.Images("vsml/states/net.0")] == [0, 1, 3, 7]
    assert len([row for row in logged(loggers[1]) if row["vsml/update_cosine/net.0"]]) == 10


def test_tensorboard_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    trainer(VSMLLearner(), max_steps=4, logger=logger, log_every_n_steps=1).fit(Module(mlp()), classification())
    events = EventAccumulator(logger.log_dir).Reload()
    assert {"loss", "vsml/update_norm/net.0", "vsml/state_absmax/net.2"} <= set(events.Tags()["scalars"])
    steps = [event.step for event in events.Scalars("vsml/update_norm/net.0")]
    assert steps == [event.step for event in events.Scalars("loss")] == [0, 1, 2, 3]


def test_repr() -> None:
    shown = "VSMLLearner('backprop', lr=0.1, unmapped='synapse', forward='cell', optimizer=(), diagnostics=False, "
    shown += "follow_optimizer=True, ticks='auto')"
    assert repr(VSMLLearner()) == shown
    assert repr(VSMLLearner(ticks="reference")) == shown.replace("auto", "reference")
