"""What a plan leaves out, shares and keeps up."""

import torch

from lightning_vsml import Cell, Tick, programs
from lightning_vsml.ticks.plan import structure
from lightning_vsml.ticks.plan.graph import Graph, Parameter
from lightning_vsml.ticks.plan.outputs import outputs
from lightning_vsml.ticks.plan.trace import trace


def spread(plan: structure.Plan) -> list[str]:
    """The operations on every row, input and output."""
    graph = trace(plan, units=5).graph
    return [node.op for place, node in enumerate(graph.nodes) if graph.is_spread(place)]


def test_backprop_is_planned_as_its_table_says() -> None:
    """The forward pass forms nothing per row, input and output; scratch units are not kept up."""
    algorithm = programs.backprop()
    plans = structure.plan_protocol(algorithm.cell, *algorithm.protocol[:2], codec=frozenset([0, 1]))
    assert [tick.h for tick in plans.forward.ticks] == [(0, 1)] and spread(plans.forward) == []
    assert [tick.h for tick in plans.learn.ticks] == [(0, 1, 2, 3), (2, 3, 4)]
    assert spread(plans.learn).count("tanh") == 5 and "half" not in spread(plans.learn)
    assert (plans.kept_h, plans.kept_c) == ({2, 3}, {0, 1})


def test_a_gate_may_be_shut_as_tightly_as_it_likes() -> None:
    """exp(1000) is beyond a float; the gate is 0 all the same."""
    cell = programs.backprop().cell
    cell.b[cell.b < 0] = -1000.0
    plans = structure.plan_protocol(cell, *programs.backprop().protocol[:2], codec=frozenset([0, 1]))
    assert plans.learn.ticks[-1].gates[structure.F, 4] == 0.0


def test_parameters_that_differ_are_no_structure() -> None:
    """Across a population, or where they learn: a zero of one member, and equal gates of one, count for nothing."""
    algorithm = programs.backprop()
    same = Cell.stack([algorithm.cell, algorithm.cell])
    assert structure.plan_protocol(same, *algorithm.protocol[:2], frozenset([0, 1])) == structure.plan_protocol(
        algorithm.cell, *algorithm.protocol[:2], frozenset([0, 1])
    )
    other = Cell(*(parameter.clone() for parameter in algorithm.cell))
    other.V[0, 4] += 1.0  # x on channel 0 to i of unit 4
    other.W[2, 10] *= 2  # rho of unit 0
    plans = structure.plan_protocol(Cell.stack([algorithm.cell, other]), *algorithm.protocol[:2], frozenset([0, 1]))
    gates = plans.learn.ticks[-1].gates
    assert gates[structure.G, 0] != gates[structure.G, 1]
    assert gates[structure.G, 0].sources[0] == (2, "W[2,10]")
    learnable = Cell(*(parameter.clone().requires_grad_() for parameter in algorithm.cell))
    plan = structure.plan(learnable, (Tick(x=(0,)),), frozenset([0]), frozenset())
    assert len(plan.ticks[0].gates[structure.I, 0].sources) == 5


def test_a_gate_of_opposite_z_is_the_same_tanh() -> None:
    gate = structure.Gate(False, 0.5, ((1, -2.0),), (3.0,), ((0, (4.0,)), (2, (-5.0,))))
    assert gate.mirrored() == structure.Gate(False, -0.5, ((1, 2.0),), (-3.0,), ((0, (-4.0,)), (2, (5.0,))))
    free = structure.Gate(False, 0.5, (), (), ((1, ("U[1,3]",)),))
    assert free.mirrored() is None
    assert structure.Gate(False, "b[0,0]", (), (), ()).mirrored() is None


def test_a_graph_holds_equal_operations_once() -> None:
    graph = Graph()
    x, e = graph.leaf("x"), graph.leaf("e")
    assert graph.mul(x, e) == graph.mul(x, graph.constant(1.0), e)
    assert graph.is_spread(graph.mul(x, e)) and not graph.is_spread(graph.apply("tanh", x))
    total = graph.add(graph.mul(x, e), x, graph.constant(2.0))
    inner = graph.nodes[total].args[0]  # constant and x first, before anything is spread
    assert graph.nodes[inner].on == frozenset("ra")
    compute, take = graph.reach([total], lambda place: place == inner)
    assert compute[-1] == total and take == [inner] and x in compute


def test_own_messages_take_part_where_they_weigh_something() -> None:
    """At the shape of outputs; and a column of P_f reads only its own units."""
    cell = Cell(*(torch.zeros_like(parameter) for parameter in programs.backprop().cell))
    cell = cell._replace(U=torch.zeros(2, 20), P_f=torch.eye(5)[:, :2])
    cell.U[1, 10] = 2.0  # g of unit 0
    cell.V[0, 10:12] = torch.tensor([1.0, 3.0])  # g of units 0 and 1
    plans = structure.plan_protocol(cell, (Tick(x=(0,)),), (Tick(own=(1,)), Tick(e=(0,))), frozenset([0]))
    gates = [tick.gates for tick in plans.learn.ticks]
    assert gates[0][structure.G, 0].e == ((1, (2.0,)),)
    assert not gates[0][structure.F, 0].e and gates[1][structure.G, 0] == 0.0
    phases = outputs(cell, plans)
    assert (phases["forward"].carried, phases["learn"].carried) == (1, 2)
    assert [(node.value, node.on) for node in phases["learn"].graph.nodes if node.op == "e"] == [(1, {"r", "b"})]
    forward = phases["forward"]
    for channel, message in enumerate(forward.messages):
        values = [forward.graph.nodes[place].value for place in forward.graph.reach([message], lambda _: False)[0]]
        assert [v for v in values if getattr(v, "name", "") == "P_f"] == [Parameter("P_f", (channel,), channel)]


def test_what_is_read_is_kept_up() -> None:
    """A unit that only a later step's first tick reads is found by going round."""
    torch.manual_seed(0)
    cell = Cell(*(torch.zeros_like(parameter) for parameter in programs.backprop().cell))
    cell.P_f[0] = 1.0
    cell.W[3, 2 * 5 + 0] = 1.0  # g of unit 0 reads h of unit 3
    cell.U[0, 2 * 5 + 3] = 1.0  # which feedback writes
    plans = structure.plan_protocol(cell, (Tick(x=(0,)),), (Tick(e=(0,)),), frozenset())
    assert (plans.kept_h, plans.kept_c) == ({3}, {0, 3})
