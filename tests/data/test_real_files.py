"""The publishers' own files, where they are at hand."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest

from experiments.data import prepared, published
from experiments.data.dataset import digest_of


def idx(path: Path) -> np.ndarray:
    """The values of a packed image or label file, read without the code under test."""
    kind, data = path.name.split("-")[1], gzip.decompress(path.read_bytes())
    if kind == "labels":
        return np.frombuffer(data[8:], np.uint8).astype(np.int32)
    return np.frombuffer(data[16:], np.uint8).reshape(-1, 28, 28)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_pinned_digests_are_those_of_the_publishers_files(real_files, name):
    splits = {
        split: {
            "x": idx(real_files / name / f"{prefix}-images-idx3-ubyte.gz"),
            "y": idx(real_files / name / f"{prefix}-labels-idx1-ubyte.gz"),
        }
        for split, prefix in {"train": "train", "test": "t10k"}.items()
    }
    assert digest_of(splits) == published.PUBLISHED[name].digest


def test_real_sets_prepared_one_after_the_other(real_files, cache):
    """Their 10,000 test images, for speed as both splits, through TFDS and back."""
    for each in published.PUBLISHED.values():
        arrays = {
            "x": idx(real_files / each.name / "t10k-images-idx3-ubyte.gz"),
            "y": idx(real_files / each.name / "t10k-labels-idx1-ubyte.gz"),
        }
        tests = [file for file in each.files if file.split == "test"]
        files = [dataclasses.replace(file, split=s) for s in ("train", "test") for file in tests]
        digest = digest_of({"train": arrays, "test": arrays})
        short = dataclasses.replace(each, files=tuple(files), digest=digest)
        dataset = prepared.load(short, real_files)
        for split in ("train", "test"):
            np.testing.assert_array_equal(dataset.splits[split]["x"], arrays["x"])
            np.testing.assert_array_equal(dataset.splits[split]["y"], arrays["y"])
    assert sorted(path.name for path in cache.iterdir()) == ["fashion_mnist", "mnist"]
