"""The table shown at fit start."""

from rich.console import Console
from rich.table import Table

from lightning_vsml.algorithms.base import Pace
from lightning_vsml.binding.grids import ParameterGrid
from lightning_vsml.binding.mapping import describe
from lightning_vsml.binding.synapses import Synapses


def summary(synapses: Synapses, unmapped: str) -> Table:
    """Each grid with its number of states; |V_L| and |V_M|; what is glue.

    A synapse of LSTM cells has 2 N states: h and c of each of its N units.
    """
    mapping, algorithm, lr = synapses.holding.mapping, synapses.algorithm, synapses.lr
    lstm = algorithm.states == 2 * algorithm.units
    table = Table(
        title=f"VSMLLearner: {algorithm.name}, "
        + (f"lr = {lr:g}, " if algorithm.pace is not Pace.NONE else "")
        + (f"N = {algorithm.units} units per synapse" if lstm else f"numbers per synapse: {algorithm.states}"),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("type")
    table.add_column("grid A x B", justify="right")
    table.add_column("states", justify="right")
    total = 0
    for name, grid in mapping.grids.items():
        G, A, B = grid.shape
        states = G * A * B * algorithm.states
        elementwise = isinstance(grid, ParameterGrid)
        frozen = not any(parameter.requires_grad for parameter in grid.parameters)
        total += 0 if frozen else states
        table.add_row(
            name or "(model)",
            f"{grid.kind}, each number" if elementwise else grid.kind,
            f"{G}" if elementwise else (f"{G} x " if G > 1 else "") + f"{A} x {B}",
            "frozen" if frozen else f"{states:,}",
        )
    V_M = algorithm.size
    table.add_section()
    table.add_row("|V_L|, learned states", "", "", f"{total:,}")
    table.add_row("|V_M|, shared parameters", "", "", f"{V_M:,}")
    table.add_row("|V_L| / |V_M|", "", "", f"{total / V_M:,.1f}")
    kept = len(algorithm.layout.planes)
    if algorithm.readable:
        caption = f"glue: {describe(mapping.glue)}"
        if kept < algorithm.states:
            caption += f"\nkept: {kept} of a synapse's {algorithm.states} numbers, from which the others follow"
        if algorithm.chained:
            caption += f"\n{algorithm.ways()}"
    else:
        caption = f"left out between layers, whose messages go from one to the next: {describe(mapping.glue)}"
        caption += "\nstates begin as noise; weights stay as they are, and say nothing of what is learned"
    if any(isinstance(grid, ParameterGrid) for grid in mapping.grids.values()):
        caption += (
            "\neach number: synapses of their own, fed with x = 1; they see a gradient, not the samples behind it"
        )
    if mapping.left:
        fate = {"freeze": "kept as they are", "optimizer": "left to your optimizer"}[unmapped]
        caption += f"\n{fate}: {', '.join(mapping.left)}"
    if mapping.chosen:
        caption += f"\nleft to your optimizer, as you chose: {', '.join(mapping.chosen)}"
    table.caption = caption
    return table


def show(table: Table) -> None:
    """Print a table to the terminal."""
    Console().print(table)
