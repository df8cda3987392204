"""The random data: living grids and their worlds."""

import torch

from lightning_vsml.cloning.pool import Worlds, born, feedback, inputs, renew
from lightning_vsml.cloning.structure import Symmetric
from lightning_vsml.cloning.targets import TARGETS

WORLDS = Worlds(grids=400, inputs=6, outputs=4, samples=50)


def pool(seed: int = 0):
    clone = Symmetric(TARGETS["sgd"])
    generator = torch.Generator().manual_seed(seed)
    return clone, born(WORLDS, clone, 1, generator), generator


def test_worlds_differ_within_their_ranges() -> None:
    clone, grids, _ = pool()
    (w,) = clone.decode(grids.c)
    for sizes, (low, high) in ((grids.x_std, WORLDS.x_std), (grids.e_std, WORLDS.e_std)):
        assert low <= float(sizes.min()) < 1.2 * low and high / 1.2 < float(sizes.max()) <= high
    spread = w.std((1, 2))
    assert float(spread.min()) < 0.05 and float(spread.max()) > 0.7
    assert 0.4 < float(grids.driven.mean()) < 0.6
    assert not grids.h.any()


def test_inputs_have_their_world_s_size_background_and_silence() -> None:
    _, grids, generator = pool()
    x = inputs(grids, WORLDS, generator)
    assert x.shape == (50, 400, 6)
    silent = (x == 0).float().mean((0, 2))
    torch.testing.assert_close(silent, grids.silence[:, 0], atol=0.12, rtol=0)
    loud = x.where(x != 0, torch.nan)
    torch.testing.assert_close(
        loud.nanmean((0, 2)) / grids.x_std[:, 0], (grids.x_mean / grids.x_std)[:, 0], atol=0.5, rtol=0
    )


def test_feedback_has_its_world_s_size_and_leads_driven_grids_to_their_teacher() -> None:
    clone, grids, generator = pool()
    x = inputs(grids, WORLDS, generator)
    y = torch.einsum("sga,gab->sgb", x, clone.decode(grids.c)[0])
    e = feedback(grids, x, y, generator)
    size = e.square().mean((0, 2)).sqrt()
    torch.testing.assert_close(size, grids.e_std[:, 0], rtol=0.35, atol=0)
    error = torch.einsum("sga,gab->sgb", x, grids.teacher) - y
    alike = torch.cosine_similarity(e, error, dim=0).mean(-1)
    assert bool((alike[grids.driven[:, 0] > 0] > 0.999).all())
    assert bool((alike[grids.driven[:, 0] == 0].abs() < 0.5).all())


def test_the_dead_are_replaced_and_the_living_stay() -> None:
    _, old, _ = pool(0)
    _, new, _ = pool(1)
    dead = torch.arange(400) % 3 == 0
    for before, newborn, after in zip(old, new, renew(old, new, dead), strict=True):
        assert torch.equal(after[dead], newborn[dead]) and torch.equal(after[~dead], before[~dead])
