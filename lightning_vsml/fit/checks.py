"""What a Trainer and a module must be like for the learner, and what to do where they are not."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lightning_vsml.algorithms.cellular import LearningAlgorithm


def check_automatic(pl_module: LightningModule) -> None:
    """Refuse manual optimization, which has no step to take over."""
    if not pl_module.automatic_optimization:
        raise MisconfigurationException(
            f"VSMLLearner needs automatic optimization, but {type(pl_module).__name__} sets "
            "automatic_optimization = False. Return the loss from training_step and one optimizer (or None) from "
            "configure_optimizers, also where there were several, and leave stepping to the Trainer."
        )


def check_trainer(trainer: Trainer, learner_type: type, unmapped: str) -> None:
    """Refuse what cannot work on this Trainer.

    Raises:
        MisconfigurationException: two learners, tuner callbacks, sharded weights, a hybrid that is not supported.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if (count := sum(isinstance(callback, learner_type) for callback in callbacks)) > 1:
        raise MisconfigurationException(
            f"expected one VSMLLearner, the Trainer has {count}. A weight can follow one algorithm only; remove the "
            "others (a module's configure_callbacks may add one too)."
        )
    for tuner in (LearningRateFinder, BatchSizeFinder):
        if any(isinstance(callback, tuner) for callback in callbacks):
            raise MisconfigurationException(
                f"{tuner.__name__} trains the model with its optimizer before fit starts, which VSMLLearner replaces. "
                "Remove that callback (or do not use Tuner), and set the value by hand."
            )
    if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
        raise MisconfigurationException(
            f"VSMLLearner needs whole weights on every process, but {type(trainer.strategy).__name__} shards them. "
            'Use strategy="auto" or "ddp".'
        )
    if unmapped == "optimizer" and (trainer.world_size > 1 or trainer.precision == "16-mixed"):
        raise MisconfigurationException(
            'unmapped="optimizer" runs in one process and without gradient scaling, got '
            f"{trainer.world_size} processes and precision {trainer.precision}. Use one device and another precision, "
            'or unmapped="freeze".'
        )


def warn_ineffective(trainer: Trainer, pl_module: LightningModule) -> None:
    """Say which settings have no effect."""
    if trainer.gradient_clip_val:
        rank_zero_warn(
            "gradient_clip_val has no effect on layers that VSMLLearner trains: there are no gradients to clip."
        )
    if is_overridden("backward", pl_module):
        rank_zero_warn(f"{type(pl_module).__name__}.backward is not called: VSMLLearner takes its place.")


def check_stepped(pl_module: LightningModule, sweeps: int, commits: int) -> None:
    """Refuse a module that goes around the learner: feedback arrived, no step was taken."""
    if sweeps and not commits:
        raise MisconfigurationException(
            f"feedback arrived {sweeps} times in this epoch but no step was taken: expected "
            f"{type(pl_module).__name__}.optimizer_step to call optimizer.step(closure=...) on the optimizer it is "
            "given. Calling the raw torch optimizer goes around VSMLLearner."
        )


def warn_silent(layers: list[str]) -> None:
    """Name the layers that no feedback has reached."""
    if layers:
        rank_zero_warn(
            "no feedback reached these mapped layers in the first epoch, so they did not learn: "
            f"{', '.join(layers)}. They are unused, cut off from the loss, or inside activation checkpointing with "
            "use_reentrant=True (False is supported)."
        )


def warn_used_directly(layers: set[str]) -> None:
    """Name the layers whose weights the loss uses without calling the layer."""
    if layers:
        rank_zero_warn(
            f"the loss uses weights of {', '.join(sorted(layers))} outside of the layer's own call (an L1 or L2 "
            "penalty, x @ embedding.weight.T, functional.linear): nothing is learned from that part of it. Call the "
            "layer, or leave that part out."
        )


def check_optimizer(trainer: Trainer, pl_module: LightningModule, left_to_it: set[str]) -> None:
    """Refuse an optimizer that does not hold what is left to it."""
    held = {id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
    if missing := [name for name, p in pl_module.named_parameters() if name in left_to_it and id(p) not in held]:
        raise MisconfigurationException(
            'unmapped="optimizer" expects your optimizer to hold every parameter that is not mapped, but it lacks '
            f"{', '.join(missing)}. Add them in {type(pl_module).__name__}.configure_optimizers, or use "
            'unmapped="freeze".'
        )


def warn_beyond_reach(algorithm: LearningAlgorithm, places: set[tuple[str, str]], step: int) -> None:
    """Name the layers whose inputs, feedback or weights an algorithm does not follow any more."""
    fixes = {
        "input": (algorithm.reach.x, "Normalise the data or the activations"),
        "feedback": (algorithm.reach.e, "Lower lr or rescale the loss"),
        "weights": (algorithm.reach.w, "Scale the targets or the inputs, so that smaller weights do"),
    }
    for what, (limit, fix) in fixes.items():
        if layers := sorted(layer for found, layer in places if found == what):
            rank_zero_warn(
                f"step {step}: the {what} of {', '.join(layers)} exceed{'' if what == 'weights' else 's'} ±{limit:g}, "
                f"the reach of {algorithm.name!r}, which saturates beyond it: the layer learns less than it should. "
                f"{fix}."
            )


def inform_exact(layers: dict[str, str], step: int) -> None:
    """Say which layers run tick by tick, and why."""
    reasons = "; ".join(f"{name} ({reason})" for name, reason in layers.items())
    rank_zero_info(
        f"step {step}: ticks as few matrix products would not keep the tolerance, so every sample and synapse is "
        f"computed, which is slower, in {reasons}. vsml/exact_ticks counts such layers."
    )
