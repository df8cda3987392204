"""What a report refuses, and how it tells what others raise."""

import os
import traceback
from pathlib import Path


class ReportError(ValueError):
    """The module, the data or a setting is not one that a report can be made of; nothing was run or written."""


def told(error: BaseException) -> str:
    """An exception in one line, with the place in the user's code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    outside = [frame for frame in frames if os.sep + "lightning_vsml" + os.sep not in frame.filename]
    place = f" ({Path(outside[-1].filename).name}, line {outside[-1].lineno})" if outside else ""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if said else ''}{said}{place}"
