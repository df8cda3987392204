"""C++ for a phase: the generated part, to which ``lanes.hpp`` adds the loops over a grid.

What depends on less than row, input and output is computed beforehand at its shape, where it takes a tanh or a matrix
product, and within the innermost loop where it is only a multiplication or an addition.
"""

import torch

from lightning_vsml.ticks.native.compiler import with_lanes
from lightning_vsml.ticks.plan.graph import SPREAD, Graph, Mix, Node, Parameter
from lightning_vsml.ticks.plan.outputs import Outputs
from lightning_vsml.ticks.plan.packing import Packing

_COSTLY = ("tanh", "half", "mix", "h", "c")  # worth computing beforehand; a state also has a layout of its own
_LEVELS = {"once": "", "synapse": "ab", "input": "ra", "output": "rb"}


def source(phases: dict[str, Outputs], packed: Packing, dtype: torch.dtype) -> str:
    """A whole translation unit, with a ``<name>_rows`` and a ``<name>_synapses`` for each phase."""
    bodies = [_phase(name, out, packed) for name, out in phases.items()]
    entries = [line for name in phases for line in _entries(name)]
    return with_lanes(dtype, *bodies) + "\n".join(entries)


def _phase(name: str, out: Outputs, packed: Packing) -> str:
    graph = out.graph
    results = [*out.messages, *(change.node for change in out.changes)]
    costly = _costly(graph)
    _, early = graph.reach(results, lambda place: costly[place] and graph.nodes[place].on != SPREAD)
    levels = {level: sorted(p for p in early if graph.nodes[p].on == frozenset(on)) for level, on in _LEVELS.items()}
    within = {level: graph.reach(places, lambda place: False)[0] for level, places in levels.items()}
    constants = sorted({p for places in within.values() for p in places if costly[p] and not graph.nodes[p].on})
    levels["once"] = constants
    known = {"once": {place: f"s[{k}]" for k, place in enumerate(constants)}}
    for array, level in (("ab", "synapse"), ("ra", "input"), ("rb", "output")):
        known[level] = {place: f"{array}[{k}]" for k, place in enumerate(levels[level])}
    everything = {place: text for texts in known.values() for place, text in texts.items()}

    changes = ", ".join(f"{{{c.unit}, {int(c.of_c)}, {int(c.less_start)}}}" for c in out.changes)
    sizes = zip(("SCALARS", "AB", "RA", "RB"), ("once", "synapse", "input", "output"), strict=True)
    lines = [
        f"struct {name} {{",
        f"  static constexpr bool BACKWARD = {int(out.backward)};",
        f"  static constexpr int MESSAGES = {len(out.messages)}, CHANGES = {len(out.changes)};",
        f"  static constexpr int CARRIED = {out.carried};",
        f"  static constexpr Change changes[] = {{{changes or '{}'}}};",
        *(f"  static constexpr int {size} = {len(levels[level])};" for size, level in sizes),
    ]
    for header, wanted, given in (
        ("once(const F* p, F* out)", constants, {}),
        (
            "synapse(const F* p, const F* s, const F* h, const F* c, long plane, long n, V* out)",
            levels["synapse"],
            known["once"],
        ),
        ("input(const F* p, const F* s, V x, V* out)", levels["input"], known["once"]),
        ("output(const F* p, const F* s, const V* e, V* out)", levels["output"], known["once"]),
        (
            "spread(const F* p, const F* s, const S* ab, V x, const V* ra, const V* e, const V* rb, V* out)",
            results,
            everything,
        ),
    ):
        lines += _function(header, graph, wanted, given, packed)
    return "\n".join([*lines, "};"])


def _costly(graph: Graph) -> list[bool]:
    costly: list[bool] = []
    for node in graph.nodes:
        costly.append(node.op in _COSTLY or any(costly[arg] for arg in node.args))
    return costly


def _function(header: str, graph: Graph, wanted: list[int], known: dict[int, str], packed: Packing) -> list[str]:
    """A function that computes ``wanted`` into ``out``; ``S`` is what a synapse's values are in the innermost loop."""
    spread = header.startswith("spread")
    compute, _ = graph.reach(wanted, lambda place: place in known)
    lines = ["  template <class S>"] * spread + [f"  INLINE void {header} {{"]
    for place in compute:
        node = graph.nodes[place]
        args = [known.get(arg, f"v{arg}") for arg in node.args]
        if isinstance(node.value, Mix):
            values = ", ".join(f"V{{}} + {arg}" for arg in args)
            sums = packed.columns(node.value)
            lines.append(f"    const V h{place}[] = {{{values}}};")
            lines.append(f"    V v{place}[{sums}];")
            lines.append(f"    mix<{len(args)}, {sums}>(p + {packed.place_mix(node.value)}, h{place}, v{place});")
        else:
            kind = "F" if not node.on else "S" if spread and node.on == frozenset("ab") else "V"
            lines.append(f"    const {kind} v{place} = {_expression(node, args, packed)};")
    kind = "" if header.startswith("once") else "V{} + "
    lines += [f"    out[{k}] = {kind}{known.get(place, f'v{place}')};" for k, place in enumerate(wanted)]
    return [*lines, "  }"]


def _expression(node: Node, args: list[str], packed: Packing) -> str:
    match node.op, node.value:
        case "x", _:
            return "x"
        case "e", place:
            return f"e[{place}]"
        case "h" | "c" as name, unit:
            return f"load({name} + {unit} * plane, n)"
        case "constant", number:
            return f"F({number!r})"
        case "parameter", Parameter() as parameter:
            return " + ".join(f"p[{place}]" for place in packed.place(parameter))
        case "add", _:
            return " + ".join(args)
        case "mul", _:
            return " * ".join(args)
        case "tanh", _:
            return f"tanh_({args[0]})"
        case "half", _:
            return f"half({args[0]})"
        case "pick", column:
            return f"{args[0]}[{column}]"
    raise ValueError(f"unknown node {node}")


def _entries(name: str) -> list[str]:
    lines = []
    for way, more in (("rows", ["real"]), ("synapses", [])):
        inputs = ["p", "h", "c", "x", "e", *more]
        declared = ", ".join([*(f"const F* {n}" for n in inputs), *(f"F* {n}" for n in ("dh", "dc", "message"))])
        passed = ", ".join(["*grid", *inputs, "dh", "dc", "message"])
        lines.append(f'extern "C" void {name}_{way}(const Grid* grid, {declared}) {{ {way}<{name}>({passed}); }}')
    return lines
