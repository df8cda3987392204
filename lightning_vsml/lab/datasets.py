"""The image data sets of the examples: real ones in the usual IDX layout, and scikit-learn's bundled digits."""

import gzip
import hashlib
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from lightning_vsml.algorithms.files import replace_file

TIMEOUT = 10.0  # seconds without an answer before a download is given up

# name -> (folder, where from, {file: md5 of the .gz there})
_IDX = {
    "mnist": (
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": (
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}
NAMES = (*_IDX, "digits")


class Images(NamedTuple):
    """A data set of images with labels.

    Attributes:
        name: one of :data:`NAMES`.
        x: training images in [0, 1], ``(n, 1, height, width)`` float32.
        y: their labels, ``(n,)`` int64.
        x_test, y_test: the same of the test set.
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


class DatasetError(RuntimeError):
    """A data set is not there and cannot be fetched, or a file of it is damaged."""


def load(name: str, data_dir: str | Path = "data") -> Images:
    """Load a data set; the real ones from ``<data_dir>/<MNIST|FashionMNIST>/raw/*-ubyte[.gz]``, else by download.

    Raises:
        ValueError: unknown name.
        DatasetError: not there and no network, or damaged; the message says what to do.
    """
    if name == "digits":
        return _digits()
    if name not in _IDX:
        raise ValueError(f"dataset should be one of {', '.join(NAMES)}, got {name!r}.")
    folder, source, files = _IDX[name]
    raw = Path(data_dir) / folder / "raw"
    missing = [file for file in files if _present(raw, file) is None]
    if missing:
        _download(source, raw, {file: files[file] for file in missing})
    arrays = [_read_idx(raw, file) for file in files]
    images = [torch.from_numpy(array).unsqueeze(1).float() / 255 for array in arrays[::2]]
    labels = [torch.from_numpy(array).long() for array in arrays[1::2]]
    return Images(name, images[0], labels[0], images[1], labels[1])


def _present(raw: Path, file: str) -> Path | None:
    return next((path for path in (raw / f"{file}.gz", raw / file) if path.is_file()), None)


def _read_idx(raw: Path, file: str) -> np.ndarray:
    """An IDX file of unsigned bytes: magic number 0, 0, 8, dimensions; sizes as big-endian int32; the bytes."""
    path = _present(raw, file)
    assert path is not None
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        sizes = np.frombuffer(content, ">i4", count=content[3], offset=4)
        if content[:3] != b"\0\0\x08":
            raise ValueError("wrong magic number")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes).copy()
    except (EOFError, IndexError, OSError, ValueError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged ({error}). Delete it, and it will be downloaded again.") from error


def _download(source: str, raw: Path, files: dict[str, str]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    for file, md5 in files.items():
        url = f"{source}{file}.gz"
        content = bytearray()
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, Progress(*columns) as progress:
                task = progress.add_task(f"{file}.gz", total=int(answer.headers.get("Content-Length") or 0) or None)
                while block := answer.read(2**16):
                    content += block
                    progress.update(task, advance=len(block))
        except OSError as error:
            raise DatasetError(
                f"{url} was not downloaded ({error}). Put {', '.join(f'{f}.gz' for f in files)} into {raw}, or "
                "name the folder that holds them (data_dir), or take the data set digits, which needs no download."
            ) from error
        if (digest := hashlib.md5(content).hexdigest()) != md5:
            raise DatasetError(f"{url} arrived damaged: expected md5 {md5}, got {digest}. Try again.")
        raw.mkdir(parents=True, exist_ok=True)
        replace_file(raw / f"{file}.gz", bytes(content))


def _digits() -> Images:
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise DatasetError(
            'the digits data set comes with scikit-learn: pip install "lightning-vsml[examples]".'
        ) from error
    digits = load_digits()
    parts = train_test_split(digits.images / 16, digits.target, test_size=360, random_state=0, stratify=digits.target)
    x, x_test = (torch.from_numpy(part).unsqueeze(1).float() for part in parts[:2])
    y, y_test = (torch.from_numpy(part).long() for part in parts[2:])
    return Images("digits", x, y, x_test, y_test)
