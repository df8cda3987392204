"""Kernels for cells whose zeros leave little to compute: written for the phase, every unit with values of its own."""

import importlib.util
from functools import cache, cached_property
from types import ModuleType
from typing import Any

from torch import Tensor

from lightning_vsml.ticks.cache import kept
from lightning_vsml.ticks.plan.graph import Node, Parameter
from lightning_vsml.ticks.plan.outputs import Outputs
from lightning_vsml.ticks.plan.packing import Packing


class Generated:
    """The kernels of a protocol, and their parameters (K, size)."""

    synapses = 256  # of a program

    def __init__(self, phases: dict[str, Outputs], packed: Packing, parameters: Tensor) -> None:
        self.phases, self.packed, self.parameters = phases, packed, parameters

    def changes(self, phase: str) -> list[tuple[int, bool, bool]]:
        """What the kernel of a phase sums over rows: unit, whether of c, and whether it is without the start's part."""
        return [(change.unit, change.of_c, not change.less_start) for change in self.phases[phase].changes]

    def launch(self, phase: str, grid: tuple[int, ...], tensors: list[Tensor], **sizes: Any) -> None:
        """Run a phase on (h, c, x, e, changes, message), shapes as in :func:`source`."""
        members, size = self.parameters.shape
        kernel = getattr(self._module, phase)
        kernel[grid](self.parameters, *tensors, groups=sizes["G"] // members, size=size, **sizes)

    @cached_property
    def _module(self) -> ModuleType:
        return _load(source(self.phases, self.packed))


@cache
def _load(text: str) -> ModuleType:
    """The module of that text, from a file: Triton reads a kernel's text there."""
    path = kept(text, ".py", lambda file: file.write_text(text))
    spec = importlib.util.spec_from_file_location(f"lightning_vsml_ticks_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # as always for a .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HEADER = '''"""Made by lightning_vsml.ticks.triton.generated."""

import triton
import triton.language as tl

from lightning_vsml.ticks.triton.functions import half, tanh_
'''

_KERNEL = """

@triton.jit(do_not_specialize=["A", "B", "R", "G", "groups", "size", "few"])
def {name}(
    p, h, c, x, e, changes, message, A, B, R, G, groups, size, few,
    BA: tl.constexpr, BB: tl.constexpr, FAST: tl.constexpr,
):
    tiles = tl.cdiv(B, BB)
    tile_a, tile_b = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    g, chunk = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    a, b = tile_a * BA + tl.arange(0, BA), tile_b * BB + tl.arange(0, BB)
    there = (a < A)[:, None] & (b < B)[None, :]
    plane = G.to(tl.int64) * A * B
    q = (g * A + a)[:, None] * B + b[None, :]
    p += g // groups * size
    zero = tl.zeros((BA, BB), tl.float32)
{before}
    for r in range(chunk * few, tl.minimum(R, (chunk + 1) * few)):
        x_r = tl.load(x + (r * G + g) * A + a, mask=a < A, other=0.0)[:, None]
{within}
{after}
"""


def source(phases: dict[str, Outputs], packed: Packing) -> str:
    """A module with a kernel for each phase.

    A program is a tile of BA x BB synapses and a chunk of ``few`` rows: states are read once, and sums over rows are
    kept in registers. Shapes: p (K, size); h, c (N, G, A, B); x (R, G, A); e (R, G, B, carried); changes
    (chunks, C, G, A, B), the sums over rows; message (tiles, M, R, G, A) backward, (tiles, M, R, G, B) forward, to be
    summed over tiles.
    """
    return _HEADER + "".join(_phase(name, out, packed) for name, out in phases.items())


def _phase(name: str, out: Outputs, packed: Packing) -> str:
    graph = out.graph
    results = [*out.messages, *(change.node for change in out.changes)]
    every, _ = graph.reach(results, lambda place: False)
    before: list[str] = []
    after: list[str] = []
    within = [
        f"e{k}_r = tl.load(e + {_place(k, out.carried)}, mask=b < B, other=0.0)[None, :]" for k in range(out.carried)
    ]
    for place in every:
        node = graph.nodes[place]
        (before if node.on <= frozenset("ab") else within).append(f"v{place} = {_expression(node, packed)}")
    for k, change in enumerate(out.changes):
        before.append(f"s{k} = zero")
        within.append(f"s{k} += v{change.node}")
        after.append(f"tl.store(changes + (chunk * {len(out.changes)} + {k}) * plane + q, s{k}, mask=there)")
    for m, place in enumerate(out.messages):
        here, over, index, size = ("tile_b", 1, "a", "A") if out.backward else ("tile_a", 0, "b", "B")
        within.append(f"sent = tl.sum(tl.where(there, v{place} + zero, 0.0), axis={over})")
        at = f"((({here} * {len(out.messages)} + {m}) * R + r) * G + g) * {size} + {index}"
        within.append(f"tl.store(message + {at}, sent, mask={index} < {size})")
    parts = {"before": (before, 4), "within": (within, 8), "after": (after, 4)}
    texts = {part: "\n".join(" " * indent + line for line in lines) for part, (lines, indent) in parts.items()}
    return _KERNEL.format(name=name, **texts)


def _place(k: int, carried: int) -> str:
    return "(r * G + g) * B + b" if carried == 1 else f"((r * G + g) * B + b) * {carried} + {k}"


def _expression(node: Node, packed: Packing) -> str:
    args = [f"v{arg}" for arg in node.args]
    match node.op, node.value:
        case "x", _:
            return "x_r"
        case "e", place:
            return f"e{place}_r"
        case "h" | "c" as name, unit:
            return f"tl.load({name} + {unit} * plane + q, mask=there, other=0.0)"
        case "constant", number:
            return repr(number)
        case "parameter", Parameter() as parameter:
            return " + ".join(f"tl.load(p + {place})" for place in packed.place(parameter))
        case "add", _:
            return " + ".join(args)
        case "mul", _:
            return " * ".join(args)
        case "tanh" | "half" as name, _:
            return f"{'tanh_' if name == 'tanh' else name}({args[0]}, FAST)"
    raise ValueError(f"{node.op} has no place in this kernel")
