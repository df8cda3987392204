"""Image data sets: files, downloads, digits."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_vsml import datasets

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def write_mnist(folder: Path, suffix: str = ".gz") -> None:
    folder.mkdir(parents=True)
    for file in FILES:
        n = 7 if file.startswith("train") else 3
        array = np.arange(n * 12, dtype=np.uint8).reshape(n, 4, 3) if "images" in file else np.arange(n, dtype=np.uint8)
        content = idx(array)
        (folder / f"{file}{suffix}").write_bytes(gzip.compress(content, mtime=0) if suffix else content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of MNIST files on this machine; returns their folder."""
    folder = tmp_path / "served"
    write_mnist(folder)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        sums = {file: hashlib.md5((folder / f"{file}.gz").read_bytes()).hexdigest() for file in FILES}
        address = f"http://127.0.0.1:{http.server_port}/"
        monkeypatch.setitem(datasets._IDX, "mnist", ("MNIST", address, sums))
        yield folder
        http.shutdown()


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_reads_the_usual_layout(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", suffix)
    data = datasets.load("mnist", tmp_path)
    assert data.x.shape == (7, 1, 4, 3) and data.x_test.shape == (3, 1, 4, 3)
    assert data.x.flatten()[:3].tolist() == pytest.approx([0, 1 / 255, 2 / 255])
    assert data.y.tolist() == list(range(7)) and data.y.dtype == torch.int64


def test_downloads_what_is_missing(tmp_path: Path, server: Path) -> None:
    data = datasets.load("mnist", tmp_path)
    assert len(data.x) == 7
    raw = tmp_path / "MNIST" / "raw"
    assert sorted(file.name for file in raw.iterdir()) == sorted(f"{file}.gz" for file in FILES)
    for file in server.iterdir():
        file.unlink()
    assert len(datasets.load("mnist", tmp_path).x) == 7  # the second time from the folder


def test_a_damaged_download_is_not_kept(tmp_path: Path, server: Path) -> None:
    (server / f"{FILES[1]}.gz").write_bytes(b"half a fi")
    with pytest.raises(datasets.DatasetError, match="arrived damaged: expected md5"):
        datasets.load("mnist", tmp_path)
    assert [file.name for file in (tmp_path / "MNIST" / "raw").iterdir()] == [f"{FILES[0]}.gz"]


def test_no_answer(tmp_path: Path, server: Path) -> None:
    (server / f"{FILES[2]}.gz").unlink()
    with pytest.raises(datasets.DatasetError, match=r"was not downloaded .*data_dir.*, or take the data set digits"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b"\0\0\x08", mtime=0),
        gzip.compress(idx(np.zeros((3, 4, 3), np.uint8))[:-5], mtime=0),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    (raw / f"{FILES[0]}.gz").write_bytes(content)
    with pytest.raises(datasets.DatasetError, match=rf"{FILES[0]}.gz is damaged .* Delete it"):
        datasets.load("mnist", tmp_path)


def test_digits() -> None:
    data = datasets.load("digits")
    assert data.x.shape == (1437, 1, 8, 8) and data.x_test.shape == (360, 1, 8, 8)
    assert data.x.min() >= 0 and data.x.max() <= 1
    assert torch.equal(data.y, datasets.load("digits").y)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="dataset should be one of mnist, fashion_mnist, digits, got 'cifar'"):
        datasets.load("cifar")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_ones(mnist_dir: Path, name: str) -> None:
    data = datasets.load(name, mnist_dir)
    assert data.x.shape == (60000, 1, 28, 28) and data.x_test.shape == (10000, 1, 28, 28)
    assert torch.equal(data.y.unique(), torch.arange(10))
