"""Parameters and launch of the kernel for cells with many units."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_vsml.ticks.cell import Cell, Tick
from lightning_vsml.ticks.plan.outputs import Outputs


def power_of_two(size: int) -> int:
    """The next one."""
    return 1 << (size - 1).bit_length()


class Padded:
    """The dense kernel for a protocol, and the cell's parameters as it reads them: units padded to a power of two."""

    def __init__(self, cell: Cell, ticks: dict[str, tuple[Tick, ...]], phases: dict[str, Outputs]) -> None:
        self.ticks, self.phases, self.N = ticks, phases, cell.units
        self.units = max(16, power_of_two(self.N))  # the least that a matrix product takes
        # Compiled for sm_90 these need no more registers than there are: more synapses or fewer warps spill.
        self.synapses, self.warps = (32, 4) if self.units == 16 else (16, 8)
        if cell.population is None:
            cell = Cell(*(parameter.unsqueeze(0) for parameter in cell))
        square = self._gates(cell.W).transpose(1, 2)
        self.W = pad(square, (0, 0, 0, self.units - self.N)).contiguous()
        self.b = self._gates(cell.b.unsqueeze(1))
        self.fed = {
            phase: [
                self._fed(cell.V, [(tick.x,) for tick in steps], 1),
                self._fed(cell.U, [tick.backward for tick in steps], phases[phase].carried),
            ]
            for phase, steps in ticks.items()
        }
        self.P = {
            phase: pad(P.transpose(1, 2), (0, self.units - self.N)).contiguous()
            for phase, P in (("forward", cell.P_f), ("learn", cell.P_b))
        }

    def changes(self, phase: str) -> list[tuple[int, bool, bool]]:
        """What the kernel sums over rows: unit, whether of c, and whether it is without the start's part."""
        return [(u, of_c, True) for of_c in (False, True) for u in range(self.N)] * self.phases[phase].backward

    def launch(self, phase: str, grid: tuple[int, ...], tensors: list[Tensor], **sizes: Any) -> None:
        """Run a phase on (h, c, x, e, changes, message)."""
        from lightning_vsml.ticks.triton.dense import dense  # needs Triton

        dense[grid](
            self.W, *self.fed[phase], self.b, self.P[phase], *tensors, groups=sizes["G"] // len(self.W), N=self.N,
            UNITS=self.units, TICKS=len(self.ticks[phase]), CARRIED=self.phases[phase].carried,
            MESSAGES=self.P[phase].shape[1], BACKWARD=self.phases[phase].backward,
            PRECISION="tf32" if sizes["FAST"] else "ieee", num_warps=self.warps, **sizes,
        )  # fmt: skip

    def _gates(self, columns: Tensor) -> Tensor:
        """``(K, D, 4 N)`` -> ``(K, D, 4, units)``."""
        return pad(columns.unflatten(-1, (4, self.N)), (0, self.units - self.N)).contiguous()

    def _fed(self, weights: Tensor, ticks: list[tuple[tuple[int, ...], ...]], carried: int) -> Tensor:
        """What each thing that a message carries weighs at each tick, ``(K, ticks carried, 4, units)``."""
        channels = [fed for tick in ticks for fed in tick + ((),) * (carried - len(tick))]
        return self._gates(torch.stack([weights[:, list(fed)].sum(1) for fed in channels], 1))
