"""A tiny published set with files of the publishers' names, and where the real ones may lie."""

import dataclasses
import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.data.dataset import Dataset, digest_of
from experiments.data.published import File, Published

NAMES = {
    ("train", "x"): "train-images-idx3-ubyte.gz",
    ("train", "y"): "train-labels-idx1-ubyte.gz",
    ("test", "x"): "t10k-images-idx3-ubyte.gz",
    ("test", "y"): "t10k-labels-idx1-ubyte.gz",
}


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


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Tiny]:
    """Makes a set of 13 training and 7 test images of 5x4 pixels from a name and a seed."""

    def make(name: str, seed: int, url: str = "http://127.0.0.1:9/") -> Tiny:
        random = np.random.default_rng(seed)
        splits, files, known = {}, {}, []
        for split, rows in {"train": 13, "test": 7}.items():
            x = random.integers(0, 256, (rows, 5, 4), dtype=np.uint8)
            y = random.integers(0, 3, rows, dtype=np.uint8)
            splits[split] = {"x": x, "y": y.astype(np.int32)}
            for array, values in {"x": x, "y": y}.items():
                data, file = pack(values), NAMES[split, array]
                files[file] = data
                sums = [hashlib.sha256(d).hexdigest() for d in (data, gzip.decompress(data))]
                known.append(File(file, split, array, len(data), *sums))
        published = Published(name, url, (5, 4), 3, tuple(known), digest_of(splits))
        return Tiny(published, splits, files)

    return make


@pytest.fixture(scope="session")
def real_files() -> Path:
    """Folder with the publishers' files of mnist and fashion_mnist."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not (folder / "mnist").is_dir() or not (folder / "fashion_mnist").is_dir():
        pytest.skip(f"the publishers' files are not in {folder}")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; no folder of files named by the environment."""
    monkeypatch.setenv("ABLAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ABLAX_MANUAL_DIR", raising=False)
    return tmp_path / "cache"
