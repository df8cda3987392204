import pytest
import torch
from torch import nn

from lightning_vsml import attach
from lightning_vsml.algorithms.adaptive import Coordinates, adaptive
from lightning_vsml.lab.ensembles import Ensemble, classification
from lightning_vsml.meta.wide.learning import ByFormula
from lightning_vsml.meta.wide.models import CharacterMLP, Transformer, cnn, mlp

NETS = {
    "mlp": (lambda: mlp([9, 8, 6, 4], "tanh"), lambda g: torch.randn(10, 9, generator=g).double() + 1, ()),
    "layer": (lambda: mlp([9, 8, 6, 4], "tanh", "layer"), lambda g: torch.randn(10, 9, generator=g).double() + 1, ()),
    "batch": (lambda: mlp([9, 8, 6, 4], "tanh", "batch"), lambda g: torch.randn(10, 9, generator=g).double() + 1, ()),
    "cnn": (
        lambda: cnn((1, 6, 6), (4, 6), 4, "tanh", "group"),
        lambda g: torch.randn(5, 1, 6, 6, generator=g).double(),
        (),
    ),
    "nobias": (
        lambda: nn.Sequential(nn.Linear(9, 7, bias=False), nn.Tanh(), nn.Linear(7, 4)),
        lambda g: torch.randn(10, 9, generator=g).double(),
        (),
    ),
    "chars": (lambda: CharacterMLP(4, 5, 3, 8), lambda g: torch.randint(4, (10, 3), generator=g), ()),
    "transformer": (lambda: Transformer(4, 6, 5, 1), lambda g: torch.randint(4, (6, 5), generator=g), (5,)),
}


@pytest.mark.parametrize("name", NETS)
def test_it(name):
    make, inputs, more = NETS[name]
    torch.manual_seed(0)
    net = make().double()
    g = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(20):
        x = inputs(g)
        batches.append((x, torch.randint(4, (len(x), *more), generator=g)))
    c = torch.tensor([Coordinates(), Coordinates()])
    by = ByFormula(Ensemble(net, classification, 2), c.double())
    curve = torch.stack([by.step(*b)[0][1] for b in batches])
    syn = attach(net, adaptive(dtype=torch.float64))
    theirs = []
    for x, y in batches:
        out = net(x)
        loss = nn.functional.cross_entropy(out.flatten(0, -2), y.flatten())
        loss.backward()
        syn.step()
        theirs.append(loss.detach())
    print(name, (curve - torch.stack(theirs)).abs().tolist()[::3], curve.tolist()[::5])
