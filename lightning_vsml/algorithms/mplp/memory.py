"""A stateful protocol that begins as a stateless one, where meta-training from nothing is slow."""

from dataclasses import replace

import torch
from torch import Tensor

from lightning_vsml.algorithms.mplp.family import MPLP
from lightning_vsml.algorithms.mplp.nodes import PARAMETERS, Sizes, fresh

SHUT = -5.0  # of the gate that keeps the old carry: 0.7 % of it


def with_memory(algorithm: MPLP, carry: int, seed: int = 0) -> MPLP:
    """Both networks of a parameter's node, f and g, side by side as the candidate of eq. 12; what is carried counts for
    nothing yet.

    Args:
        algorithm: stateless.
        carry: K, more than M.
        seed: of what is random.

    Raises:
        ValueError: the algorithm is stateful, or K too small.
    """
    M, K, (first, second) = algorithm.sizes
    if K or carry <= M:
        raise ValueError(f"expected a stateless algorithm, and a carry of more than {M}; got one of {K}, and {carry}.")
    sizes, generator = Sizes(M, carry, (2 * first, 2 * second)), torch.Generator().manual_seed(seed)
    V: dict[str, Tensor] = {n: t for n, t in algorithm.V.items() if ".f." not in n and not _is_message(n)}
    for prefix in sorted({name.split(".f.")[0] for name in algorithm.V if ".f." in name}):
        new = fresh(prefix.split(".")[0], prefix, sizes, generator)
        f, g = ({n: algorithm.V[f"{prefix}.{rule}.{n}"] for n in ("W0", "b0", "W1", "b1", "W2", "b2")} for rule in "fg")
        for layer, joined in ((0, torch.cat([g["W0"], f["W0"]], 1)), (1, torch.block_diag(g["W1"], f["W1"]))):
            new[f"{prefix}.x.W{layer}"] = joined
            new[f"{prefix}.x.b{layer}"] = torch.cat([g[f"b{layer}"], f[f"b{layer}"]])
        W, b = new[f"{prefix}.x.W2"], new[f"{prefix}.x.b2"]
        W[:, : M + 1] = torch.block_diag(g["W2"], f["W2"])
        b[: M + 1] = torch.cat([g["b2"], f["b2"]])
        for name in ("c.W2", "c.b2", "u.W"):
            new[f"{prefix}.{name}"] = torch.zeros_like(new[f"{prefix}.{name}"])
        new[f"{prefix}.u.b"] = torch.full((carry,), SHUT)
        V |= new
    return replace(algorithm, V=V, sizes=sizes)


def _is_message(name: str) -> bool:
    """Whether a tensor is of a parameter's g."""
    return name.split(".")[0] in PARAMETERS and ".g." in name
