"""Local rules as programs of the LSTM cell: the same functions as the equations beside, up to saturation.

That variable sharing can hold such rules is what eq. 13 of Kirsch & Schmidhuber (2020) says. As in
:func:`~lightning_vsml.algorithms.programs.backprop`, a pair of units with mirrored gates forms a signed product,
because ``sigm(z) - sigm(-z) = tanh(z / 2)``, and fine constants keep every gate in its linear part. A neuron's output
y comes back to its synapses as an own message (:class:`~lightning_vsml.Tick`), ``asinh(eps y) ~ eps y``.

Feedback alignment has no program: fresh states are linear in the weight, so nothing in a cell is random and no
synapse has a B of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach
from lightning_vsml.algorithms.programs import _CONSTANTS, _F, _G, _I, _O, _OPEN, _SHUT
from lightning_vsml.algorithms.rules.hebb import Hebb
from lightning_vsml.algorithms.rules.oja import Oja
from lightning_vsml.algorithms.rules.plasticity import Plasticity
from lightning_vsml.algorithms.rules.three_factor import ThreeFactor
from lightning_vsml.ticks import Cell, Tick

_S, _EPS, _ZETA, _K = (_CONSTANTS[name] for name in ("scale", "eps", "zeta", "k"))
_FORWARD = (Tick(x=(0,)),)


def hebb(lr: float = Hebb.lr, dtype: torch.dtype = torch.float32) -> LearningAlgorithm:
    """:class:`~lightning_vsml.algorithms.rules.hebb.Hebb` in four units.

    ====  ==============  =========================================================
    unit  role            gates
    ====  ==============  =========================================================
    0, 1  the weight      i = f = 1; g = tanh(rho (h2 + h3)); o = sigm(±2 x / k)
    2, 3  product x y     i = sigm(±2 x / k); g = tanh(±eps y); f = 0; o = 1
    ====  ==============  =========================================================

    Learn tick 1 forms x y, tick 2 writes it. Nothing goes back.
    """
    draft = _Draft(units=4, x=2, e=2)
    draft.weight(0)
    draft.product(2, x=1, own=1)
    draft.write(0, {2: lr * _K / (_S * _EPS)})
    return draft.finish("hebb_program", lr, (Tick(x=(1,), own=(1,)), Tick()), dtype)


def oja(lr: float = Oja.lr, dtype: torch.dtype = torch.float32) -> LearningAlgorithm:
    """:class:`~lightning_vsml.algorithms.rules.oja.Oja` in six units.

    ====  ==============  ===========================================================================
    unit  role            gates
    ====  ==============  ===========================================================================
    0, 1  the weight      i = f = 1; g = tanh(rho (h2 + h3) - sigma (h4 + h5)); o = sigm(±2 (x / k + eps y))
    2, 3  product x y     i = sigm(±2 x / k); g = tanh(±eps y); f = 0; o = 1
    4, 5  product y y w   i = sigm(±2 eps y); g = tanh(±zeta scale / eps (h0 - h1)); f = 0; o = 1
    ====  ==============  ===========================================================================

    Learn tick 1 forms x y, and y w as h0 - h1; tick 2 writes the one and forms y y w from the other, which tick 3
    writes.
    """
    draft = _Draft(units=6, x=2, e=3)
    draft.weight(0, told=1)
    draft.product(2, x=1, own=1)
    draft.product(4, own_gate=2, of=0)
    draft.write(0, {2: lr * _K / (_S * _EPS), 4: -lr / (_S * _ZETA * _EPS)})
    return draft.finish("oja_program", lr, (Tick(x=(1,), own=(1,)), Tick(own=(2,)), Tick()), dtype)


def three_factor(lr: float = ThreeFactor.lr, dtype: torch.dtype = torch.float32) -> LearningAlgorithm:
    """:class:`~lightning_vsml.algorithms.rules.three_factor.ThreeFactor` in seven units.

    ====  ================  =====================================================================
    unit  role              gates
    ====  ================  =====================================================================
    0, 1  the weight        i = f = 1; g = tanh(rho (h2 + h3)); o = sigm(±2 (x / k + eps e))
    2, 3  product x (e y)   i = sigm(±2 x / k); g = tanh(±(h4 + h5) / eps); f = 0; o = 1
    4, 5  product e y       i = sigm(±2 eps y); g = tanh(±eps e); f = 0; o = 1
    6     backward message  i = o = 1 / 2; f = 0; g = tanh(zeta scale / eps (h0 - h1))
    ====  ================  =====================================================================

    Learn tick 1 forms e y; tick 2 multiplies it by x, and forms e w as h0 - h1; tick 3 writes the one and passes the
    other on. (A third factor at the output gates of four units would take a tick less, and differences of differences:
    six digits fewer.)
    """
    draft = _Draft(units=7, x=2, e=3)
    draft.weight(0, told=2)
    draft.product(2, x=1, of=4)
    draft.product(4, own_gate=1, own=0)
    draft.write(0, {2: lr * _K / (_S * _EPS)})
    draft.pass_on(6, {0: 1.0})
    return draft.finish("three_factor_program", lr, (Tick(e=(0,), own=(1,)), Tick(x=(1,), e=(2,)), Tick()), dtype)


def plasticity(
    lr: float = Plasticity.lr, alpha: float = Plasticity.alpha, dtype: torch.dtype = torch.float32
) -> LearningAlgorithm:
    """:class:`~lightning_vsml.algorithms.rules.plasticity.Plasticity` in seven units.

    ====  ================  =============================================================================
    unit  role              gates
    ====  ================  =============================================================================
    0, 1  the weight w      i = f = 1; g = 0; o = sigm(±2 (x / k + eps e))
    2, 3  the trace H       i = 1; f = sqrt(1 - lr); g = tanh(rho (h4 + h5)); o as of 0, 1
    4, 5  product x y       i = sigm(±2 x / k); g = tanh(±eps y); f = 0; o = 1
    6     backward message  i = o = 1 / 2; f = 0; g = tanh(zeta scale / eps (h0 - h1 + alpha (h2 - h3) / f))
    ====  ================  =============================================================================

    Learn tick 1 forms x y and e (w + alpha H), tick 2 writes the one and passes the other on. A trace fades at both
    ticks, and what the first of them reads has faded once. Means over positions, as the trace of the equation.
    """
    keep = math.sqrt(1 - lr)
    draft = _Draft(units=7, x=2, e=3)
    draft.weight(0, told=2)
    draft.weight(2, told=2, keep=keep, reads=alpha / keep)
    draft.product(4, x=1, own=1)
    draft.write(2, {4: lr * _K / (_S * _EPS)})
    draft.pass_on(6, {0: 1.0, 2: alpha / keep})
    draft.decode[[2, 3]] = alpha * _S / 2
    return draft.finish("plasticity_program", lr, (Tick(x=(1,), e=(2,), own=(1,)), Tick()), dtype, positions=1.0)


RULE_PROGRAMS = {"hebb": hebb, "oja": oja, "three_factor": three_factor, "plasticity": plasticity}
"""By the name of the rule that they are."""


@dataclass
class _Draft:
    """A cell while it is written: pairs of units begin at the even number that names them."""

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
            self.b[0, _I, unit] = _OPEN
            self.b[0, _F, unit] = _OPEN if keep == 1.0 else math.log(keep / (1 - keep))
            self.V[0, _O, unit] = sign * 2 / _K
            if told is not None:
                self.U[told, _O, unit] = sign * 2
            self.P_f[unit, 0] = sign * reads * _K * _S
            self.P_f[unit, 1] = sign * reads * _K * _S * _EPS
            if not pair:
                self.encode[unit], self.decode[unit] = 1 / _S, _S / 2
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
            self.b[0, _F, unit], self.b[0, _O, unit] = _SHUT, _OPEN
            if x is not None:
                self.V[x, _I, unit] = sign * 2 / _K
            if own_gate is not None:
                self.U[own_gate, _I, unit] = sign * 2
            if own is not None:
                self.U[own, _G, unit] = sign
            if of is not None:
                for part, other in ((of, 1.0), (of + 1, -1.0)):
                    self.W[part, _G, unit] = sign * (other * _ZETA * _S if of in self.memory else 1.0) / _EPS

    def write(self, pair: int, products: dict[int, float]) -> None:
        """What a memory takes of products, each with its factor."""
        for product, factor in products.items():
            self.W[product : product + 2, _G, pair : pair + 2] = factor

    def pass_on(self, unit: int, weights: dict[int, float]) -> None:
        """What weights were multiplied by in the tick before goes back, each with its share."""
        self.b[0, _F, unit] = _SHUT
        for pair, share in weights.items():
            for part, sign in ((pair, 1.0), (pair + 1, -1.0)):
                self.W[part, _G, unit] = sign * share * _ZETA * _S / _EPS
        self.P_b[unit] = 4 / _ZETA

    def finish(
        self, name: str, lr: float, learn: Sequence[Tick], dtype: torch.dtype, positions: float = 0.0
    ) -> LearningAlgorithm:
        """The algorithm. Feedback is scaled here, own messages come as eps y."""
        for channel in {channel for tick in learn for channel in tick.e}:
            self.U[channel] *= _EPS
        W, V, U = (parameter.flatten(1) for parameter in (self.W, self.V, self.U))
        return LearningAlgorithm(
            name=name,
            cell=Cell(W, V, U, self.b.flatten(), self.P_f, self.P_b),
            protocol=Protocol(forward=_FORWARD, learn=tuple(learn)),
            codec=Codec(self.encode, self.decode),
            memory=tuple(unit in self.memory for unit in range(self.units)),
            lr=lr,
            reach=Reach(x=_K / 512, e=1 / (512 * _EPS), w=_S / 512),
            positions=positions,
            fine=True,
            card={"kind": "constructed", "constants": dict(_CONSTANTS)},
        ).to(dtype=dtype)
