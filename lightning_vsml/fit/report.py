"""The table shown at fit start."""

from rich.console import Console
from rich.table import Table

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.binding.mapping import Mapping, describe


def summary(mapping: Mapping, algorithm: LearningAlgorithm, lr: float, unmapped: str) -> Table:
    """Each mapped layer with its grid and number of states; |V_L| and |V_M|; what is glue.

    A synapse has 2 N states: h and c of each of its N units.
    """
    table = Table(
        title=f"VSMLLearner: {algorithm.name}, lr = {lr:g}, N = {algorithm.cell.units} units per synapse",
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
        states = G * A * B * 2 * algorithm.cell.units
        frozen = not grid.layer.weight.requires_grad
        total += 0 if frozen else states
        table.add_row(
            name or "(model)",
            type(grid.layer).__name__,
            (f"{G} x " if G > 1 else "") + f"{A} x {B}",
            "frozen" if frozen else f"{states:,}",
        )
    V_M = algorithm.cell.size
    table.add_section()
    table.add_row("|V_L|, learned states", "", "", f"{total:,}")
    table.add_row("|V_M|, shared parameters", "", "", f"{V_M:,}")
    table.add_row("|V_L| / |V_M|", "", "", f"{total / V_M:,.1f}")
    N2, kept = 2 * algorithm.cell.units, len(algorithm.layout.planes)
    caption = f"glue: {describe(mapping.glue)}\nkept: {kept} of a synapse's {N2} numbers, from which the others follow"
    if mapping.unmapped:
        fate = {"freeze": "kept as they are", "optimizer": "left to your optimizer"}[unmapped]
        caption += f"\nnot mapped, {fate}: {', '.join(mapping.unmapped)}"
    table.caption = caption
    return table


def show(table: Table) -> None:
    """Print a table to the terminal."""
    Console().print(table)
