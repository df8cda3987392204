"""Copies learn by the formula as a model does that is attached to the program."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_vsml import attach
from lightning_vsml.algorithms.adaptive import Coordinates, adaptive
from lightning_vsml.algorithms.adaptive.formula import Gathered, begin, commit
from lightning_vsml.lab.ensembles import Ensemble, classification, regression
from lightning_vsml.meta.wide.grids import grids
from lightning_vsml.meta.wide.learning import ByFormula, learn
from lightning_vsml.meta.wide.models import CharacterMLP, Transformer, cnn, mlp
from lightning_vsml.meta.wide.tasks import Task

STEPS, CLASSES = 20, 4


def vectors(generator: torch.Generator) -> Tensor:
    return 1 + torch.randn(10, 9, generator=generator).double()


def images(generator: torch.Generator) -> Tensor:
    return torch.randn(5, 1, 6, 6, generator=generator).double()


def characters(generator: torch.Generator) -> Tensor:
    return torch.randint(CLASSES, (6, 3), generator=generator)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[torch.Generator], Tensor]]] = {
    "mlp": (lambda: mlp([9, 8, 6, CLASSES]), vectors),
    "layer norm": (lambda: mlp([9, 8, 6, CLASSES], "gelu", "layer"), vectors),
    "batch norm": (lambda: mlp([9, 8, 6, CLASSES], "tanh", "batch"), vectors),
    "no bias": (lambda: nn.Sequential(nn.Linear(9, 7, bias=False), nn.Tanh(), nn.Linear(7, CLASSES)), vectors),
    "cnn": (lambda: cnn((1, 6, 6), (4, 6), CLASSES, "tanh", "group"), images),
    "characters": (lambda: CharacterMLP(CLASSES, 5, 3, 8), characters),
    "transformer": (lambda: Transformer(CLASSES, 6, 3, 1), characters),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_program(name: str) -> None:
    make, inputs = MODELS[name]
    model, generator = make().double(), torch.Generator().manual_seed(1)
    batches = []
    for _ in range(STEPS):
        x = inputs(generator)
        batches.append((x, torch.randint(CLASSES, model(x).shape[:-1], generator=generator)))
    both = torch.tensor([Coordinates(), Coordinates(rate=-1.0)], dtype=torch.float64)
    learner = ByFormula(Ensemble(model, classification, 2), both)
    curve = torch.stack([learner.step(x, y)[0] for x, y in batches])

    theirs, synapses = [], attach(model, adaptive(dtype=torch.float64))
    for x, y in batches:
        loss = nn.functional.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        synapses.step()
        theirs.append(loss.detach())
    torch.testing.assert_close(curve[:, 0], torch.stack(theirs), rtol=0, atol=1e-4)
    assert float((curve[1:, 0] - curve[1:, 1]).abs().mean()) > 1e-3  # copies have coordinates of their own
    for name, parameter in model.named_parameters():
        ours = learner.ensemble.parameters[name][0]
        torch.testing.assert_close(ours, parameter.detach(), rtol=1e-4, atol=1e-4)


def test_a_step_by_hand() -> None:
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    layer = nn.Linear(3, 2).double()
    learner = ByFormula(Ensemble(layer, regression, 1), torch.tensor([Coordinates()]))
    bias, plain = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).unsqueeze(-1), torch.zeros(4, 1)
    memory = begin(torch.cat([layer.weight, layer.bias.unsqueeze(-1)], -1).mT.detach().unsqueeze(0))
    inputs = torch.cat([x, x.new_ones(6, 1)], 1)
    for _ in range(3):
        e = (y - inputs @ memory.weight[0]) / 6  # minus dLoss/dOutput of each sample
        centred = inputs - memory.mean[0, :, 0]
        new = Gathered(
            (centred.T @ e).unsqueeze(0), inputs.mean(0)[None, :, None], centred.square().mean(0)[None, :, None]
        )
        memory = commit(memory, new, Coordinates(), bias, plain)
        learner.step(x, y)
    ours = torch.cat([learner.ensemble.parameters[name].flatten() for name in ("weight", "bias")])
    theirs = torch.cat([memory.weight[0, :3].T.flatten(), memory.weight[0, 3]])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # the coordinates are float32


def test_a_task_is_learned_and_a_copy_that_diverges_stays_alone() -> None:
    x = torch.randn(200, 5)
    task = Task("", lambda: mlp([5, 3]), x, (x @ torch.randn(5, 3)).argmax(1), classification, 8, 0)
    both = torch.tensor([Coordinates(), Coordinates(rate=float("nan"))])
    curves = learn(task, both, 40)
    assert curves.loss.shape == curves.metric.shape == (40, 2)
    assert float(curves.loss[-10:, 0].mean()) < 0.6 * float(curves.loss[0, 0])
    assert not curves.loss[1:, 1].isfinite().any()


def test_what_has_no_grid() -> None:
    for layer in (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(1, 1, 3, padding="same"), nn.LayerNorm(3, bias=False)):
        with pytest.raises(ValueError, match="expected no groups and a padding by zeros, or a norm with a bias, got"):
            list(grids(nn.Sequential(layer)))
    with pytest.raises(ValueError, match=r"coordinates should be \(3, \d+\), \(copies, n\), got \(2, \d+\)"):
        ByFormula(Ensemble(nn.Linear(2, 2), regression, 3), torch.zeros(2, len(Coordinates._fields)))
