"""Random numbers that follow from a layer's initial weights."""

import hashlib

import torch
from torch import Tensor


def noise(weights: Tensor, planes: int) -> Tensor:
    """Standard normal numbers of a layer's own: seeded by its initial weights, so that they are what the user's seed
    makes them, and the same for all processes that begin with the same model. ``(G, A, B)`` -> ``(planes, G, A, B)``,
    float32 on the CPU.
    """
    content = weights.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    seed = int.from_bytes(hashlib.sha256(content).digest()[:7], "little")
    return torch.randn(planes, *weights.shape, generator=torch.Generator().manual_seed(seed))
