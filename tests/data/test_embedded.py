import platform

import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments import data
from experiments.data import mnist1d

# Rows 0 of the training and 999 of the test split of the published generator (PyPI mnist1d
# 0.0.2.post1, default arguments), every fourth position.
FIRST = [
    -0.33200566736939013, -0.8823525654053073, 0.6830780818315106, -0.017093907298869573,
    0.25410828809924857, 1.5934880211319844, 0.09805558923634938, 0.0704365520590207,
    -1.093485710822378, -0.3282141545404554,
]  # fmt: skip
LAST = [
    -0.5193287078205188, -2.3894211342504774, -0.13949271059302198, 0.3440903806011007,
    -0.6893183078535029, 1.394928334345496, -0.32793801500521963, 1.4017628465450052,
    -0.5400119928423919, 0.4472328851428726,
]  # fmt: skip


@pytest.fixture(scope="module")
def sequences():
    return mnist1d.load()


def test_mnist1d_equals_the_published_generator():
    x, y = mnist1d.examples()
    np.testing.assert_allclose(x[0, ::4], FIRST, rtol=1e-13)
    np.testing.assert_allclose(x[-1, ::4], LAST, rtol=1e-13)
    assert y[:20].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1, 6, 9, 4, 3, 4, 5, 1, 9, 0, 3]
    assert y[-10:].tolist() == [8, 3, 3, 6, 1, 2, 5, 9, 6, 4]
    assert np.bincount(y[:4000]).tolist() == [398, 396, 411, 394, 394, 402, 401, 404, 402, 398]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="last bits may differ")
def test_mnist1d_digest(sequences):
    expected = "4fe17c60a6bdba448523866bef7c2da84bb6d56147d675f446e897247f730528"
    assert sequences.digest == expected


def test_mnist1d_is_standardised_over_both_splits(sequences):
    x = np.concatenate([sequences.splits[s]["x"] for s in ("train", "test")]).astype(np.float64)
    assert x.shape == (5000, 40)
    assert abs(x.mean()) < 1e-7
    assert abs(x.std() - 1) < 1e-7
    assert sequences.splits["train"]["x"].dtype == np.float32
    assert sequences.splits["train"]["y"].dtype == np.int32


def test_digits_are_scikit_learns_split_by_every_fifth_of_a_class():
    dataset = data.load("digits")
    x, y = load_digits(return_X_y=True)
    seen, train, test = dict.fromkeys(range(10), 0), [], []
    for row, label in enumerate(y):
        seen[label] += 1
        (test if seen[label] % 5 == 0 else train).append(row)
    assert (len(train), len(test)) == (1442, 355)
    for split, rows in {"train": train, "test": test}.items():
        arrays = dataset.splits[split]
        np.testing.assert_array_equal(arrays["x"].reshape(-1, 64) * 16, x[rows])
        np.testing.assert_array_equal(arrays["y"], y[rows])
        assert arrays["x"].dtype == np.float32
        assert arrays["x"].shape[1:] == dataset.spec.shape
    assert dataset.spec.classes == 10
