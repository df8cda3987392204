"""One call: the products of a plan on tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.native import pointwise
from lightning_vsml.ticks.native.pointwise import Program
from lightning_vsml.ticks.products.planned import Planned
from lightning_vsml.ticks.products.ranks import Product
from lightning_vsml.ticks.products.values import Values
from lightning_vsml.ticks.sites import Factor, Site


class Run:
    """What the messages and changes of one call share."""

    def __init__(self, plan: Planned, cell: Cell, site: Site, e: Sequence[Tensor], planes: Tensor) -> None:
        self.plan, self.site, self.planes = plan, site, planes
        self.values = Values(plan.algebra, cell, site, e, planes)
        self.at_one = Values(plan.algebra, cell, site, e, planes, one=True)
        self.differentiable = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (planes, site.x, *e, *cell)
        )
        self._rooms: list[Tensor] = []
        if not self.differentiable and planes.device.type == "cpu":
            for shape, program in plan.programs.items():
                self._compute(shape, program)

    def close(self) -> None:
        """Factors are not needed any more."""
        for room in self._rooms:
            pointwise.give_back(room)

    def _compute(self, shape: str, program: Program) -> None:
        """All factors of a shape in one go, where there is a kernel for it."""
        values, site = self.values, self.site
        if any(self.plan.algebra.atoms[atom].kind == "parameter" for atom in program.inputs):
            return
        inputs = [values.atom(atom, shape) for atom in program.inputs]
        whole = {"ra": site.x.shape, "rb": site.output_shape, "ab": site.shape}[shape]
        if not all(isinstance(value, Tensor) and value.shape == whole for value in inputs) or not inputs:
            return
        turned = shape == "ab"  # inputs lie next to each other in memory
        inputs = [value.mT if turned else value for value in inputs]  # type: ignore[union-attr]
        room = pointwise.space(program, inputs[0])  # type: ignore[arg-type]
        self._rooms.append(room)
        outputs = pointwise.run(program, inputs, room)  # type: ignore[arg-type]
        if outputs is not None:
            values.know(program.outputs, [output.mT if turned else output for output in outputs])

    def forward(self, channel: tuple[Product, ...]) -> Tensor:
        """Summed over inputs, as ``rb``."""
        total: Tensor | None = None
        for product in channel:
            p, one, q, g, alpha = self._factors(product)
            total = _plus(total, _times(self.site.forward(p, one, g, alpha), q))
        return self.planes.new_zeros(()).expand(self.site.output_shape) if total is None else total

    def backward(self, channel: tuple[Product, ...]) -> Tensor:
        """Summed over outputs, as ``ra``."""
        total: Tensor | None = None
        for product in channel:
            p, _, q, g, alpha = self._factors(product)
            total = _plus(total, _times(self.site.backward(q, g, alpha), p))
        return torch.zeros_like(self.site.x) if total is None else total

    def changes(self, scales: Sequence[float]) -> Tensor:
        """Summed over rows, times ``scales``: ``(P, G, A, B)``."""
        into = None if self.differentiable else self.site.empty(len(scales))
        made: list[Tensor] = []
        for place, (change, scale) in enumerate(zip(self.plan.changes, scales, strict=True)):
            total: Tensor | None = None
            if change.base is not None:
                total = made[change.base] * (change.ratio * scale / scales[change.base])
            for product in change.products:
                p, one, q, g, alpha = self._factors(product)
                out = into[place] if into is not None and total is None else None
                term = self.site.change(p, one, q, alpha * scale, out)
                if total is None or self.differentiable or not isinstance(g, Tensor):
                    total = _plus(total, _times(term, g))
                else:
                    total = total.addcmul_(term, g)
            if total is None:
                total = torch.zeros_like(self.planes[place])
            if into is not None and total.data_ptr() != into[place].data_ptr():
                total = into[place].copy_(total)
            made.append(total)
        return torch.stack(made) if into is None else into

    def _factors(self, product: Product) -> tuple[Factor, Factor, Factor, Factor, float]:
        """P, its value for the bias, Q, G, and a number."""
        values, (ra, rb, ab) = self.values, product.factors
        one = self.at_one.polynomial(ra, "ra") if self.site.bias else 1.0
        return values.polynomial(ra, "ra"), one, values.polynomial(rb, "rb"), values.polynomial(ab, "ab"), product.alpha


def _plus(total: Tensor | None, term: Tensor) -> Tensor:
    if total is None:
        return term
    return total + term if total.requires_grad or term.requires_grad else total.add_(term)


def _times(term: Tensor, factor: Factor) -> Tensor:
    if isinstance(factor, float):
        return term if factor == 1.0 else term * factor
    return term * factor if term.requires_grad or factor.requires_grad else term.mul_(factor)
