"""Trainer(precision=...): states stay in float32 (float64), feedback is brought to them, results are close."""

from typing import Any

import pytest
import torch
from helpers import Module, classification, mlp, relative_differences, trainer
from lightning.pytorch.plugins import MixedPrecision
from models import ResNet
from torch import nn

from lightning_vsml import VSMLLearner

BOUND = {"32-true": 1e-4, "64-true": 1e-4, "bf16-mixed": 0.02, "bf16-true": 0.05, "16-mixed": 0.02}
"""Largest relative difference of a layer's weights to SGD in float32 after 40 steps."""


def fit(precision: str, *learner: VSMLLearner, **settings: Any) -> Module:
    module = Module(mlp())
    trainer(*learner, precision=precision, max_steps=40, **settings).fit(module, classification(160))
    return module


@pytest.mark.parametrize(
    "precision", [*(name for name in BOUND if name != "16-mixed"), pytest.param("16-mixed", marks=pytest.mark.gpu)]
)
def test_close_to_sgd_in_float32(precision: str) -> None:
    device = {"accelerator": "gpu"} if precision == "16-mixed" else {}
    learner = VSMLLearner("backprop")
    ours, sgd = fit(precision, learner, **device), fit("32-true")
    states = learner.state_dict()["states"]
    dtype = torch.float64 if precision == "64-true" else torch.float32
    assert {tensor.dtype for state in states.values() for tensor in state.values()} == {dtype}
    assert {p.dtype for p in ours.parameters()} == {
        {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    }
    assert max(relative_differences(ours.net.float().cpu(), sgd.net).values()) < BOUND[precision]
    assert sum(ours.losses[-10:]) < 0.8 * sum(ours.losses[:10])


def scaled(scale: float, clip: float | None, *learner: VSMLLearner) -> tuple[Module, float]:
    """A fit with 16-mixed and a GradScaler, and the scale at its end."""
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
    module = Module(mlp())
    trainer(*learner, plugins=[plugin], max_steps=40, gradient_clip_val=clip).fit(module, classification(160))
    assert plugin.scaler is not None
    return module, plugin.scaler.get_scale()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_scaled_loss(clip: float | None) -> None:
    (ours, _), (sgd, _) = scaled(2.0**10, clip, VSMLLearner()), scaled(2.0**10, clip)
    assert max(relative_differences(ours.net, sgd.net).values()) < BOUND["16-mixed"]
    assert max(relative_differences(mlp(), sgd.net).values()) > 0.2


def test_a_scale_that_overflows_skips_steps_and_falls() -> None:
    """Not as often as with SGD, whose gradients are in float16."""
    (ours, scale), (_, of_sgd) = scaled(2.0**26, None, VSMLLearner()), scaled(2.0**26, None)
    assert of_sgd <= scale < 2.0**26
    assert sum(ours.losses[-10:]) < 0.9 * sum(ours.losses[:10])


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_many_layers_in_bfloat16(precision: str) -> None:
    """Outputs have the type that the layers themselves would give, wherever that matters to what follows."""
    torch.manual_seed(0)
    net = nn.Sequential(ResNet(torch.tanh), nn.LayerNorm(4))
    module = Module(net)
    trainer(VSMLLearner(), precision=precision, max_steps=40).fit(module, classification(160, (2, 6, 6)))
    assert sum(module.losses[-10:]) < 0.9 * sum(module.losses[:10])
