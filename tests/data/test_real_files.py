"""The publishers' own files, where they are at hand."""

import dataclasses
import gzip
import lzma
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from experiments.data import prepared, published
from experiments.data.dataset import digest_of

BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def idx(path: Path) -> np.ndarray:
    """The values of a packed image or label file, read without the code under test."""
    kind, data = path.name.split("-")[1], gzip.decompress(path.read_bytes())
    if kind == "labels":
        return np.frombuffer(data[8:], np.uint8).astype(np.int32)
    return np.frombuffer(data[16:], np.uint8).reshape(-1, 28, 28)


def cifar_bytes(folder: Path, name: str) -> bytes:
    """A batch of CIFAR-10, which may lie there packed by xz."""
    path = folder / "cifar-10-batches-py" / name
    return path.read_bytes() if path.is_file() else lzma.open(f"{path}.xz").read()


def cifar_arrays(*batches: bytes) -> dict[str, np.ndarray]:
    """Images and labels of batches, by Python's own unpickler."""
    with warnings.catch_warnings(action="ignore"):  # NumPy 2 warns of types pickled by NumPy 1
        read = [pickle.loads(batch, encoding="bytes") for batch in batches]
    red, green, blue = np.split(np.concatenate([each[b"data"] for each in read]), 3, axis=1)
    x = np.stack([red, green, blue], axis=-1).reshape(-1, 32, 32, 3)
    return {"x": x, "y": np.concatenate([each[b"labels"] for each in read]).astype(np.int32)}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_pinned_digests_are_those_of_the_publishers_files(real_files, name):
    folder = real_files(name)
    splits = {
        split: {
            "x": idx(folder / f"{prefix}-images-idx3-ubyte.gz"),
            "y": idx(folder / f"{prefix}-labels-idx1-ubyte.gz"),
        }
        for split, prefix in {"train": "train", "test": "t10k"}.items()
    }
    assert digest_of(splits) == published.PUBLISHED[name].digest


@pytest.mark.slow
def test_the_pinned_digest_of_cifar10_is_that_of_the_publishers_batches(real_files):
    folder = real_files("cifar10")
    splits = {
        split: cifar_arrays(*(cifar_bytes(folder, name) for name in names))
        for split, names in BATCHES.items()
    }
    assert [np.bincount(splits[s]["y"]).tolist() for s in BATCHES] == [[5000] * 10, [1000] * 10]
    assert digest_of(splits) == published.CIFAR10.digest


@pytest.mark.slow
def test_real_sets_prepared_one_after_the_other(real_files, cache):
    """Their 10,000 test images, for speed as both splits, through TFDS and back."""
    for each in (published.MNIST, published.FASHION_MNIST):
        folder = real_files(each.name)
        arrays = {
            "x": idx(folder / "t10k-images-idx3-ubyte.gz"),
            "y": idx(folder / "t10k-labels-idx1-ubyte.gz"),
        }
        tests = [file for file in each.files if file.parts[0].split == "test"]
        check_prepared(each, tests, arrays, folder.parent)
    assert sorted(path.name for path in cache.iterdir()) == ["fashion_mnist", "mnist"]


@pytest.mark.slow
def test_real_batches_of_cifar10_are_prepared(real_files, cache, tmp_path):
    """The same with its test batch, unpacked."""
    data = cifar_bytes(real_files("cifar10"), "test_batch")
    path = tmp_path / "files" / "cifar10" / "cifar-10-batches-py" / "test_batch"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    (file,) = published.CIFAR10.files
    tests = [dataclasses.replace(file, parts=file.parts[-1:])]
    check_prepared(published.CIFAR10, tests, cifar_arrays(data), tmp_path / "files")


def check_prepared(each, tests, arrays, manual_dir):
    """The files of the test split, taken for both splits, are prepared as these arrays."""
    files = [
        dataclasses.replace(file, parts=(dataclasses.replace(file.parts[0], split=split),))
        for split in ("train", "test")
        for file in tests
    ]
    digest = digest_of({"train": arrays, "test": arrays})
    short = dataclasses.replace(each, files=tuple(files), digest=digest)
    dataset = prepared.load(short, manual_dir)
    for split in ("train", "test"):
        np.testing.assert_array_equal(dataset.splits[split]["x"], arrays["x"])
        np.testing.assert_array_equal(dataset.splits[split]["y"], arrays["y"])
