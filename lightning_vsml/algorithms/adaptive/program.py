"""The rule in the cell: backprop's five units, and spare ones that remember, sense and decide in commit ticks."""

import math

import torch

from lightning_vsml.algorithms.adaptive.coordinates import (
    FAST,
    FORGET,
    NOISE,
    PERIODS,
    SLOW,
    SQUARES,
    Coordinates,
)
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec, Protocol, Reach
from lightning_vsml.algorithms.programs import CONSTANTS, OPEN, SHUT, F, G, I, O
from lightning_vsml.ticks import Cell, CommitTick, Tick

_NAMES = (
    # a pair ends in + and -: two units with mirrored gates, whose h differ by a product
    "weight+ weight- product+ product- message "
    # what learn ticks gather, from one commit to the next
    "update input squared+ squared- square moved+ moved- move "
    # memories
    "mean direction+ direction- fast slow squares age agreement level travelled "
    # commit ticks alone
    "one uu+ uu- ud+ ud- dd+ dd- tt+ tt- old first now shrunk effect half centred mm+ mm- next step stride md+ md- back"
)
UNITS = _NAMES.split()
AT = {name: place for place, name in enumerate(UNITS)}
MEMORIES = ["mean", "direction+", "direction-", "fast", "slow", "squares", "age", "agreement", "level", "travelled"]
GATHERED = ["update", "input", "square", "move"]

# Channels of the forward message: the input in forward ticks, in learn ticks, in the last of these; then commit ticks.
FORWARD, LEARN, LAST, COMMIT, BIAS, RATE, INPUT_SQUARES, OUTPUTS = range(8)
PHASE = 6  # PHASE + t is 1 in commit tick t, from 2 to 10
# Channels of the backward message: feedback, what the last direction did, then own messages of commit ticks.
FEEDBACK, DONE = range(2)

SUMS, SOME, FEWER = 2.0**80, 2.0**60, 2.0**40  # own messages that are to be logarithms: of sums times this
ONE = math.tanh(math.tanh(2.0**-10))  # h of the unit that always is the same
FEW = 24 * math.log(2)  # gates this far below 0 are exponentials
HALF, FAR, FARTHER = (n * math.log(2) for n in (44, 58, 64))  # of gates that divide by an RMS, or by two


class _Sheet:
    """The parameters by name while they are written."""

    def __init__(self) -> None:
        N = len(UNITS)
        self.W, self.V, self.U, self.b = (torch.zeros(rows, 4, N, dtype=torch.float64) for rows in (N, 17, 40, 1))
        self.P_f: list[torch.Tensor] = []
        self.P_b: list[torch.Tensor] = []

    def column(self, into: list[torch.Tensor], **weights: float) -> int:
        """A new column of ``P_f`` or ``P_b``; a name ending in _ stands for a pair."""
        vector = torch.zeros(len(UNITS), dtype=torch.float64)
        for name, weight in weights.items():
            if name.endswith("_"):
                vector[AT[name[:-1] + "+"]], vector[AT[name[:-1] + "-"]] = weight, -weight
            else:
                vector[AT[name]] = weight
        into.append(vector)
        return len(into) - 1

    def memory(self, name: str) -> None:
        """c is kept, and its h shows it."""
        at = AT[name]
        self.b[0, [F, O], at] = OPEN
        self.b[0, I, at] = SHUT

    def scratch(self, name: str, opens: bool = False) -> None:
        """c is forgotten at every tick; written if ``opens``, or by what is added to the gate."""
        at = AT[name]
        self.b[0, F, at], self.b[0, O, at] = SHUT, OPEN
        self.b[0, I, at] = OPEN if opens else SHUT

    def phase(self, gate: int, name: str, t: int, z: float) -> None:
        """In commit tick t a gate has ``z`` besides what it hears, whatever its bias is."""
        self.V[PHASE + t, gate, AT[name]] = z - self.b[0, gate, AT[name]]

    def product(self, pair: str, one: dict[str, float], other: dict[str, float]) -> None:
        """The h of a pair differ by the product of two sums of h."""
        for sign, name in ((1.0, pair + "+"), (-1.0, pair + "-")):
            at = AT[name]
            self.b[0, F, at], self.b[0, O, at] = SHUT, OPEN
            for source, weight in one.items():
                self.W[AT[source], I, at] = 2 * sign * weight
            for source, weight in other.items():
                self.W[AT[source], G, at] = weight


