"""Lightning Fabric: a loop of one's own, set up by it; as SGD."""

from copy import deepcopy

import pytest
import torch
from helpers import classification, cross_entropy, mlp, relative_differences
from lightning.fabric import Fabric
from torch import nn

from lightning_vsml import attach

LR = 0.1


def loop(net: nn.Module, by_synapses: bool, precision: str) -> nn.Module:
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    model = deepcopy(net)
    if by_synapses:
        module, data = fabric.setup_module(model), fabric.setup_dataloaders(classification())
        optimizer = attach(module, lr=LR)
    else:
        module, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=LR))
        data = fabric.setup_dataloaders(classification())
    for x, y in list(data) * 3:
        optimizer.zero_grad()
        fabric.backward(cross_entropy(module, x, y))
        if by_synapses:
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        else:
            fabric.clip_gradients(module, optimizer, max_norm=0.5)
        optimizer.step()
    if by_synapses:
        assert set(optimizer.grids) == {"0", "2"}
        optimizer.detach()
    return model


@pytest.mark.parametrize(("precision", "limit"), [("32-true", 1e-4), ("64-true", 1e-6), ("bf16-mixed", 0.02)])
def test_a_loop_of_fabric(precision: str, limit: float) -> None:
    net = mlp(activation=nn.Tanh)
    ours, theirs = loop(net, True, precision), loop(net, False, precision)
    assert max(relative_differences(ours, theirs).values()) < limit
    assert max(relative_differences(net, theirs.to(torch.float32)).values()) > 0.05
