"""Local rules as programs of the LSTM cell: the same functions as the equations beside, up to saturation.

That variable sharing can hold such rules is what eq. 13 of Kirsch & Schmidhuber (2020) says. As in
:func:`~lightning_vsml.algorithms.programs.backprop`, a pair of units with mirrored gates forms a signed product,
because ``sigm(z) - sigm(-z) = tanh(z / 2)``, and fine constants keep every gate in its linear part. A neuron's output
y comes back to its synapses as an own message (:class:`~lightning_vsml.Tick`), ``asinh(eps y) ~ eps y``.

Feedback alignment has no program: fresh states are linear in the weight, so nothing in a cell is random and no
synapse has a B of its own.
"""

import math

import torch

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.rules.draft import EPS, ZETA, Draft, K, S
from lightning_vsml.algorithms.rules.hebb import Hebb
from lightning_vsml.algorithms.rules.oja import Oja
from lightning_vsml.algorithms.rules.plasticity import Plasticity
from lightning_vsml.algorithms.rules.three_factor import ThreeFactor
from lightning_vsml.ticks import Tick


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
    draft = Draft(units=4, x=2, e=2)
    draft.weight(0)
    draft.product(2, x=1, own=1)
    draft.write(0, {2: lr * K / (S * EPS)})
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
    draft = Draft(units=6, x=2, e=3)
    draft.weight(0, told=1)
    draft.product(2, x=1, own=1)
    draft.product(4, own_gate=2, of=0)
    draft.write(0, {2: lr * K / (S * EPS), 4: -lr / (S * ZETA * EPS)})
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
    draft = Draft(units=7, x=2, e=3)
    draft.weight(0, told=2)
    draft.product(2, x=1, of=4)
    draft.product(4, own_gate=1, own=0)
    draft.write(0, {2: lr * K / (S * EPS)})
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

    Raises:
        ValueError: lr is not between 0 and 1.
    """
    if not 0 < lr < 1:
        raise ValueError(f"lr should be between 0 and 1, a share of the trace, got {lr}.")
    keep = math.sqrt(1 - lr)
    draft = Draft(units=7, x=2, e=3)
    draft.weight(0, told=2)
    draft.weight(2, told=2, keep=keep, reads=alpha / keep)
    draft.product(4, x=1, own=1)
    draft.write(2, {4: lr * K / (S * EPS)})
    draft.pass_on(6, {0: 1.0, 2: alpha / keep})
    draft.decode[[2, 3]] = alpha * S / 2
    return draft.finish("plasticity_program", lr, (Tick(x=(1,), e=(2,), own=(1,)), Tick()), dtype, positions=1.0)


RULE_PROGRAMS = {"hebb": hebb, "oja": oja, "three_factor": three_factor, "plasticity": plasticity}
"""By the name of the rule that they are."""
