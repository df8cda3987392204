"""Pictures of states, pixel by pixel."""

import math

import torch

from lightning_vsml.fit.pictures import NEGATIVE, POSITIVE, SMALLEST, WIDEST, ZERO, heat_map


def test_signs_are_colours_and_each_plane_has_its_scale() -> None:
    planes = torch.zeros(2, 1, 2, 3)
    planes[:, 0, 0, 0], planes[:, 0, 1, 2] = torch.tensor([5.0, -1e-3]), torch.tensor([-2.5, 1e-3])
    image = heat_map(planes)
    zoom = math.ceil(SMALLEST / 3)
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
    image = heat_map(torch.zeros(3, 1, 1000, 20))  # wide panels, one below the other
    assert image.shape == (3, 3 * 22, WIDEST + 2)
    assert (image[:, 1:21, 1 : WIDEST + 1] == 1).all()


def test_panels_make_lines() -> None:
    """Five square ones: three and two, and nothing in the last place."""
    image = heat_map(torch.ones(5, 1, 80, 80))
    assert image.shape == (3, 2 * 82, 3 * 82)
    assert (image[:, 82:, 2 * 82 :] == 0.5).all()
    torch.testing.assert_close(image[:, 83, 82 + 1], torch.tensor(POSITIVE))
