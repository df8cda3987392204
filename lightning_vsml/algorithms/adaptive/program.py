"""The rule in the cell: backprop's five units, and spare ones that remember, sense and decide in commit ticks."""

import math

import torch

from lightning_vsml.algorithms.adaptive.coordinates import NOISE, PERIODS, SLOW, SQUARES, Coordinates
from lightning_vsml.algorithms.adaptive.sheet import (
    ANNEALED,
    APART,
    AT,
    BIAS,
    COMMIT,
    DEPTH,
    FEEDBACK,
    FORWARD,
    GATHERED,
    INPUT_SQUARES,
    LAST,
    LEARN,
    MEMORIES,
    OUTPUTS,
    PHASE,
    PLAIN,
    RATE,
    UNITS,
    Sheet,
)
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach
from lightning_vsml.algorithms.programs import CONSTANTS, OPEN, SHUT, F, G, I, O
from lightning_vsml.ticks import Cell, CommitTick, Tick

SUMS, SOME, FEWER = 2.0**80, 2.0**60, 2.0**40  # own messages that are to be logarithms: of sums times this
ONE = math.tanh(math.tanh(2.0**-10))  # h of the unit that always is the same
FEW = 12 * math.log(2)  # gates this far below 0 are exponentials
HALF = 44 * math.log(2)  # of those that divide by an RMS


DATA = {
    "shaped it, and chose its coordinates": "MNIST and digits in many looks, synthetic families (docs/adaptive.md)",
    "pointed at shallow networks": "digits and breast cancer in benchmarks/generalisation.py",
    "pointed at residual networks": "docstrings in benchmarks/generalisation.py",
    "pointed at tables in their own units": "wine and diabetes in benchmarks/generalisation.py",
    "pointed at steps after 500": "a CNN on Fashion-MNIST and docstrings in benchmarks/generalisation.py, 5000 steps",
    "only measured": "Fashion-MNIST to step 1000, iris",
}


def adaptive(
    coordinates: Coordinates | None = None, *, lr: float = 1.0, dtype: torch.dtype = torch.float32
) -> LearningAlgorithm:
    """The rule with these coordinates.

    Args:
        coordinates: what a search may choose.
        lr: the learning rate at which steps are those that the rule chooses.
        dtype: of the parameters.

    Returns:
        The algorithm, named ``adaptive``.

    Raises:
        ValueError: ``lr`` is not positive.
    """
    c, s = coordinates or Coordinates(), Sheet()
    _gather(s)
    _tell(s)
    _remember(s)
    _direct(s, c)
    _step(s, c)
    _write(s)
    squares = s.column(s.P_b, {"centred": 2.0**62 * FEWER})
    outputs = s.column(s.P_b, {"one": FEWER / ONE})
    commit = (
        CommitTick(one=(COMMIT,)),
        s.tick(2),
        s.tick(3, bias=(BIAS,)),
        s.tick(4),
        s.tick(5),
        s.tick(6, bias=(BIAS, APART), inputs=(squares, outputs)),
        s.tick(7, bias=(BIAS,), rate=True),
        s.tick(8),
        s.tick(9, bias=(BIAS,)),
        s.tick(10),
    )
    K, S = CONSTANTS["k"], CONSTANTS["scale"]
    encode, decode, gradient = (torch.zeros(len(UNITS), dtype=torch.float64) for _ in range(3))
    encode[:2], decode[:2], gradient[AT["update"]] = 1 / S, S / 2, K
    U = s.U[: 1 + len(s.channels)]
    return LearningAlgorithm(
        name="adaptive",
        cell=Cell(
            s.W.flatten(1), s.V.flatten(1), U.flatten(1), s.b.flatten(), torch.stack(s.P_f, 1), torch.stack(s.P_b, 1)
        ),
        protocol=Protocol(
            forward=(Tick(x=(FORWARD,)),),
            learn=(Tick(), Tick(x=(LEARN,), e=(FEEDBACK,)), Tick(x=(LEARN, LAST))),
            commit=commit,
        ),
        codec=Codec(encode, decode),
        memory=tuple(name in ("weight+", "weight-", "update") for name in UNITS),
        lr=lr,
        reach=Reach(x=K / 512, e=K / 512, w=S / 512),
        fine=True,
        gradient=gradient,
        card={"kind": "constructed", "constants": dict(CONSTANTS), "coordinates": c._asdict(), "data": DATA},
    ).to(dtype=dtype)


