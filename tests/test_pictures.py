"""Pictures of states, pixel by pixel."""

import torch

from lightning_vsml.pictures import NEGATIVE, POSITIVE, WIDEST, ZERO, heat_map
from lightning_vsml.ticks import State


def state(c: torch.Tensor) -> State:
    return State(torch.zeros_like(c), c)


def test_signs_are_colours_and_each_unit_has_its_scale() -> None:
    c = torch.zeros(1, 2, 3, 2)
    c[0, 0, 0], c[0, 1, 2] = torch.tensor([5.0, -1e-3]), torch.tensor([-2.5, 1e-3])
    image = heat_map(state(c))
    zoom = 24 // 3
    height, width = 3 * zoom + 2, 2 * zoom + 2
    assert image.shape == (3, height, 2 * width)
    first, second = image[:, 1:-1, 1 : width - 1], image[:, 1:-1, width + 1 : -1]
    for panel, corner, opposite in ((first, POSITIVE, None), (second, NEGATIVE, POSITIVE)):
        torch.testing.assert_close(panel[:, 0, 0], torch.tensor(corner))
        torch.testing.assert_close(panel[:, -1, 0], torch.tensor(ZERO))
        if opposite:
            torch.testing.assert_close(panel[:, -1, -1], torch.tensor(opposite))
    torch.testing.assert_close(first[:, -1, -1], (torch.tensor(ZERO) + torch.tensor(NEGATIVE)) / 2)


def test_large_layers_are_averaged_and_empty_ones_are_white() -> None:
    image = heat_map(state(torch.zeros(1, 1000, 20, 3)))
    assert image.shape == (3, 22, 3 * (WIDEST + 2))
    assert (image[:, 1:-1, 1 : WIDEST + 1] == 1).all()
