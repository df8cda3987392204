"""Pictures of states: what panels show, and how they are named and scaled."""

import numpy as np
import torch
from matplotlib.figure import Figure

from lightning_vsml import checkpoints
from lightning_vsml.fit.pictures import LARGEST, heat_maps

LAYOUT = checkpoints.load("adaptive").layout


def panels(figure: Figure) -> dict[str, np.ndarray]:
    return {axis.get_title(): np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images}


def test_a_panel_for_each_plane_with_a_scale_of_its_own_around_0() -> None:
    state = torch.randn(len(LAYOUT.planes), 2, 5, 3) * 10.0 ** torch.arange(len(LAYOUT.planes)).view(-1, 1, 1, 1)
    state[3] = 0.0
    figure = heat_maps("net.0", LAYOUT, state)
    shown = panels(figure)
    assert next(iter(shown)) == "weight" and len(shown) == len(LAYOUT.planes)
    assert "net.0" in figure.get_suptitle()
    for place, (plane, image) in enumerate(zip(LAYOUT.planes, shown.values(), strict=True)):
        assert plane.codes or f"{'hc'[plane.part]} of unit {plane.unit}" == list(shown)[place]
        np.testing.assert_allclose(image, torch.cat([state[place, 0].T, state[place, 1].T], 1))  # outputs x inputs
        low, high = next(a for a in figure.axes if a.get_title() == list(shown)[place]).images[0].get_clim()
        assert -low == high == (float(state[place].abs().max()) or 1.0)
    bars = [axis for axis in figure.axes if not axis.get_title()]
    assert len(bars) == len(LAYOUT.planes)


def test_large_layers_are_averaged() -> None:
    state = torch.ones(len(LAYOUT.planes), 1, 3 * LARGEST, 20)
    for image in panels(heat_maps("", LAYOUT, state)).values():
        assert image.shape == (20, LARGEST)
        assert (image == 1).all()
