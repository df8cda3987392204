"""Depth is the shortest chain from an input to an output through a layer, however a model is written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_vsml import attach


class Residual(nn.Module):
    """Three blocks of two layers that can be passed by, between a stem and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu_()
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Twice(nn.Module):
    """A layer that is called twice, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gain * self.layer(torch.tanh(self.layer(x))))


class Attention(nn.Module):
    """Attention and a hidden layer that can be passed by, between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x).unsqueeze(0)))


PERCEPTRON = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: PERCEPTRON, {"0": 3, "2": 3, "4": 3}),
        (Residual, {"stem": 2, "blocks.0.0": 4, "blocks.0.1": 4, "blocks.2.3": 4, "head": 2}),
        (Twice, {"layer": 3, "head": 3, "gain": 3}),
        (Attention, {"embedding": 2, "encoder.self_attn": 4, "encoder.linear2": 4, "head": 2}),
    ],
    ids=["perceptron", "residual", "twice", "attention"],
)
def test_depths(make: Callable[[], nn.Module], expected: dict[str, int]) -> None:
    model = make()
    with attach(model, "adaptive") as synapses:
        for _ in range(2):
            model(torch.randn(5, 4)).sum().backward()
            synapses.step()
        depths = synapses.changes.depths
        assert {name: depths.of(name) for name in expected} == expected


def test_a_resumed_run_goes_on_with_them() -> None:
    model = Residual()
    with attach(model, "adaptive") as synapses:
        model(torch.randn(5, 4)).sum().backward()
        synapses.step()
        saved = synapses.state_dict()
    with attach(model, "adaptive") as synapses:
        synapses.load_state_dict(saved)
        assert synapses.changes.depths.of("blocks.1.1") == 4


def test_layers_that_come_later_are_found() -> None:
    first, second = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    model = nn.ModuleList([first, second])
    with attach(model, "adaptive") as synapses:
        for parts in ([second], [second], [first, second], [first, second]):
            x = torch.randn(5, 4)
            for part in parts:
                x = part(x)
            x.sum().backward()
            synapses.step()
        assert synapses.changes.depths.known == {"1.0": 2, "1.2": 2, "0": 3}
