"""What a Trainer and a module must be like for the learner, and what a user should know."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.optim import Optimizer

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.binding.following import Following
from lightning_vsml.binding.rates import without_effect
from lightning_vsml.binding.synapses import Synapses
from lightning_vsml.fit.lightning import MisconfigurationException, kinds


def check_trainer(trainer: Trainer, learner_type: type) -> None:
    """Refuse what cannot work on this Trainer.

    Raises:
        MisconfigurationException: two learners, tuner callbacks, sharded weights.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if (count := sum(isinstance(callback, learner_type) for callback in callbacks)) > 1:
        raise MisconfigurationException(
            f"expected one VSMLLearner, the Trainer has {count}. A weight can follow one algorithm only; remove the "
            "others (a module's configure_callbacks may add one too)."
        )
    for tuner in ("LearningRateFinder", "BatchSizeFinder"):
        if any(isinstance(callback, kinds(f"callbacks.{tuner}")) for callback in callbacks):
            raise MisconfigurationException(
                f"{tuner} trains the model with its optimizer before fit starts, which VSMLLearner replaces. "
                "Remove that callback (or do not use Tuner), and set the value by hand."
            )
    sharded = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")
    if any(isinstance(trainer.strategy, kinds(f"strategies.{name}")) for name in sharded):
        raise MisconfigurationException(
            f"VSMLLearner needs whole weights on every process, but {type(trainer.strategy).__name__} shards them. "
            'Use strategy="auto" or "ddp". What sharded states would take: docs/scale.md.'
        )


def check_without_gradients(trainer: Trainer, algorithm: str) -> None:
    """Refuse settings of a Trainer that are about gradients, for an algorithm whose messages are none.

    Raises:
        MisconfigurationException: names the setting.
    """
    for what, is_set in (
        (f"gradient_clip_val={trainer.gradient_clip_val}", trainer.gradient_clip_val is not None),
        (f"accumulate_grad_batches={trainer.accumulate_grad_batches}", trainer.accumulate_grad_batches != 1),
    ):
        if is_set:
            raise MisconfigurationException(
                f"{what} is about gradients, which {algorithm!r} has none of: it learns from each batch as the loss "
                "gives it. Leave it out, or choose an algorithm whose messages are gradients, such as 'backprop'."
            )


def check_learned(learned: dict[str, Any], algorithm: Algorithm) -> None:
    """Refuse to run on states that are not there.

    Raises:
        MisconfigurationException: nothing was learned yet, or by another algorithm.
    """
    check_resumed(learned, algorithm)
    if not learned["states"]:
        raise MisconfigurationException(
            f"{algorithm.name!r} keeps what it learns in states, and this learner has none yet. Fit with it first, or "
            "give the checkpoint of a fit as ckpt_path."
        )


def check_optimizer(trainer: Trainer, pl_module: LightningModule, left: set[int]) -> None:
    """Refuse optimizers that do not hold what is left to them."""
    held = {id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
    if missing := [name for name, p in pl_module.named_parameters() if id(p) in left and id(p) not in held]:
        raise MisconfigurationException(
            "expected your optimizer to hold every parameter that is left to it, but it lacks "
            f"{', '.join(missing)}. Add them in {type(pl_module).__name__}.configure_optimizers, or let them be "
            "synapses."
        )


def check_resumed(resumed: dict[str, Any], algorithm: Algorithm) -> None:
    """Refuse states of another algorithm."""
    if resumed["fingerprint"] != algorithm.fingerprint:
        raise MisconfigurationException(
            f"the checkpoint was made by the learning algorithm {resumed['algorithm']!r} (fingerprint "
            f"{resumed['fingerprint'][:12]}), this learner runs {algorithm.name!r} "
            f"({algorithm.fingerprint[:12]}). Resume with the same algorithm, or load only the weights and "
            "start a new fit."
        )


def warn_frozen_again(resumed: dict[str, Any], synapses: Synapses) -> None:
    """Name what had learned in the checkpoint and is frozen now: Lightning does not unfreeze on resume."""
    live = set(synapses.live)
    if frozen := [name for name in resumed["states"] if name not in live]:
        rank_zero_warn(
            f"{', '.join(frozen)} had learned in the checkpoint and are frozen now, so they do not go on. If a "
            "finetuning callback had unfrozen them, it does not do so again when a fit is resumed: unfreeze them in "
            "the module's on_fit_start."
        )


def inform_without_states(path: Any) -> None:
    """Say that a checkpoint holds weights only."""
    rank_zero_info(f"{path} has no states of a VSMLLearner: they start from its weights.")


def inform_of_settings(optimizers: Sequence[Optimizer], synapses: Synapses) -> None:
    """Name what synapses do not follow of the optimizers, and what the optimizers do not hold."""
    for optimizer in optimizers:
        if "Mock" not in type(optimizer).__name__ and (names := without_effect(optimizer)):
            rank_zero_info(
                f"{type(optimizer).__name__}: VSMLLearner begins at its own lr, {synapses.rates.lr:g}, and follows how "
                f"rates change, and weight decay; {', '.join(names)} mean nothing to synapses."
            )
    held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    missing = [place for place, _, _, p in synapses.holding.mapping.places if id(p) not in held and p.requires_grad]
    if missing and len(missing) < len(synapses.holding.mapping.places):
        rank_zero_warn(f"no optimizer holds {', '.join(missing)}: they do not learn, as with the optimizer itself.")


def warn_silent(synapses: Synapses, following: Following) -> None:
    """Name the grids that no feedback has reached in the first epoch."""
    held = {id(parameter) for optimizer in following.optimizers for parameter in following.belonging(optimizer)}
    reached, grids = synapses.passes.reached, synapses.grids
    if silent := [name for name in synapses.live if name not in reached and id(grids[name].weight) in held]:
        rank_zero_warn(
            f"no feedback reached {', '.join(silent)} in the first epoch, so they did not learn: they are unused, "
            "or cut off from the loss."
        )
        reached.update(silent)  # once is enough
