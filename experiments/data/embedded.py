"""Data that come with an installed package: no network, no files."""

import numpy as np

from experiments.data.dataset import Dataset, Spec, make_dataset


def digits() -> Dataset:
    """scikit-learn's digits: 1,797 grey images of 8x8 (UCI's optdigits, Alpaydin and Kaynak).

    Pixels are counts 0 .. 16; they are divided by 16, which is exact, so "x" is float32 in
    [0, 1]. The set has no published split: every fifth image of each class, in the order of the
    file, is a test image (355), the others train (1,442).
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (np.asarray(x).reshape(-1, 8, 8) / 16).astype(np.float32)
    y = np.asarray(y).astype(np.int32)
    test = np.zeros(len(y), bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[4::5]] = True
    splits = {"train": {"x": x[~test], "y": y[~test]}, "test": {"x": x[test], "y": y[test]}}
    return make_dataset("digits", splits, Spec(shape=(8, 8), classes=10))
