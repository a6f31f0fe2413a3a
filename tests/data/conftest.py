"""A tiny published set with files of the publishers' names, and where the real ones may lie."""

import dataclasses
import gzip
import hashlib
import http.server
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.data.dataset import Dataset, digest_of
from experiments.data.formats import parse_idx
from experiments.data.published import File, Part, Published


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A published set, its arrays, and its packed files."""

    published: Published
    splits: dict[str, dict[str, np.ndarray]]
    files: dict[str, bytes]

    def assert_in(self, dataset: Dataset) -> None:
        """The data set holds these arrays and nothing else."""
        assert set(dataset.splits) == set(self.splits)
        for split, arrays in self.splits.items():
            assert set(dataset.splits[split]) == set(arrays)
            for name, array in arrays.items():
                np.testing.assert_array_equal(dataset.splits[split][name], array)
                assert dataset.splits[split][name].dtype == array.dtype

    def write(self, folder: Path) -> Path:
        """Puts the files into `folder`, as a publisher would."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


def pack(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Tiny]:
    """Makes a set of 13 training and 7 test images of 5x4 pixels from a name and a seed."""

    def make(name: str, seed: int, url: str = "http://127.0.0.1:9/") -> Tiny:
        random = np.random.default_rng(seed)
        splits, files, known = {}, {}, []
        for split, prefix, rows in [("train", "train", 13), ("test", "t10k", 7)]:
            x = random.integers(0, 256, (rows, 5, 4), dtype=np.uint8)
            y = random.integers(0, 3, rows, dtype=np.uint8)
            splits[split] = {"x": x, "y": y.astype(np.int32)}
            for kind, values in {"images-idx3-ubyte": x, "labels-idx1-ubyte": y}.items():
                data = pack(values)
                part = Part(f"{prefix}-{kind}", split, sha256(gzip.decompress(data)))
                files[f"{part.name}.gz"] = data
                known.append(File(f"{part.name}.gz", len(data), sha256(data), (part,)))
        digest = digest_of(splits)
        return Tiny(Published(name, url, (5, 4), 3, parse_idx, tuple(known), digest), splits, files)

    return make


@pytest.fixture(scope="session")
def real_files() -> Callable[[str], Path]:
    """Finds the folder with the publisher's files of a set: in ABLAX_MANUAL_DIR, or beside here."""
    folders = [Path(__file__).resolve().parents[2].parent / "shared" / "data"]
    if named := os.environ.get("ABLAX_MANUAL_DIR"):
        folders.insert(0, Path(named))

    def find(name: str) -> Path:
        if not (here := [folder / name for folder in folders if (folder / name).is_dir()]):
            pytest.skip(f"the publisher's files of {name} are in none of {folders}")
        return here[0]

    return find


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; no folder of files named by the environment."""
    monkeypatch.setenv("ABLAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ABLAX_MANUAL_DIR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path):
    """Serves a folder; returns the folder and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path / "www"), **kwargs)

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield tmp_path / "www", f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
