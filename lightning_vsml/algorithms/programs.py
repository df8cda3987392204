"""Learning algorithms written by hand into a cell.

``python -m lightning_vsml.algorithms backprop --out checkpoints/backprop.safetensors`` makes a checkpoint.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach
from lightning_vsml.ticks import Cell, Tick

I, F, G, O = range(4)  # where the gates stand in the last dimension of a cell's parameters
OPEN, SHUT = 60.0, -60.0  # sigm(60) is 1 - 9e-27: 1 exactly in float64

# So fine that gates stay in their linear part for whatever a network computes; as products ticks do not lose by it,
# and one by one they run in float64. Powers of two, so that nothing is rounded on the way. docs/how_it_works.md has
# the measurement.
CONSTANTS = {"scale": 2.0**28, "eps": 2.0**-20, "zeta": 2.0**-32, "k": 2.0**20}


def backprop(
    *,
    lr: float = 0.1,
    dtype: torch.dtype = torch.float32,
    scale: float | None = None,
    eps: float | None = None,
    zeta: float | None = None,
    k: float | None = None,
) -> LearningAlgorithm:
    """Backpropagation and SGD in five LSTM units, exact up to saturation.

    Because ``sigm(z) - sigm(-z) = tanh(z / 2)``, a pair of units with mirrored gates forms a signed product:

    ====  =================  ======================================================================
    unit  role               gates
    ====  =================  ======================================================================
    0, 1  the weight,        i = f = 1; g = tanh(rho (h2 + h3));
          c = w / scale      o = sigm(±(2 x / k + 2 eps e))
    2, 3  the product x e    i = sigm(±2 x / k); g = tanh(±eps e); f = 0; o = 1
    4     backward message   i = sigm(2 x / k); o = sigm(-2 x / k); f = 0; g = tanh(zeta scale / eps (h0 - h1))
    ====  =================  ======================================================================

    * forward tick: x on channel 0; ``y = sum_a k scale (h0 - h1) = k tanh(x / k) scale tanh(w / scale)``;
    * learn tick 1: x on channel 1, and e: units 2, 3 form x e, units 0, 1 form ``h0 - h1 ~ eps e w / scale``;
    * learn tick 2: x on channel 1: the weight takes ``dw = lr e k tanh(x / k)`` (``rho = lr k / (scale eps)``), and
      unit 4 passes ``e w sech(x / k)^2`` on.

    Writing the weight through ``i = sigm(±x)``, ``g = tanh(e)`` directly would also store their common mode, a bias
    per synapse; reading ``e w`` after the write would use the new weight. Hence two ticks.

    Saturation, as relative errors of first order against a linear layer:

    * y: ``(x / k)^2 / 3 + (w / scale)^2 / 3``;
    * dw: ``(x / k)^2 / 3 + (eps e)^2 7 / 12`` (a third in tanh(eps e), a quarter in tanh(c) of units 2 and 3);
    * message: ``(x / k)^2 + (w / scale)^2 / 3 + (eps e)^2 / 3 + (zeta e w)^2 5 / 12``;
    * and by rounding about ``k 2^-24`` in float32.

    Its ``reach`` is |x| up to k / 8 and |e| up to 1 / (8 eps), where each of these terms is below 1.6 %.

    Args:
        lr: the learning rate of SGD that it follows.
        dtype: of the parameters.
        scale: S of the paper's scaled weights; |w| much smaller than it stays linear.
        eps: gain of the feedback; |eps e| much smaller than 1 stays linear.
        zeta: gain of the backward message; |zeta e w| much smaller than 1 stays linear.
        k: input range. 1 gives the paper's synapse ``tanh(x) w`` (eq. 14); a large one a linear layer.

    Returns:
        The algorithm, named ``backprop``.

    Raises:
        ValueError: a constant is not positive.
    """
    given = {"scale": scale, "eps": eps, "zeta": zeta, "k": k}
    constants = CONSTANTS | {name: value for name, value in given.items() if value is not None}
    for name, value in {"lr": lr, **constants}.items():
        if not value > 0:
            raise ValueError(f"{name} should be positive, got {value}.")
    scale, eps, zeta, k = (constants[name] for name in given)

    N = 5
    W, V, U, b = (torch.zeros(rows, 4, N, dtype=torch.float64) for rows in (N, 2, 1, 1))
    for weight, sign in ((0, 1.0), (1, -1.0)):
        b[0, I, weight] = b[0, F, weight] = OPEN
        W[2, G, weight] = W[3, G, weight] = lr * k / (scale * eps)  # rho
        V[0, O, weight] = sign * 2 / k
        U[0, O, weight] = sign * 2 * eps
        W[weight, G, 4] = sign * zeta * scale / eps
    for product, sign in ((2, 1.0), (3, -1.0)):
        b[0, F, product], b[0, O, product] = SHUT, OPEN
        V[1, I, product] = sign * 2 / k
        U[0, G, product] = sign * eps
    b[0, F, 4] = SHUT
    V[1, I, 4], V[1, O, 4] = 2 / k, -2 / k

    def column(*entries: float) -> Tensor:
        return torch.tensor(entries, dtype=torch.float64)

    cell = Cell(
        W=W.flatten(1),
        V=V.flatten(1),
        U=U.flatten(1),
        b=b.flatten(),
        P_f=column(k * scale, -k * scale, 0, 0, 0).unsqueeze(-1),
        P_b=column(0, 0, 0, 0, 4 / zeta).unsqueeze(-1),
    )
    codec = Codec(
        encode=column(1 / scale, 1 / scale, 0, 0, 0),
        decode=column(scale / 2, scale / 2, 0, 0, 0),
    )
    return LearningAlgorithm(
        name="backprop",
        cell=cell,
        protocol=Protocol(forward=(Tick(x=(0,)),), learn=(Tick(x=(1,), e=(0,)), Tick(x=(1,)))),
        codec=codec,
        memory=(True, True, False, False, False),
        lr=lr,
        reach=Reach(x=k / 512, e=1 / (512 * eps), w=scale / 512),
        fine=True,
        card={"kind": "constructed", "constants": constants},
    ).to(dtype=dtype)


PROGRAMS: dict[str, Callable[..., LearningAlgorithm]] = {"backprop": backprop}