def _gather(s: Sheet) -> None:
    """Forward and learn ticks: backprop's, but what it would write is gathered, over inputs whose mean is taken off."""
    K, EPS, S, ZETA = (CONSTANTS[name] for name in ("k", "eps", "scale", "zeta"))
    W, V, U, b = s.W, s.V, s.U, s.b
    for sign, end in ((1.0, "+"), (-1.0, "-")):
        weight, product, squared = (AT[name + end] for name in ("weight", "product", "squared"))
        b[0, [I, F], weight] = OPEN
        V[FORWARD, O, weight], U[FEEDBACK, O, weight] = sign * 2 / K, sign * 2 * EPS
        W[weight, G, AT["message"]] = sign * ZETA * S / EPS
        b[0, F, product], b[0, O, product] = SHUT, OPEN  # e (x - mean)
        V[LEARN, I, product], U[FEEDBACK, G, product] = sign * 2 / K, sign * EPS
        W[AT["mean"], I, product] = -sign * 2
        W[product, G, AT["update"]] = 1 / EPS
        b[0, F, squared], b[0, O, squared] = SHUT, OPEN  # (x - mean)^2
        V[LEARN, I, squared], W[AT["mean"], I, squared] = sign * 2 / K, -sign * 2
        V[LEARN, G, squared], W[AT["mean"], G, squared] = 1 / K, -1.0
        V[COMMIT, I, squared] = -4 * OPEN
        W[squared, G, AT["square"]] = sign * 2.0**10
    at = AT["message"]
    b[0, F, at], V[LEARN, I, at], V[LEARN, O, at] = SHUT, 2 / K, -2 / K
    for name in GATHERED:
        b[0, [I, F, O], AT[name]] = OPEN
        s.phase(F, name, 10, SHUT)
    V[LAST, G, AT["input"]] = 1 / K
    for name in MEMORIES:
        s.memory(name)
    s.column(s.P_f, {"weight_": K * S})
    s.column(s.P_b, {"message": 4 / ZETA})


def _tell(s: Sheet) -> None:
    """What outputs tell their synapses in commit ticks: logarithms of sums, unless these are small."""
    ages = dict.fromkeys((0.0, SLOW, SQUARES, *PERIODS))
    told = {f"age{T:g}": {"age": 2.0**28 * SUMS, "one": T * SUMS / ONE} for T in ages}
    told |= {
        "width": {"one": SUMS / ONE},
        "count": {"weighed": SUMS / ONE},
        "squares": {"squares": 2.0**40 * SUMS},
        "signal": {"mm_": 2.0**40 * SUMS, "squares": NOISE * 2.0**40 * SUMS},
        "square": {"square": 2.0**30 * SUMS},
        "travelled": {"tt_": 2.0**56 * SOME},
        "own_squares": {"own_squares": 2.0**40 * SUMS},
        "own_signal": {"own_mm_": 2.0**40 * SUMS, "own_squares": NOISE * 2.0**40 * SUMS},
        "own_travelled": {"own_tt_": 2.0**56 * SOME},
        "back": {"md_": 2.0**40},  # small
    }
    s.columns = {name: s.column(s.P_f, weights) for name, weights in told.items()}


def _remember(s: Sheet) -> None:
    """Tick 1 shows what memories hold. Tick 2 multiplies, and keeps the mean that updates were centred by. Tick 3 moves
    means with rates 1 / (1 + n), n = t T / (t + T), and knows the first step.
    """
    W, V, b = s.W, s.V, s.b
    b[0, F, AT["one"]], b[0, [I, O], AT["one"]], b[0, G, AT["one"]] = SHUT, OPEN, 2.0**-10
    s.product("uu", {"update": 1.0}, {"update": 1.0})
    for product, memory in (("tt", "travelled"), ("mm", "slow")):
        for name, bias in ((product, False), (f"own_{product}", True)):
            s.product(name, {memory: 1.0}, {memory: 1.0})
            for end in "+-":
                s.told_apart(name + end, bias)
    s.memory("old")
    s.phase(I, "old", 2, OPEN)
    W[AT["mean"], G, AT["old"]] = 1.0
    for name, T, sources in (
        ("slow", SLOW, {"update": 1.0}),
        ("squares", SQUARES, {"uu+": 1.0, "uu-": -1.0}),
        ("mean", SQUARES, {"input": 1.0}),
    ):
        for gate, sign in ((I, -1.0), (F, 1.0)):
            s.phase(gate, name, 3, sign * math.log(T))
            s.hears(gate, name, 3, age0=sign, **{f"age{T:g}": -sign})
        for source, weight in sources.items():
            W[AT[source], G, AT[name]] = weight
    V[[BIAS, PLAIN], I, AT["mean"]] = -4 * OPEN  # a bias has no mean
    s.scratch("own_squares")
    s.phase(I, "own_squares", 6, OPEN)
    W[AT["squares"], G, AT["own_squares"]] = 1.0
    s.scratch("weighed")
    b[0, I, AT["weighed"]], b[0, G, AT["weighed"]] = OPEN, 2.0**-10
    for name, bias in (("own_squares", True), ("squares", False), ("square", False), ("weighed", False)):
        s.told_apart(name, bias)
    s.memory("first")
    s.phase(I, "first", 3, 20.0)
    s.hears(I, "first", 3, age0=-1.0)
    V[PHASE + 3, G, AT["first"]] = 2.0**-10