def adaptive(coordinates: Coordinates | None = None, *, dtype: torch.dtype = torch.float32) -> LearningAlgorithm:
    """The rule with these coordinates.

    Returns:
        The algorithm, named ``adaptive``; lr 1 is the step it chooses.
    """
    coordinates = coordinates or Coordinates()
    s, K, EPS, S, ZETA = _Sheet(), CONSTANTS["k"], CONSTANTS["eps"], CONSTANTS["scale"], CONSTANTS["zeta"]
    W, V, U, b = s.W, s.V, s.U, s.b

    # --- forward and learn ticks
    for sign, w, p, d, x in ((1.0, "weight+", "product+", "direction+", "squared+"), (-1.0, "weight-", "product-", "direction-", "squared-")):  # fmt: skip  # noqa: E501
        b[0, [I, F], AT[w]] = OPEN
        V[FORWARD, O, AT[w]], U[FEEDBACK, O, AT[w]] = sign * 2 / K, sign * 2 * EPS
        W[AT[w], G, AT["message"]] = sign * ZETA * S / EPS
        b[0, F, AT[p]], b[0, O, AT[p]] = SHUT, OPEN
        V[LEARN, I, AT[p]], U[FEEDBACK, G, AT[p]] = sign * 2 / K, sign * EPS
        W[AT["mean"], I, AT[p]] = -sign * 2
        W[AT[p], G, AT["update"]] = 1 / EPS
        s.memory(d)
        b[0, O, AT[d]] = 0.0
        V[FORWARD, O, AT[d]], W[AT["mean"], O, AT[d]] = sign * 2 / K, -sign * 2
        b[0, F, AT[x]], b[0, O, AT[x]] = SHUT, OPEN  # (x - mean)^2
        V[LEARN, I, AT[x]], W[AT["mean"], I, AT[x]] = sign * 2 / K, -sign * 2
        V[LEARN, G, AT[x]], W[AT["mean"], G, AT[x]] = 1 / K, -1.0
        V[COMMIT, I, AT[x]] = -4 * OPEN
        W[AT[x], G, AT["square"]] = sign * 2.0**10
        m = AT["moved" + w[-1]]  # what the last direction did to this sample, squared
        b[0, F, m], b[0, O, m] = SHUT, OPEN
        U[DONE, I, m], U[DONE, G, m] = sign * 2, 1.0
        W[m, G, AT["move"]] = sign * 2.0**10
    at = AT["message"]
    b[0, F, at], V[LEARN, I, at], V[LEARN, O, at] = SHUT, 2 / K, -2 / K
    for name in GATHERED:
        b[0, [I, F, O], AT[name]] = OPEN
        s.phase(F, name, 10, SHUT)
    V[LAST, G, AT["input"]] = 1 / K
    for name in MEMORIES:
        if not name.startswith("direction"):
            s.memory(name)
    s.column(s.P_f, weight_=K * S)
    s.column(s.P_f, direction_=K * 2.0**30 / K)
    s.column(s.P_b, message=4 / ZETA)

    # --- what neurons tell their synapses in commit ticks, as logarithms of sums unless they are small
    gathered = {
        f"age{T:g}": {"age": 2.0**28 * SUMS, "one": T * SUMS / ONE} for T in (0.0, FAST, SLOW, SQUARES, *PERIODS)
    }
    gathered["width"] = {"one": SUMS / ONE}
    gathered |= {
        "uu": {"uu_": 2.0**40 * SUMS},
        "dd": {"dd_": 2.0**60 * SOME},
        "tt": {"tt_": 2.0**56 * SOME},
        "move": {"move": 2.0**30 * SUMS},
        "now": {"now": 2.0**78},  # small
        "squares": {"squares": 2.0**40 * SUMS},
        "agreement": {"agreement": 2.0**8},  # small
        "snr": {"mm_": 2.0**40 * SUMS, "squares": NOISE * 2.0**40 * SUMS},
        "effect": {"square": math.exp(coordinates.width) * 2.0**30 * SOME, "effect": 2.0**48 * SOME},
        "back": {"md_": 2.0**52},  # small
    }
    columns = {name: s.column(s.P_f, **weights) for name, weights in gathered.items()}
    channels: dict[tuple[int, str], int] = {}  # one for each message and tick, so that nobody hears it at another one
    per_input = s.column(s.P_b, centred=2.0**62 * FEWER)
    outputs = s.column(s.P_b, one=FEWER / ONE)

    def channel(t: int, name: str) -> int:
        return channels.setdefault((t, name), 2 + len(channels))

    def hears(gate: int, name: str, t: int, **messages: float) -> None:
        for message, weight in messages.items():
            U[channel(t, message), gate, AT[name]] += weight

    b[0, F, AT["one"]], b[0, [I, O], AT["one"]], b[0, G, AT["one"]] = SHUT, OPEN, 2.0**-10

    # tick 1 shows what memories hold; tick 2 multiplies, and keeps the mean that updates were centred by
    both = {"direction+": 1.0, "direction-": 1.0}
    s.product("uu", {"update": 1.0}, {"update": 1.0})
    s.product("ud", {"update": 1.0}, both)
    s.product("dd", both, both)
    s.product("tt", {"travelled": 1.0}, {"travelled": 1.0})
    s.product("mm", {"slow": 1.0}, {"slow": 1.0})
    s.memory("old")
    s.phase(I, "old", 2, OPEN)
    W[AT["mean"], G, AT["old"]] = 1.0

    # tick 3: means with rates 1 / (1 + n), n = t T / (t + T); how update and last direction agree; the first step
    for name, T, source in (
        ("fast", FAST, "update"),
        ("slow", SLOW, "update"),
        ("squares", SQUARES, "uu"),
        ("mean", SQUARES, "input"),
    ):
        for gate, sign in ((I, -1.0), (F, 1.0)):
            s.phase(gate, name, 3, sign * math.log(T))
            hears(gate, name, 3, age0=sign, **{f"age{T:g}": -sign})
        for source_name, sign in ((source, 1.0),) if source != "uu" else (("uu+", 1.0), ("uu-", -1.0)):
            W[AT[source_name], G, AT[name]] = sign
    V[BIAS, I, AT["mean"]] = -4 * OPEN  # a bias has no mean
    s.scratch("now")
    s.phase(I, "now", 3, math.log(4 * SUMS * SOME) / 2 - FARTHER)
    hears(I, "now", 3, uu=-0.5, dd=-0.5)
    W[AT["ud+"], G, AT["now"]], W[AT["ud-"], G, AT["now"]] = 2.0**26, -(2.0**26)
    s.memory("first")
    s.phase(I, "first", 3, 20.0)
    hears(I, "first", 3, age0=-1.0)
    V[PHASE + 3, G, AT["first"]] = 2.0**-10
    s.memory("effect")  # (mean square of what the last direction did) / A
    s.phase(I, "effect", 3, math.log(2 * SUMS) - FEW)
    hears(I, "effect", 3, move=1.0, width=-2.0)
    V[PHASE + 3, G, AT["effect"]] = 2.0**-24

    # ticks 4 and 5: second moments over their output's mean, by its root twice; agreement; the step's level
    for name, t, source, gain in (("half", 4, "squares", 12), ("centred", 5, "half", 54)):
        s.scratch(name)
        s.phase(I, name, t, -HALF)
        hears(I, name, t, squares=-0.5, width=0.5)
        W[AT[source], G, AT[name]] = 2.0**gain
    s.phase(F, "agreement", 4, math.log((1 - FORGET) / FORGET))
    s.phase(I, "agreement", 4, -math.log((1 - FORGET) / FORGET))
    W[AT["now"], G, AT["agreement"]] = 2.0**70
    for t in (4, 5):
        s.phase(I, "level", t, OPEN)
    hears(G, "level", 4, now=coordinates.grow)
    V[PHASE + 4, G, AT["level"]] = -coordinates.grow * coordinates.target * 2.0**-10
    s.scratch("shrunk")
    s.phase(I, "shrunk", 4, -2.0)
    hears(I, "shrunk", 4, now=-10.0 * 2.0**10)
    V[PHASE + 4, G, AT["shrunk"]] = 2.0**-10
    W[AT["shrunk"], G, AT["level"]] = -coordinates.shrink

    # tick 6: the direction, over the root of the second moments
    s.scratch("next")
    s.phase(I, "next", 6, -FAR)
    hears(I, "next", 6, squares=-0.5, width=0.5)
    V[INPUT_SQUARES, I, AT["next"]], V[OUTPUTS, I, AT["next"]] = -coordinates.inputs / 2, coordinates.inputs / 2
    shares = {"update": 1 - coordinates.fast - coordinates.slow, "fast": coordinates.fast, "slow": coordinates.slow}
    for name, share in shares.items():
        W[AT[name], G, AT["next"]] = share * 2.0**-20

    # tick 7: how far
    clocks = {f"age{T:g}": -power for T, power in zip(PERIODS, coordinates[6:9], strict=True)}
    ages = sum(power * math.log(T) for T, power in zip(PERIODS, coordinates[6:9], strict=True))
    for name, rate in (("step", coordinates.rate), ("stride", coordinates.travel)):
        s.scratch(name)
        V[RATE, I, AT[name]] = 1.0
        hears(I, name, 7, **clocks, width=sum(coordinates[6:9]))
        W[AT["next"], G, AT[name]] = 2.0**70
        s.phase(I, name, 7, rate + ages - FEW)
    hears(I, "stride", 7, tt=0.5, width=-0.5)
    hears(
        I,
        "step",
        7,
        effect=-0.5,
        snr=coordinates.noise,
        squares=-coordinates.noise,
        agreement=coordinates.agree * 2.0**10,
    )
    V[PHASE + 7, I, AT["step"]] += 0.5 * math.log(2 * SOME)
    V[PHASE + 7, I, AT["stride"]] += 0.5 * math.log(SUMS / SOME)
    W[AT["level"], I, AT["step"]] = 2.0**10
    W[AT["first"], I, AT["step"]] = -coordinates.first * 2.0**10
    for name in ("direction+", "direction-"):
        s.phase(I, name, 7, OPEN)
        s.phase(F, name, 7, SHUT)
        W[AT["next"], G, AT[name]] = 2.0**68

    # tick 8 writes; ticks 9 and 10 take from the bias what that did to the mean input, and begin anew
    for name in ("step", "stride"):
        for written in ("weight+", "weight-", "travelled"):
            W[AT[name], G, AT[written]] = 2.0**24
    s.phase(I, "travelled", 8, OPEN)
    s.product("md", {"old": 1.0}, {"step": 1.0, "stride": 1.0})
    s.scratch("back")
    V[BIAS, I, AT["back"]] = 2 * OPEN
    hears(G, "back", 9, back=-(2.0**-32))
    for name in ("weight+", "weight-"):
        W[AT["back"], G, AT[name]] = 2.0**24
    for name in ("old", "first", "effect"):
        s.phase(F, name, 10, SHUT)
    s.phase(I, "age", 10, OPEN)
    V[PHASE + 10, G, AT["age"]] = 2.0**-28

    def tick(t: int, bias: bool = False, rate: bool = False, inputs: tuple[tuple[int, int], ...] = ()) -> CommitTick:
        outputs = tuple((columns[name], place) for (at, name), place in channels.items() if at == t)
        return CommitTick((COMMIT, PHASE + t), (BIAS,) * bias, (RATE,) * rate, outputs, inputs)

    sums = ((per_input, INPUT_SQUARES), (outputs, OUTPUTS))
    commit = (
        CommitTick(one=(COMMIT,)),
        tick(2),
        tick(3, bias=True),
        tick(4),
        tick(5),
        tick(6, inputs=sums),
        tick(7, rate=True),
        tick(8),
        tick(9, bias=True),
        tick(10),
    )
    encode, decode, gradient = (torch.zeros(len(UNITS), dtype=torch.float64) for _ in range(3))
    encode[:2], decode[:2], gradient[AT["update"]] = 1 / S, S / 2, K
    return LearningAlgorithm(
        name="adaptive",
        cell=Cell(
            W.flatten(1),
            V.flatten(1),
            U[: 2 + len(channels)].flatten(1),
            b.flatten(),
            torch.stack(s.P_f, 1),
            torch.stack(s.P_b, 1),
        ),
        protocol=Protocol(
            forward=(Tick(), Tick(x=(FORWARD,))),
            learn=(Tick(), Tick(x=(LEARN,), e=(FEEDBACK,), own=(DONE,)), Tick(x=(LEARN, LAST))),
            commit=commit,
        ),
        codec=Codec(encode, decode),
        memory=tuple(name in ("weight+", "weight-", "update") for name in UNITS),
        lr=1.0,
        reach=Reach(x=K / 512, e=1 / (512 * EPS), w=S / 512),
        fine=True,
        gradient=gradient,
        card={"kind": "constructed", "constants": dict(CONSTANTS)},
    ).to(dtype=dtype)
