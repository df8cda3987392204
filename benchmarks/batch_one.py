"""Online learning, batch 1: the native ticks against the same mathematics jitted in JAX, in one run.

    pip install jax && python benchmarks/batch_one.py

784 x 10 synapses of a random dense cell, N = 16 units, messages of M = 8 channels, two micro-ticks with x and e on
their first channels: state, x, e -> next state and backward message. The peer is written as the equations stand, in
float32, and compiled by jax.jit. Results are compared before they are timed.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

from lightning_vsml import Cell, State, Tick
from lightning_vsml.ticks import ROWWISE

A, B, N, M = 784, 10, 16, 8


@jax.jit
def peer(cell, h, c, x, e):
    W, V, U, b, _, P_b = cell
    m_f = jnp.zeros((A, M)).at[:, 0].set(x)
    m_b = jnp.zeros((B, M)).at[:, 0].set(e)
    for _ in range(2):
        z = h @ W + (m_f @ V)[:, None] + (m_b @ U)[None] + b
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return h, c, h.sum(1) @ P_b


def timed(run: Callable[[], object], seconds: float = 2.0) -> list[float]:
    run()
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    torch.manual_seed(0)
    shapes = [(N, 4 * N), (M, 4 * N), (M, 4 * N), (4 * N,), (N, M), (N, M)]
    cell = Cell(*(torch.randn(shape) * 0.3 for shape in shapes))
    state = State(*(torch.rand(2, N, 1, A, B) * 2 - 1).movedim(1, -1))  # unit by unit in memory, as a learner holds it
    x, e = torch.randn(1, 1, A), torch.randn(1, 1, B)
    ticks = (Tick(x=(0,), e=(0,)),) * 2
    runs: dict[str, Callable[[], object]] = {}
    for name in ("reference", "native"):
        implementation = ROWWISE[name](cell, ticks, ticks, frozenset(range(N)))

        def ours(implementation=implementation) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            change, message = implementation.learn(state, x, e)
            return state.h + change.h, state.c + change.c, message

        runs[name] = ours
    arrays = [tuple(jnp.asarray(p.numpy()) for p in cell), *(jnp.asarray(s[0].numpy()) for s in state)]
    arrays += [jnp.asarray(x[0, 0].numpy()), jnp.asarray(e[0, 0].numpy())]
    runs["jax.jit"] = lambda: jax.block_until_ready(peer(*arrays))

    for mine, theirs in zip(runs["native"](), runs["jax.jit"](), strict=True):
        np.testing.assert_allclose(mine.numpy().reshape(theirs.shape), theirs, rtol=1e-3, atol=1e-4)
    rounds = {name: [] for name in runs}
    for _ in range(3):  # in turns, as the machine's speed drifts
        for name, run in runs.items():
            rounds[name] += timed(run)
    medians = {name: statistics.median(times) for name, times in rounds.items()}
    print(f"torch {torch.__version__} on {torch.get_num_threads()} CPU cores, jax {jax.__version__}")
    for name, seconds in medians.items():
        print(f"{name:10s} {seconds * 1e3:7.3f} ms   jax.jit / {name}: {medians['jax.jit'] / seconds:.2f}")


if __name__ == "__main__":
    with torch.no_grad():
        main()
