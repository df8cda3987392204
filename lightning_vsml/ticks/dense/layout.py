"""States as compiled ticks read them: what belongs to a synapse close together, inputs side by side."""

from torch import Tensor

WIDTH = 16  # numbers: inputs are padded to whole vectors of the widest kind


def laid_out(planes: Tensor) -> Tensor:
    """``(2N, G, A, B)`` as the kernel reads it: ``(G, B, 2N, A)`` with A padded; a view of what it has written."""
    turned = planes.permute(1, 3, 0, 2)
    G, B, N2, A = turned.shape
    wide = -(-A // WIDTH) * WIDTH
    strides = (B * N2 * wide, N2 * wide, wide, 1)
    if turned.stride() == strides and turned.storage_offset() == 0:
        return turned.as_strided((G, B, N2, wide), strides)
    return padded(turned)


def as_planes(laid: Tensor, A: int) -> Tensor:
    """The inverse of :func:`laid_out`, a view."""
    return laid[..., :A].permute(2, 0, 3, 1)


def padded(tensor: Tensor) -> Tensor:
    """Zeros to a multiple of :data:`WIDTH`."""
    A = tensor.shape[-1]
    out = tensor.new_zeros(*tensor.shape[:-1], -(-A // WIDTH) * WIDTH)
    out[..., :A] = tensor
    return out
