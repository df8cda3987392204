"""A kernel for any cell, for cells with many units: a unit's gates are columns of a matrix product on the GPU."""

import triton
import triton.language as tl

from lightning_vsml.ticks.triton.functions import half, tanh_


@triton.jit(do_not_specialize=["A", "B", "R", "G", "groups", "few"])  # or a short batch would compile anew
def dense(  # type: ignore[no-untyped-def]  # Triton wants to be told the constants, and finds the rest itself
    W, V, U, b, P, h, c, x, e, changes, message, A, B, R, G, groups, few,
    N: tl.constexpr, UNITS: tl.constexpr, TICKS: tl.constexpr, CARRIED: tl.constexpr, MESSAGES: tl.constexpr,
    BACKWARD: tl.constexpr, BA: tl.constexpr, BB: tl.constexpr, FAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All ticks of a phase for a tile of BA x BB synapses and a chunk of ``few`` rows.

    W (K, 4, UNITS, UNITS), b (K, 4, UNITS): padded to UNITS = 16 or more, a power of two; V (K, TICKS, 4, UNITS),
    U (K, TICKS, CARRIED, 4, UNITS): what x and e weigh at each tick; P (K, MESSAGES, UNITS). h, c (N, G, A, B);
    x (R, G, A); e (R, G, B, CARRIED).
    changes (chunks, 2, N, G, A, B): sums over rows of h' - h and c' - c. message (tiles, MESSAGES, R, G, A) backward,
    (tiles, MESSAGES, R, G, B) forward, to be summed over tiles.
    """
    tiles = tl.cdiv(B, BB)
    tile_a, tile_b = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    g, chunk = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    member = g // groups
    t, u = tl.arange(0, BA * BB), tl.arange(0, UNITS)
    a, b_out = tile_a * BA + t // BB, tile_b * BB + t % BB
    there = (a < A) & (b_out < B)
    plane = G.to(tl.int64) * A * B
    q = (g * A + a) * B + b_out
    at = q[:, None] + u[None, :] * plane
    known = there[:, None] & (u < N)[None, :]
    h0 = tl.load(h + at, mask=known, other=0.0)
    c0 = tl.load(c + at, mask=known, other=0.0)
    square = u[:, None] * UNITS + u[None, :]
    W += member * 4 * UNITS * UNITS
    b += member * 4 * UNITS
    W_i, W_f = tl.load(W + square), tl.load(W + UNITS * UNITS + square)
    W_g, W_o = tl.load(W + 2 * UNITS * UNITS + square), tl.load(W + 3 * UNITS * UNITS + square)
    b_i, b_f = tl.load(b + u)[None, :], tl.load(b + UNITS + u)[None, :]
    b_g, b_o = tl.load(b + 2 * UNITS + u)[None, :], tl.load(b + 3 * UNITS + u)[None, :]
    i0 = tl.dot(h0, W_i, input_precision=PRECISION) + b_i  # shared by all rows: states are merged
    f0 = tl.dot(h0, W_f, input_precision=PRECISION) + b_f
    g0 = tl.dot(h0, W_g, input_precision=PRECISION) + b_g
    o0 = tl.dot(h0, W_o, input_precision=PRECISION) + b_o
    dh = tl.zeros((BA * BB, UNITS), tl.float32)
    dc = tl.zeros((BA * BB, UNITS), tl.float32)
    for r in range(chunk * few, tl.minimum(R, (chunk + 1) * few)):
        x_r = tl.load(x + (r * G + g) * A + a, mask=there, other=0.0)[:, None]
        h_r, c_r = h0, c0
        for tick in tl.static_range(TICKS):
            if tick == 0:
                z_i, z_f, z_g, z_o = i0, f0, g0, o0
            else:
                z_i = tl.dot(h_r, W_i, input_precision=PRECISION) + b_i
                z_f = tl.dot(h_r, W_f, input_precision=PRECISION) + b_f
                z_g = tl.dot(h_r, W_g, input_precision=PRECISION) + b_g
                z_o = tl.dot(h_r, W_o, input_precision=PRECISION) + b_o
            v = V + (member * TICKS + tick) * 4 * UNITS + u
            z_i += x_r * tl.load(v)[None, :]
            z_f += x_r * tl.load(v + UNITS)[None, :]
            z_g += x_r * tl.load(v + 2 * UNITS)[None, :]
            z_o += x_r * tl.load(v + 3 * UNITS)[None, :]
            for k in tl.static_range(CARRIED):
                e_r = tl.load(e + ((r * G + g) * B + b_out) * CARRIED + k, mask=there, other=0.0)[:, None]
                w = U + ((member * TICKS + tick) * CARRIED + k) * 4 * UNITS + u
                z_i += e_r * tl.load(w)[None, :]
                z_f += e_r * tl.load(w + UNITS)[None, :]
                z_g += e_r * tl.load(w + 2 * UNITS)[None, :]
                z_o += e_r * tl.load(w + 3 * UNITS)[None, :]
            c_r = (0.5 + half(z_f, FAST)) * c_r + (0.5 + half(z_i, FAST)) * tanh_(z_g, FAST)
            h_r = (0.5 + half(z_o, FAST)) * tanh_(c_r, FAST)
        if BACKWARD:
            dh += h_r - h0
            dc += c_r - c0
        for m in tl.static_range(MESSAGES):
            P_m = tl.load(P + (member * MESSAGES + m) * UNITS + u)[None, :]
            sent = tl.where(there, tl.sum(h_r * P_m, axis=1), 0.0).reshape(BA, BB)
            if BACKWARD:
                a_in = tile_a * BA + tl.arange(0, BA)
                to = message + (((tile_b * MESSAGES + m) * R + r) * G + g) * A + a_in
                tl.store(to, tl.sum(sent, axis=1), mask=a_in < A)
            else:
                b_in = tile_b * BB + tl.arange(0, BB)
                to = message + (((tile_a * MESSAGES + m) * R + r) * G + g) * B + b_in
                tl.store(to, tl.sum(sent, axis=0), mask=b_in < B)
    if BACKWARD:
        changes += chunk * 2 * N * plane
        tl.store(changes + at, dh, mask=known)
        tl.store(changes + N * plane + at, dc, mask=known)
