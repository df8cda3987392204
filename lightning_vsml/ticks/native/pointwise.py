"""Elementwise programs on the CPU: compiled once for all of them."""

import ctypes
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.native.compiler import header, on_vectors

LOAD, NUMBER, ADD, MUL, PLUS, TIMES, HORNER, TANH, SIGM, EXP, STORE = range(11)  # as in pointwise.hpp
REGISTERS = 64  # too
KEPT = 6  # rooms for outputs, of layers of different shapes
FROM = 2**13  # numbers from which on threads pay

_rooms: list[tuple[tuple[int, tuple[int, ...], torch.dtype], Tensor]] = []


class Program(NamedTuple):
    """Operations on registers.

    Attributes:
        ops: code, target, two operands and a number. Operands are registers; of ``LOAD`` a place in ``inputs``; the
            second of ``STORE`` is the number of the output.
        inputs: what is read, as who wrote the program calls it.
        outputs: what is computed, likewise.
    """

    ops: tuple[tuple[int, int, int, int, float], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Op(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_int),
        ("to", ctypes.c_int),
        ("a", ctypes.c_int),
        ("b", ctypes.c_int),
        ("c", ctypes.c_double),
    ]


@cache
def kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled interpreter; ``None`` without a compiler, or for another dtype."""
    return on_vectors(header("native/pointwise.hpp"), dtype, "elementwise programs")


@lru_cache(256)
def _ops(ops: tuple[tuple[int, int, int, int, float], ...]) -> "ctypes.Array[_Op]":
    return (_Op * len(ops))(*(_Op(*op) for op in ops))


def space(program: Program, like: Tensor) -> Tensor:
    """Room for the outputs of a program on inputs like this, perhaps used before: fresh memory costs more than they."""
    key = (len(program.outputs), tuple(like.shape), like.dtype)
    for place, (kept, room) in enumerate(_rooms):
        if kept == key:
            del _rooms[place]
            return room
    return torch.empty(key[0], *like.shape, dtype=like.dtype)


def give_back(room: Tensor) -> None:
    """Nobody needs what is in it any more."""
    _rooms.insert(0, ((len(room), tuple(room.shape[1:]), room.dtype), room))
    del _rooms[KEPT:]


def run(program: Program, inputs: list[Tensor], space: Tensor) -> list[Tensor] | None:
    """The outputs of a program.

    Args:
        program: what to compute.
        inputs: of its atoms: all of one shape and order in memory.
        space: for the outputs, see :func:`space`; rows may be apart.

    Returns:
        Tensors of the inputs' shape, parts of ``space``; ``None`` where there is no kernel.
    """
    like = inputs[0]
    if (compiled := kernel(like.dtype)) is None:
        return None
    flat = all(tensor.is_contiguous() for tensor in (*inputs, space))
    rows, inner = (1, like.numel()) if flat else (like.numel() // max(1, like.shape[-1]), like.shape[-1])
    strides = [row_stride(tensor, rows) for tensor in inputs]
    taken = [t if s is not None else t.contiguous() for t, s in zip(inputs, strides, strict=True)]
    apart = [inner if s is None else s for s in strides]
    outputs = list(space.unbind())
    threads = torch.get_num_threads() if like.numel() >= FROM else 1
    ops = _ops(program.ops)
    pointers, longs = ctypes.c_void_p * len(taken), ctypes.c_long * len(taken)
    out_pointers, out_longs = ctypes.c_void_p * len(outputs), ctypes.c_long * len(outputs)
    compiled.pointwise(
        ops,
        len(ops),
        pointers(*(tensor.data_ptr() for tensor in taken)),
        longs(*apart),
        out_pointers(*(tensor.data_ptr() for tensor in outputs)),
        out_longs(*[inner if flat or like.dim() < 2 else space.stride(-2)] * len(outputs)),
        ctypes.c_long(rows),
        ctypes.c_long(inner),
        threads,
    )
    return outputs


def row_stride(tensor: Tensor, rows: int) -> int | None:
    """How far apart rows lie; ``None`` where that differs, or numbers of a row are apart."""
    if tensor.is_contiguous():
        return tensor.numel() // rows if rows else 0
    if tensor.stride(-1) != 1 or tensor.dim() < 2:
        return None
    wanted = tensor.stride(-2)
    for dim in range(tensor.dim() - 2, 0, -1):
        wanted *= tensor.shape[dim]
        if tensor.shape[dim - 1] > 1 and tensor.stride(dim - 1) != wanted:
            return None
    return tensor.stride(-2)
