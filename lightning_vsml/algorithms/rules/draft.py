"""A cell as it is written by hand: pairs of units with mirrored gates as weights and as products.

``sigm(z) - sigm(-z) = tanh(z / 2)``: two units that differ in the sign of a gate multiply, and constants are so fine
that every gate stays in its linear part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach
from lightning_vsml.algorithms.programs import CONSTANTS, OPEN, SHUT, F, G, I, O
from lightning_vsml.ticks import Cell, Tick

S, EPS, ZETA, K = (CONSTANTS[name] for name in ("scale", "eps", "zeta", "k"))


@dataclass
class Draft:
    """A cell of some units while it is written; pairs of them go by the name of their first.

    Args:
        units: N.
        x: how many channels of the forward message it has. The first is for forward ticks.
        e: how many of the backward message.
    """

    units: int
    x: int
    e: int
    memory: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        N = self.units
        self.W, self.V, self.U, self.b = (
            torch.zeros(rows, 4, N, dtype=torch.float64) for rows in (N, self.x, self.e, 1)
        )
        self.P_f, self.P_b = torch.zeros(N, 2, dtype=torch.float64), torch.zeros(N, 1, dtype=torch.float64)
        self.encode, self.decode = torch.zeros(N, dtype=torch.float64), torch.zeros(N, dtype=torch.float64)

    def weight(self, pair: int, told: int | None = None, keep: float = 1.0, reads: float = 1.0) -> None:
        """A memory that is multiplied by x in forward ticks, and by what channel ``told`` tells in learn ticks.

        Args:
            pair: its units. The first pair of a cell is the weight.
            told: channel of the backward message.
            keep: what is left of it after a tick.
            reads: its share in the layer's output.
        """
        for unit, sign in ((pair, 1.0), (pair + 1, -1.0)):
            self.b[0, I, unit] = OPEN
            self.b[0, F, unit] = OPEN if keep == 1.0 else math.log(keep / (1 - keep))
            self.V[0, O, unit] = sign * 2 / K
            if told is not None:
                self.U[told, O, unit] = sign * 2
            self.P_f[unit, 0] = sign * reads * K * S
            self.P_f[unit, 1] = sign * reads * K * S * EPS
            if not pair:
                self.encode[unit], self.decode[unit] = 1 / S, S / 2
        self.memory += [pair, pair + 1]

    def product(
        self,
        pair: int,
        x: int | None = None,
        own_gate: int | None = None,
        own: int | None = None,
        of: int | None = None,
    ) -> None:
        """h of both units together is a product of two factors, forgotten after a tick.

        Args:
            pair: its units.
            x: channel of the forward message whose x / k is the first factor; or
            own_gate: channel of the backward message that is it.
            own: channel of the backward message that is the second; or
            of: a pair: of a product, 1 / eps of it; of a weight, what h of its units differ by, times zeta scale / eps.
        """
        for unit, sign in ((pair, 1.0), (pair + 1, -1.0)):
            self.b[0, F, unit], self.b[0, O, unit] = SHUT, OPEN
            if x is not None:
                self.V[x, I, unit] = sign * 2 / K
            if own_gate is not None:
                self.U[own_gate, I, unit] = sign * 2
            if own is not None:
                self.U[own, G, unit] = sign
            if of is not None:
                for part, other in ((of, 1.0), (of + 1, -1.0)):
                    self.W[part, G, unit] = sign * (other * ZETA * S if of in self.memory else 1.0) / EPS

    def write(self, pair: int, products: dict[int, float]) -> None:
        """What a memory takes of products, each with its factor."""
        for product, factor in products.items():
            self.W[product : product + 2, G, pair : pair + 2] = factor

    def pass_on(self, unit: int, weights: dict[int, float]) -> None:
        """What weights were multiplied by in the tick before goes back, each with its share."""
        self.b[0, F, unit] = SHUT
        for pair, share in weights.items():
            for part, sign in ((pair, 1.0), (pair + 1, -1.0)):
                self.W[part, G, unit] = sign * share * ZETA * S / EPS
        self.P_b[unit] = 4 / ZETA

    def finish(
        self, name: str, lr: float, learn: Sequence[Tick], dtype: torch.dtype, positions: float = 0.0
    ) -> LearningAlgorithm:
        """The algorithm. Feedback is scaled here, own messages come as eps y."""
        for channel in {channel for tick in learn for channel in tick.e}:
            self.U[channel] *= EPS
        W, V, U = (parameter.flatten(1) for parameter in (self.W, self.V, self.U))
        return LearningAlgorithm(
            name=name,
            cell=Cell(W, V, U, self.b.flatten(), self.P_f, self.P_b),
            protocol=Protocol(forward=(Tick(x=(0,)),), learn=tuple(learn)),
            codec=Codec(self.encode, self.decode),
            memory=tuple(unit in self.memory for unit in range(self.units)),
            lr=lr,
            reach=Reach(x=K / 512, e=1 / (512 * EPS), w=S / 512),
            positions=positions,
            fine=True,
            card={"kind": "constructed", "constants": dict(CONSTANTS)},
        ).to(dtype=dtype)
