"""A tick of synapses whose messages are vectors, each learner with states of its own."""

import triton
import triton.language as tl

from lightning_vsml.ticks.triton.functions import half, tanh_


@triton.jit(do_not_specialize=["G", "A", "B", "wide"])  # or every layer would compile anew
def lstm(  # type: ignore[no-untyped-def]  # Triton wants to be told the constants, and finds the rest itself
    W, state, z_f, z_b, after, out, back, G, A, B, wide,
    N: tl.constexpr, UNITS: tl.constexpr, SHARED: tl.constexpr, MOVES: tl.constexpr, BA: tl.constexpr,
    BB: tl.constexpr,
):  # fmt: skip
    """A step of BA x BB synapses of one learner.

    W (4, UNITS, UNITS), padded to UNITS = 16 or more, a power of two; state and after (G, B, 2N, wide), of which A are
    inputs; z_f (G, 4N, wide); z_b (G, B, 4N). out (tiles of A, G, B, N) and back (tiles of B, G, N, wide): sums of h
    over inputs and outputs, to be summed over tiles.
    """
    tiles = tl.cdiv(B, BB)
    tile_a, tile_b, g = tl.program_id(0) // tiles, tl.program_id(0) % tiles, tl.program_id(1).to(tl.int64)
    t, u = tl.arange(0, BA * BB), tl.arange(0, UNITS)
    a, b = tile_a * BA + t // BB, tile_b * BB + t % BB
    there = ((a < A) & (b < B))[:, None] & (u < N)[None, :]
    whose = b if SHARED else g * B + b
    at = (whose * 2 * N * wide + a)[:, None] + (u * wide)[None, :]
    h = tl.load(state + at, mask=there, other=0.0)
    c = tl.load(state + N * wide + at, mask=there, other=0.0)
    square = u[:, None] * UNITS + u[None, :]
    from_a = (g * 4 * N * wide + a)[:, None] + (u * wide)[None, :]
    from_b = ((g * B + b) * 4 * N)[:, None] + u[None, :]
    z_i = tl.dot(h, tl.load(W + square), input_precision="ieee")
    z_i += tl.load(z_f + from_a, mask=there, other=0.0) + tl.load(z_b + from_b, mask=there, other=0.0)
    W, z_f, z_b = W + UNITS * UNITS, z_f + N * wide, z_b + N
    z_forget = tl.dot(h, tl.load(W + square), input_precision="ieee")
    z_forget += tl.load(z_f + from_a, mask=there, other=0.0) + tl.load(z_b + from_b, mask=there, other=0.0)
    W, z_f, z_b = W + UNITS * UNITS, z_f + N * wide, z_b + N
    z_g = tl.dot(h, tl.load(W + square), input_precision="ieee")
    z_g += tl.load(z_f + from_a, mask=there, other=0.0) + tl.load(z_b + from_b, mask=there, other=0.0)
    W, z_f, z_b = W + UNITS * UNITS, z_f + N * wide, z_b + N
    z_o = tl.dot(h, tl.load(W + square), input_precision="ieee")
    z_o += tl.load(z_f + from_a, mask=there, other=0.0) + tl.load(z_b + from_b, mask=there, other=0.0)
    c = (0.5 + half(z_forget, False)) * c + (0.5 + half(z_i, False)) * tanh_(z_g, False)
    h = tl.where(there, (0.5 + half(z_o, False)) * tanh_(c, False), 0.0)
    if MOVES:
        to = ((g * B + b) * 2 * N * wide + a)[:, None] + (u * wide)[None, :]
        tl.store(after + to, h, mask=there)
        tl.store(after + N * wide + to, c, mask=there)
    tile = tl.reshape(h, (BA, BB, UNITS))
    a_in, b_in = tile_a * BA + tl.arange(0, BA), tile_b * BB + tl.arange(0, BB)
    to_b = (((tile_a * G + g) * B + b_in) * N)[:, None] + u[None, :]
    tl.store(out + to_b, tl.sum(tile, axis=0), mask=(b_in < B)[:, None] & (u < N)[None, :])
    to_a = ((tile_b * G + g) * N * wide + a_in)[:, None] + (u * wide)[None, :]
    tl.store(back + to_a, tl.sum(tile, axis=1), mask=(a_in < A)[:, None] & (u < N)[None, :])