def _direct(s: Sheet, c: Coordinates) -> None:
    """Ticks 4 and 5: second moments over their output's mean, by its root twice; tick 6: the direction, over the root
    of the second moments.
    """
    for name, t, source, gain in (("half", 4, "squares", 12), ("centred", 5, "half", 54)):
        s.scratch(name)
        s.phase(I, name, t, -HALF)
        s.hears(I, name, t, squares=-0.5, width=0.5)
        s.W[AT[source], G, AT[name]] = 2.0**gain
    s.scratch("next")
    s.phase(I, "next", 6, -HALF)
    s.hears(I, "next", 6, squares=-0.5, width=0.5)
    s.V[INPUT_SQUARES, I, AT["next"]], s.V[OUTPUTS, I, AT["next"]] = -0.5, 0.5
    for name, share in (("update", 1 - c.slow), ("slow", c.slow)):
        s.W[AT[name], G, AT["next"]] = share * 2.0**-20


def _step(s: Sheet, c: Coordinates) -> None:
    """Tick 7: how far. A bias moves as if its input were as large as others are, by units of its own, which hear of its
    own updates and of the way that it has gone.
    """
    first = (c.rate, c.noise, c.depth, (c.fall5, c.fall50, c.fall500))
    second = (c.travel, c.travel_noise, c.travel_depth, (c.travel5, c.travel50, c.travel500))
    for name, own, (rate, noise, depth, powers), heard, scale in (
        ("step", "", first, {"square": -0.5}, 2 * SUMS),
        ("stride", "", second, {"travelled": 0.5, "count": -0.5}, SUMS / SOME),
        ("offset", "own_", first, {"count": -0.5}, 2 * SUMS),
        ("shift", "own_", second, {"own_travelled": 0.5}, 1 / (2 * SOME)),
    ):
        s.scratch(name)
        scaled = RATE if powers is first[3] else ANNEALED  # a distance has grown with the rate
        s.V[scaled, I, AT[name]], s.V[DEPTH, I, AT[name]] = 1.0, -depth
        s.V[BIAS, I, AT[name]] = 4 * OPEN if own else -4 * OPEN
        s.hears(I, name, 7, width=sum(powers), **{f"{own}signal": noise, f"{own}squares": -noise}, **heard)
        for T, power in zip(PERIODS, powers, strict=True):
            s.hears(I, name, 7, **{f"age{T:g}": -power})
            rate += power * math.log(T)
        rate += 0.5 * math.log(scale)  # of what it hears
        if powers is first[3]:
            s.W[AT["first"], I, AT[name]] = -c.first * 2.0**10
        s.phase(I, name, 7, rate - FEW - (4 * OPEN if own else 0.0))
        s.W[AT["next"], G, AT[name]] = 2.0**56


def _write(s: Sheet) -> None:
    """Tick 8 writes; ticks 9 and 10 take from the bias what that did to the mean input, and begin anew."""
    W, V = s.W, s.V
    steps = ("step", "stride", "offset", "shift")
    for name in steps:
        for written in ("weight+", "weight-", "travelled"):
            W[AT[name], G, AT[written]] = 2.0**12
    s.phase(I, "travelled", 8, OPEN)
    s.product("md", {"old": 1.0}, dict.fromkeys(steps, 1.0))
    s.scratch("back")
    V[BIAS, I, AT["back"]] = 2 * OPEN
    s.hears(G, "back", 9, back=-(2.0**-20))
    for name in ("weight+", "weight-"):
        W[AT["back"], G, AT[name]] = 2.0**12
    for name in ("old", "first"):
        s.phase(F, name, 10, SHUT)
    s.phase(I, "age", 10, OPEN)
    V[PHASE + 10, G, AT["age"]] = 2.0**-28
