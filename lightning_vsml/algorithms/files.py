"""Files that are whole or not there."""

import os
import tempfile
from pathlib import Path


class CheckpointError(ValueError):
    """A file that is missing, out of reach, damaged, foreign, or newer than this package."""


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and move it there, so that no reader meets half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would travel into wheels
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
