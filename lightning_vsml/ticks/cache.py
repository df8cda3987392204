"""Where generated and compiled code is kept across runs."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger("lightning_vsml")


def directory() -> Path:
    """``$LIGHTNING_VSML_CACHE``, else ``lightning_vsml`` in the user's cache directory."""
    if given := os.environ.get("LIGHTNING_VSML_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_vsml"


def kept(key: str, suffix: str, make: Callable[[Path], object]) -> Path:
    """The file that ``make`` writes for ``key``: made once, and put in its place when it is whole.

    Its name ends in a digest of what is in it: loading a damaged library may end the process, so one that is no longer
    what was written is made anew, with a message.

    Args:
        key: everything that the file depends on.
        suffix: of its name.
        make: writes it to the path it gets, in an empty directory.
    """
    folder, stem = directory(), _digest(key.encode())
    for path in sorted(folder.glob(f"{stem}-*{suffix}")):
        if path.stem == f"{stem}-{_digest(path.read_bytes())}":
            return path
        logger.warning(f"{path} is damaged: it is not what was written there. It is made anew.")
        path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work, f"{stem}{suffix}")
        make(made)
        path = folder / f"{stem}-{_digest(made.read_bytes())}{suffix}"
        os.replace(made, path)
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
