"""States in the checkpoints of runs, of this version and of 0.1, which kept every unit's h and c."""

from torch import Tensor

from lightning_vsml.ticks import Layout


def planes_of(name: str, parts: dict[str, Tensor], layout: Layout) -> Tensor:
    """A layer's planes; from h and c as version 0.1 kept them, if they are planes of that layout.

    Raises:
        ValueError: they are not.
    """
    if "planes" in parts:
        return parts["planes"]
    h, c = parts["h"], parts["c"]
    if c.shape[-1] != len(layout.units[0]):
        raise ValueError(
            f"the states of layer {name!r} in the checkpoint are of {c.shape[-1]} units, but the algorithm has "
            f"{len(layout.units[0])}. Resume with the model and algorithm that the checkpoint was made with."
        )
    if misfit := layout.misfit(h, c):
        raise ValueError(
            f"the states of layer {name!r} in the checkpoint are of version 0.1, which kept all units, and {misfit} is "
            "not what the others say it is. Load only the weights and start a new fit."
        )
    return layout.compress(h, c)
