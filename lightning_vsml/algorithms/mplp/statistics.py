"""What nodes are fed is standardised, and what they give is centred and scaled, by statistics of first minibatches."""

from collections.abc import Mapping

import torch
from torch import Tensor

STEP = 0.2  # an update is at most this, in units of 1 / sqrt(fan-in), until meta-training changes it
LIMIT = 5.0  # of what is standardised: probabilities and losses go far from where they begin
SPEED = 10.0  # so much faster than other parameters the scale is found

Recording = dict[str, list[tuple[Tensor, Tensor]]]  # mean and variance by name, of every use


def standardised(V: Mapping[str, Tensor], key: str, part: Tensor, recording: Recording | None) -> Tensor:
    """By the statistics of this name; or by its own, ``(..., numbers)``, which are recorded."""
    if recording is None:
        mean, std = V[key]
    else:
        over = tuple(range(part.dim() - 1))
        mean, variance = part.mean(over), part.var(over, correction=0)
        recording.setdefault(key, []).append((mean, variance))
        std = _deviation(variance)
    return ((part - mean) / std).clamp(-LIMIT, LIMIT)


def scaled(V: Mapping[str, Tensor], key: str, update: Tensor, recording: Recording | None) -> Tensor:
    """An update, centred and scaled."""
    if recording is not None:
        mean = update.mean()
        recording.setdefault(f"{key}.offset", []).append((mean, torch.zeros_like(mean)))
        return (update - mean) * STEP
    return (update - V[f"{key}.offset"]) * (STEP * (SPEED * V[f"{key}.scale"]).exp())


def pooled(recording: Recording) -> dict[str, Tensor]:
    """The tensors that belong into V: moments of all uses together, and scales of 1."""
    V: dict[str, Tensor] = {}
    for name, moments in recording.items():
        means, variances = (torch.stack(part) for part in zip(*moments, strict=True))
        mean = means.mean(0)
        if name.endswith(".offset"):
            V[name], V[name.replace(".offset", ".scale")] = mean, torch.zeros_like(mean)
        else:
            V[name] = torch.stack([mean, _deviation((variances + (means - mean).square()).mean(0))])
    return V


def is_trained(name: str) -> bool:
    """Whether meta-training changes a tensor."""
    return ".statistics." not in name and not name.endswith(".offset")


def _deviation(variance: Tensor) -> Tensor:
    """1 for what is constant."""
    return torch.where(variance > 1e-12, variance, torch.ones_like(variance)).sqrt()
