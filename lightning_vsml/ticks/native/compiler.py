"""C++ source -> loaded library, compiled once and kept across runs."""

import ctypes
import functools
import logging
import os
import platform
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import torch

from lightning_vsml.ticks.cache import kept

logger = logging.getLogger("lightning_vsml")

_FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-w")
NUMBERS = {torch.float32: "float", torch.float64: "double"}
_FASTER = (("-march=native", "-fopenmp"), ("-march=native",), ())  # tried in turn: without OpenMP, on one core


class CompilerError(RuntimeError):
    """There is no working C++ compiler, or no place to keep what it makes."""


def compiler() -> str | None:
    """The C++ compiler: ``$CXX``, or the first of c++, g++, clang++ on the path; ``None`` if there is none."""
    return next(
        (found for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (found := shutil.which(name))),
        None,
    )


def header(name: str) -> str:
    """The text of a header, by its place in ``lightning_vsml/ticks``."""
    return resources.files("lightning_vsml.ticks").joinpath(name).read_text()


def with_lanes(dtype: torch.dtype, *inside: str) -> str:
    """What begins a source: the type F of numbers, then lanes.hpp and parts that nobody outside sees.

    Names that libraries share would be those of the one that is loaded first.
    """
    return "\n".join((f"using F = {NUMBERS[dtype]};", "namespace {", header("native/lanes.hpp"), *inside, "}\n"))


def on_vectors(source: str, dtype: torch.dtype, name: str) -> ctypes.CDLL | None:
    """The compiled ``source``, which computes on vectors of numbers of this type, by lanes.hpp and functions.hpp.

    Args:
        source: C++.
        dtype: of the numbers.
        name: as of :func:`library`.

    Returns:
        ``None`` without a compiler, or for another dtype than float32 and float64.
    """
    if dtype not in NUMBERS:
        return None
    try:
        return library(with_lanes(dtype, header("native/functions.hpp")) + source, name)
    except CompilerError:
        return None


@functools.cache
def library(source: str, name: str) -> ctypes.CDLL:
    """The compiled ``source``.

    Args:
        source: C++.
        name: what is compiled, for the message while that takes a second or more.

    Raises:
        CompilerError: no compiler, or it failed (the message holds its last words), or the cache can't be used.
    """
    command = compiler()
    if command is None:
        raise CompilerError("no C++ compiler found (looked for $CXX, c++, g++, clang++)")
    key = "\n".join([command, _version(command), _processor(), *_FLAGS, source])
    make = functools.partial(_compile, command, source, name)
    try:
        path = kept(key, ".so", make)
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:  # whole, but of another system: a home directory that containers share
            logger.warning(f"{path} does not load here ({error}). It is made anew.")
            path.unlink(missing_ok=True)
            return ctypes.CDLL(str(kept(key, ".so", make)))
    except OSError as error:  # a cache that is read-only, full, or mounted without the right to execute
        raise CompilerError(f"{error} (set LIGHTNING_VSML_CACHE to a folder for compiled code)") from error


def _compile(command: str, source: str, name: str, path: Path) -> None:
    logger.info(f"Compiling the ticks of {name} for this machine: once, a second for a small cell, ten for 32 units.")
    code = path.with_suffix(".cpp")
    code.write_text(source)
    for faster in _FASTER:
        built = subprocess.run([command, *_FLAGS, *faster, str(code), "-o", str(path)], capture_output=True, text=True)
        if built.returncode == 0:
            return
    said = f"{command} failed (exit status {built.returncode}): {built.stderr.strip()[-800:]}"
    logger.warning(f"The ticks of {name} could not be compiled, and are slower without. {said}")
    raise CompilerError(said)


def _version(command: str) -> str:
    return subprocess.run([command, "--version"], capture_output=True, text=True).stdout


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags"))
    except OSError:
        return platform.processor() + platform.machine()
