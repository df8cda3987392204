"""Builds sdist and wheel, and installs the wheel as a user would, in empty environments and without the checkout.

    python .ci/wheel.py            # a whole install for the Python that runs this; for others all but torch
    python .ci/wheel.py --full     # whole installs for every Python that is found: several GB of torch

Every Python from 3.10 to 3.13 that is there is tried, and those that are not are named. Without torch, which is large,
a Python shows that the package installs there, that every dependency has a release for it, that all files compile, and
that nothing but dependencies is what an import lacks. Needs build, hatchling, twine and uv.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")  # as the classifiers in pyproject.toml
WITHOUT_TORCH = """
import compileall, importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("lightning_vsml").origin).parent
assert compileall.compile_dir(folder, quiet=1), "does not compile"
assert len(list(folder.glob("_checkpoints/*.safetensors"))) == len(list(folder.glob("_checkpoints/*.json"))) > 0
try:
    from lightning_vsml import attach
except ModuleNotFoundError as error:
    assert error.name in ("safetensors", "torch"), error
else:
    raise AssertionError("there should be no dependencies")
"""
WHOLE = """
import lightning_vsml, pathlib, sys, torch
assert pathlib.Path(lightning_vsml.__file__).is_relative_to(sys.prefix), lightning_vsml.__file__
names = lightning_vsml.checkpoints.names()
loaded = [lightning_vsml.checkpoints.load(name) for name in names]
assert len(loaded) > 10, names
layer = torch.nn.Linear(3, 2)
before = layer.weight.detach().clone()
with lightning_vsml.attach(layer) as synapses:
    layer(torch.ones(4, 3)).square().mean().backward()
    synapses.step()
assert not torch.equal(layer.weight, before)
print(f"{len(loaded)} algorithms load, and a layer learns")
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints; if it fails, its words and the end."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:200]}\n{done.stdout}{done.stderr}")
    return done.stdout


def interpreters(version: str) -> Iterator[str]:
    """Commands that may be this Python; some are shims that only say that it is not there."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        yield sys.executable
    yield from filter(None, [shutil.which(f"python{version}")])
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))


def found(version: str) -> str | None:
    """The first of them that runs."""
    say = "import sys; print(*sys.version_info[:2], sep='.')"
    for command in interpreters(version):
        done = subprocess.run([command, "-c", say], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return command
    return None


def check(python: str, wheel: Path, folder: Path, full: bool) -> str:
    """Install into an empty environment in ``folder``, and look at it from there."""
    inside = folder / "environment" / "bin" / "python"
    uv = shutil.which("uv") or sys.exit("uv is not there: pip install uv")
    if full:
        run(python, "-m", "venv", folder / "environment")
        run(inside, "-m", "pip", "install", "--quiet", "--no-compile", wheel)
        run(inside, "-m", "pip", "check")
        assert "usage: python -m lightning_vsml.algorithms" in run(
            inside, "-m", "lightning_vsml.algorithms", "--help", cwd=folder
        )
        run(inside, "-m", "lightning_vsml.algorithms", "backprop", "--out", "mine.safetensors", cwd=folder)
        return run(inside, "-c", WHOLE, cwd=folder).strip()
    run(uv, "venv", "--quiet", "--python", python, folder / "environment")
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", inside, wheel)
    run(inside, "-c", WITHOUT_TORCH, cwd=folder)
    run(uv, "pip", "install", "--quiet", "--dry-run", "--python", inside, wheel)
    return "installs, compiles, dependencies resolve; not run, as its torch is not at hand"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="install torch for every Python")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        dist = Path(temporary, "dist")
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT)  # the wheel from the sdist
        [wheel] = dist.glob("*.whl")
        print(run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *sorted(dist.iterdir())).strip())
        for version in PYTHONS:
            folder = Path(temporary, version)
            folder.mkdir()
            if (python := found(version)) is None:
                print(f"Python {version}: skipped, there is none")
                continue
            whole = options.full or re.match(rf"{re.escape(version)}\b", sys.version) is not None
            print(f"Python {version}: {check(python, wheel, folder, whole)}", flush=True)


if __name__ == "__main__":
    main()
