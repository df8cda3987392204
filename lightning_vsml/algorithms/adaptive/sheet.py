"""Units and channels of the rule by name, and the parameters of its cell while they are written."""

import torch

from lightning_vsml.algorithms.programs import OPEN, SHUT, F, G, I, O
from lightning_vsml.ticks import CommitTick

_NAMES = (
    # a pair ends in + and -: two units with mirrored gates, whose h differ by a product
    "weight+ weight- product+ product- message "
    # what learn ticks gather, from one commit to the next
    "update input squared+ squared- square "
    # memories
    "mean slow squares age travelled "
    # commit ticks alone
    "one uu+ uu- tt+ tt- mm+ mm- old first half centred weighed next step stride md+ md- back "
    # of biases alone
    "own_squares own_tt+ own_tt- own_mm+ own_mm- offset shift"
)
UNITS = _NAMES.split()
AT = {name: place for place, name in enumerate(UNITS)}
MEMORIES = ("mean", "slow", "squares", "age", "travelled")
GATHERED = ("update", "input", "square")

# Channels of the forward message: the input in forward ticks, in learn ticks, in the last of these; then commit ticks.
FORWARD, LEARN, LAST, COMMIT, BIAS, APART, PLAIN, RATE, ANNEALED, DEPTH, INPUT_SQUARES, OUTPUTS = range(12)
PHASE = 10  # PHASE + t is 1 in commit tick t, from 2 to 10
FEEDBACK = 0  # channel of the backward message; the others are own messages of commit ticks


class Sheet:
    """The parameters by name while they are written."""

    def __init__(self) -> None:
        N = len(UNITS)
        self.W, self.V, self.U, self.b = (torch.zeros(rows, 4, N, dtype=torch.float64) for rows in (N, 21, 48, 1))
        self.P_f: list[torch.Tensor] = []
        self.P_b: list[torch.Tensor] = []
        self.columns: dict[str, int] = {}
        self.channels: dict[tuple[int, str], int] = {}  # for each message and tick, so that nobody hears it in another

    def column(self, into: list[torch.Tensor], weights: dict[str, float]) -> int:
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
        self.b[0, [F, O], AT[name]] = OPEN
        self.b[0, I, AT[name]] = SHUT

    def scratch(self, name: str) -> None:
        """c is forgotten at every tick, and written where something opens the gate."""
        self.b[0, [F, I], AT[name]] = SHUT
        self.b[0, O, AT[name]] = OPEN

    def phase(self, gate: int, name: str, t: int, z: float) -> None:
        """In commit tick t a gate has ``z`` besides what it hears, whatever its bias is."""
        self.V[PHASE + t, gate, AT[name]] = z - self.b[0, gate, AT[name]]

    def hears(self, gate: int, name: str, t: int, **messages: float) -> None:
        """In commit tick t a gate is told messages, each times a weight."""
        for message, weight in messages.items():
            channel = self.channels.setdefault((t, message), 1 + len(self.channels))
            self.U[channel, gate, AT[name]] += weight

    def product(self, pair: str, one: dict[str, float], other: dict[str, float]) -> None:
        """The h of a pair differ by the product of two sums of h."""
        for sign, name in ((1.0, pair + "+"), (-1.0, pair + "-")):
            at = AT[name]
            self.b[0, F, at], self.b[0, O, at] = SHUT, OPEN
            for source, weight in one.items():
                self.W[AT[source], I, at] = 2 * sign * weight
            for source, weight in other.items():
                self.W[AT[source], G, at] = weight

    def told_apart(self, name: str, bias: bool) -> None:
        """Where biases are told apart, a unit shows what it holds in these alone, or in weights alone."""
        shown = self.b[0, O, AT[name]]
        self.V[APART, O, AT[name]] = OPEN - SHUT if bias else SHUT - OPEN
        self.b[0, O, AT[name]] = SHUT if bias else shown

    def tick(self, t: int, bias: tuple[int, ...] = (), rate: bool = False, inputs: tuple[int, ...] = ()) -> CommitTick:
        """Commit tick t, in which everything is told that some gate hears then."""
        outputs = tuple((self.columns[name], place) for (at, name), place in self.channels.items() if at == t)
        told = tuple(zip(inputs, (INPUT_SQUARES, OUTPUTS), strict=False))
        plain = (PLAIN,) if t == 3 else ()
        rates, annealed, depth = ((RATE,), (ANNEALED,), (DEPTH,)) if rate else ((), (), ())
        return CommitTick((COMMIT, PHASE + t), bias, plain, rates, annealed, depth, outputs, told)
