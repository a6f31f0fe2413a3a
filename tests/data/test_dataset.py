import hashlib

import numpy as np
import pytest

from experiments import data
from experiments.data.dataset import Spec, digest_of, make_dataset
from experiments.engine.errors import UsageError

X = np.arange(6, dtype=np.uint8).reshape(3, 2)
Y = np.array([0, 1, 1], np.int32)


def splits(x: np.ndarray = X, y: np.ndarray = Y, name: str = "test") -> dict:
    return {name: {"x": x, "y": y}, "train": {"x": X, "y": Y}}


def test_digest_is_the_sha256_of_what_the_docstring_says():
    text = b"".join(
        f"{split}/x |u1 (3, 2)\n".encode()
        + X.tobytes()
        + f"{split}/y <i4 (3,)\n".encode()
        + Y.tobytes()
        for split in ("test", "train")
    )
    assert digest_of(splits()) == hashlib.sha256(text).hexdigest()


def test_digest_does_not_depend_on_order_or_memory_layout():
    turned = dict(reversed(splits(np.asfortranarray(X)).items()))
    assert digest_of(turned) == digest_of(splits())


@pytest.mark.parametrize(
    "other",
    [
        splits(x=X + 1),
        splits(x=X.reshape(3, 2, 1)),
        splits(x=X.astype(np.int8)),
        splits(y=Y[::-1]),
        splits(name="other"),
    ],
)
def test_digest_sees_bytes_shapes_types_and_names(other):
    assert digest_of(other) != digest_of(splits())


def test_make_dataset_counts_the_training_rows():
    dataset = make_dataset("some", splits(X[:2], Y[:2]), Spec(shape=(2,), classes=2))
    assert dataset.spec == Spec(shape=(2,), classes=2, train_rows=3)


def test_unknown_name_gets_the_nearest_one():
    with pytest.raises(UsageError, match=r"'mnist1'.*did you mean 'mnist1d'"):
        data.load("mnist1")


def test_data_file_with_another_set_is_refused():
    with pytest.raises(UsageError, match="--dataset file"):
        data.load("digits", data_file="x.npz")


def test_every_name_is_described_and_loads_or_says_what_it_needs():
    assert list(data.DATASETS) == ["mnist1d", "digits", "mnist", "fashion_mnist", "cifar10", "file"]
    with pytest.raises(UsageError, match="--data-file"):
        data.load("file")
