"""Dense layers: rows of inputs."""

import torch
from torch import Tensor

from lightning_vsml.ticks.sites.base import Site


class Rows(Site):
    """``ra`` is ``(R, G, A)``, ``rb`` is ``(R, G, B)``."""

    @property
    def rows(self) -> int:
        return self.x.shape[0]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.rows, self.shape[0], self.shape[2]

    def as_rows(self, x: Tensor) -> Tensor:
        return x

    def outputs_as_rows(self, y: Tensor) -> Tensor:
        return y

    def rows_as_outputs(self, y: Tensor) -> Tensor:
        return y

    def spread(self, groups: Tensor, shape: str) -> Tensor:
        return groups.view(-1, 1, 1) if shape == "ab" else groups.view(1, -1, 1)

    def _as_output(self, vector: Tensor) -> Tensor:
        return vector.transpose(0, 1)

    def _total(self, q: Tensor) -> Tensor:
        return q.sum(0).unsqueeze(1)

    def _forward(self, p: Tensor, g: Tensor, alpha: float) -> Tensor:
        return _product(p.transpose(0, 1), g, alpha).transpose(0, 1)

    def _backward(self, q: Tensor, g: Tensor, alpha: float) -> Tensor:
        return _product(q.transpose(0, 1), g.mT, alpha).transpose(0, 1)

    def _change(self, p: Tensor, q: Tensor, alpha: float, out: Tensor) -> None:
        if torch.is_grad_enabled() and (p.requires_grad or q.requires_grad):
            out.copy_(_product(p.permute(1, 2, 0), q.transpose(0, 1), alpha))
        elif len(out) == 1:
            torch.addmm(out[0], p[:, 0].mT, q[:, 0], beta=0, alpha=alpha, out=out[0])
        else:
            torch.baddbmm(out, p.permute(1, 2, 0), q.transpose(0, 1), beta=0, alpha=alpha, out=out)


def _product(p: Tensor, q: Tensor, alpha: float) -> Tensor:
    """``alpha p q``, batch by batch."""
    if len(p) == 1:
        p, q = p[0], q[0]
        ignored = p.new_empty(()).expand(p.shape[0], q.shape[1])
        return torch.addmm(ignored, p, q, beta=0, alpha=alpha).unsqueeze(0)
    return torch.baddbmm(p.new_empty(()).expand(len(p), p.shape[1], q.shape[2]), p, q, beta=0, alpha=alpha)
