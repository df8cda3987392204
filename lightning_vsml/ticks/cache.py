"""Where generated and compiled code is kept across runs."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def directory() -> Path:
    """``$LIGHTNING_VSML_CACHE``, else ``lightning_vsml`` in the user's cache directory."""
    if given := os.environ.get("LIGHTNING_VSML_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_vsml"


def kept(key: str, suffix: str, make: Callable[[Path], object]) -> Path:
    """The file that ``make`` writes for ``key``: made once, and put in its place when it is whole.

    Args:
        key: everything that the file depends on.
        suffix: of its name.
        make: writes it to the path it gets, in an empty directory.
    """
    path = directory() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            made = Path(work, path.name)
            make(made)
            os.replace(made, path)
    return path
