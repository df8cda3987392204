"""A family of learning algorithms is added from outside: binding, callback and checkpoints take it as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers import Module, classification, cross_entropy, mlp, trainer
from torch import Tensor

from lightning_vsml import VSMLLearner, attach, checkpoints
from lightning_vsml.algorithms.base import FAMILIES, Algorithm, family
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Layout, Site
from lightning_vsml.ticks.plan.layout import Plane
from lightning_vsml.ticks.sites import Rows


@dataclass(frozen=True)
class SignDescent(Algorithm):
    """w' = w + lr sign(sum e x / S): Manhattan updates, with the weight itself as the only number of a synapse."""

    family: ClassVar[str] = "sign descent"
    readable: ClassVar[bool] = True

    name: str = "sign"
    lr: float = 0.01
    card: dict[str, Any] = field(default_factory=lambda: {"kind": "constructed"}, compare=False)
    ticks: str = "auto"
    reach: Reach = field(default_factory=Reach)
    units, size = 1, 1
    layout = Layout((Plane(1, 0, 1.0, True),), ((None,), ((0, 1.0),)))

    def begin(self, weights: Tensor) -> Tensor:
        return weights.unsqueeze(0).clone()

    def send(self, state: Tensor, x: Tensor | Site) -> list[Tensor]:
        site = x if isinstance(x, Site) else Rows(x, tuple(state.shape[1:]))
        return [site.forward(site.x, 1.0, site.select(state)[0], 1.0)]

    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        site = x if isinstance(x, Site) else Rows(x, tuple(state.shape[1:]))
        total = site.change(site.x, 1.0, e, 1 / samples)
        return Change(total.unsqueeze(0), site.rows), site.backward(e, site.select(state)[0], 1.0)

    def commit(self, state: Tensor, change: Change) -> Tensor:
        return state + self.lr * change.planes.sign()

    def decode(self, state: Tensor) -> Tensor:
        return state[0]

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        return weights.unsqueeze(0).to(state)

    def to(self, device: Any = None, dtype: Any = None) -> "SignDescent":
        return self

    def on(self, ticks: str | None = None, tolerance: float | None = None) -> "SignDescent":
        return self

    def tensors(self) -> dict[str, Tensor]:
        return {"lr": torch.tensor([self.lr])}

    def settings(self) -> dict[str, Any]:
        return {"step": self.lr}

    @classmethod
    def assemble(cls, card: dict[str, Any], tensors: dict[str, Tensor]) -> "SignDescent":
        return cls(card["name"], float(card["step"]), card)


@pytest.fixture
def _known() -> Iterator[None]:
    family(SignDescent)
    yield
    del FAMILIES[SignDescent.family]


def by_hand(steps: int) -> list[Tensor]:
    torch.manual_seed(0)
    net = mlp()
    for x, y in steps_of(steps):
        for parameter, gradient in zip(
            net.parameters(), torch.autograd.grad(cross_entropy(net, x, y), list(net.parameters())), strict=True
        ):
            parameter.data -= 0.01 * gradient.sign()
    return [parameter.detach() for parameter in net.parameters()]


def steps_of(steps: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(8, 6), torch.randint(4, (8,))) for _ in range(steps)]


def test_it_runs_in_a_loop() -> None:
    torch.manual_seed(0)
    net = mlp()
    with attach(net, SignDescent()) as synapses:
        for x, y in steps_of(5):
            cross_entropy(net, x, y).backward()
            synapses.step()
    for own, theirs in zip(net.parameters(), by_hand(5), strict=True):
        torch.testing.assert_close(own.detach(), theirs)


@pytest.mark.usefixtures("_known")
def test_it_runs_in_a_trainer_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "sign.safetensors"
    checkpoints.save(replace(SignDescent(), lr=0.02), path, made_by={"command": "a test"})
    loaded = checkpoints.load(path)
    assert isinstance(loaded, SignDescent) and loaded.lr == 0.02
    torch.manual_seed(0)
    module = Module(mlp(), cross_entropy, 0.02)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    trainer(VSMLLearner(path), max_steps=1).fit(module, classification(8, (6,)))
    moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(module.parameters(), before, strict=True)])
    assert set((moved.abs() / 0.02).round(decimals=3).tolist()) <= {0.0, 1.0}


def test_an_unknown_family_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sign.safetensors"
    checkpoints.save(SignDescent(), path, made_by={"command": "a test"})
    with pytest.raises(checkpoints.CheckpointError, match="family 'sign descent'; known are cellular, emergent"):
        checkpoints.load(path)
