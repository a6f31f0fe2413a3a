import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments import data
from experiments.engine.errors import AblaxError, DataMissingError, UsageError

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 4


def saved(folder: Path, **arrays: object) -> str:
    path = folder / "mine.npz"
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return str(path)


def both(
    x: np.ndarray = X, y: np.ndarray = Y, x_test: np.ndarray = X[:8], y_test: np.ndarray = Y[:8]
) -> dict[str, np.ndarray]:
    return {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


def test_four_arrays_keep_their_split(tmp_path):
    dataset = data.load("file", data_file=saved(tmp_path, **both(), more=X))
    np.testing.assert_array_equal(dataset.splits["train"]["x"], X.astype(np.float32))
    np.testing.assert_array_equal(dataset.splits["test"]["y"], Y[:8])
    assert dataset.splits["train"]["x"].dtype == np.float32
    assert dataset.splits["train"]["y"].dtype == np.int32
    assert (dataset.spec.shape, dataset.spec.classes, dataset.spec.train_rows) == ((3,), 4, 20)


def test_images_stay_uint8(tmp_path):
    images = np.arange(20 * 6, dtype=np.uint8).reshape(20, 2, 3)
    dataset = data.load("file", data_file=saved(tmp_path, **both(images, x_test=images[:8])))
    assert dataset.splits["test"]["x"].dtype == np.uint8
    assert dataset.spec.shape == (2, 3)


def test_one_pair_is_split_in_a_fixed_random_order(tmp_path):
    file = saved(tmp_path, x=X, y=Y)
    dataset, again = data.load("file", data_file=file), data.load("file", data_file=file)
    order = np.random.RandomState(0).permutation(20)
    np.testing.assert_array_equal(dataset.splits["train"]["y"], Y[order[:16]])
    np.testing.assert_array_equal(dataset.splits["test"]["x"], X[order[16:]].astype(np.float32))
    assert dataset.digest == again.digest


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X, "y_train": Y}, "holds x_train, y_train; it must hold"),
        (both(y=Y[:-1]), "x_train has 20 examples .* y_train has 19"),
        (both(y=Y + 0.5), "y_train must be one whole number per example, not float64"),
        (both(y_test=Y[:8, None]), r"y_test must be .* shape \(8, 1\)"),
        (both(y=np.array(["cat"] * 20)), "np.unique"),
        (both(np.where(X > 1, np.nan, X)), "x_train hold NaN"),
        (both(X * 1e300), "20 of the 20 examples in x_train hold numbers too large for float32"),
        (both(2**60 + np.arange(X.size).reshape(X.shape)), "numbers that float32 cannot tell"),
        (both((X > 0) + 2**40), "x_train holds whole numbers that float32 cannot tell apart"),
        (both() | {"x_val": X, "y_val": Y}, "also holds x_val, y_val, which would not be read"),
        (both() | {"x": X, "y": Y}, "also holds x, y, which would not be read; leave it out"),
        ({"x": X, "y": Y, "y_train": Y}, "also holds y_train, which"),
        (both(x=X[:, 0]), r"x_train must be numbers of shape .* not float64 of shape \(20,\)"),
        (both(x=X.astype(str)), "x_train must be numbers"),
        (both(y=Y + 1, y_test=Y[:8] + 1), "the labels are 1, 2, 3, 4; number the classes from 0"),
        (both(y=Y * 10), r"labels are 0, 1, 2, 3, 10, \.\.\.; number the classes from 0"),
        (both(y=Y * 0, y_test=Y[:8] * 0), "all labels are 0; there must be two classes or more"),
        (both(y=Y - 1), "labels are -1, 0, 1, 2, 3; number the classes from 0"),
        (both(x_test=X[:8, :2]), "they must be alike"),
        (both(x_test=X[:8].astype(np.uint8)), "they must be alike"),
        ({"x": X[:1], "y": Y[:1]}, "too few examples"),
        ({"x": X[:0], "y": Y[:0]}, "not none"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, message):
    with pytest.raises(UsageError, match=message):
        data.load("file", data_file=saved(tmp_path, **arrays))


def test_unreadable_files_are_missing_data(tmp_path):
    with pytest.raises(DataMissingError, match="no such file"):
        data.load("file", data_file=str(tmp_path / "none.npz"))
    whole = Path(saved(tmp_path, x=X, y=Y)).read_bytes()
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    for bad in (whole[: len(whole) // 2], b"", b"x,y\n1,2\n", bytes(flipped)):
        (tmp_path / "bad.npz").write_bytes(bad)
        with pytest.raises(DataMissingError, match=r"bad\.npz cannot be read"):
            data.load("file", data_file=str(tmp_path / "bad.npz"))


@pytest.mark.parametrize("kind", ["encrypted", "method", "giant"])
def test_archives_that_numpy_stumbles_over_are_missing_data(tmp_path, kind):
    path = Path(saved(tmp_path, x=X, y=Y))
    content = bytearray(path.read_bytes())
    if kind == "giant":
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**14}, 4), }}".ljust(117)
        with zipfile.ZipFile(path, "w") as archive:
            text = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.encode() + b"\n"
            archive.writestr("x.npy", text)
            archive.writestr("y.npy", text)
    else:
        at, value = (6, 1) if kind == "encrypted" else (8, 9)  # a flag, a method Python lacks
        for start, more in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            where = content.find(start)
            content[where + at + more] = value
        path.write_bytes(content)
    with pytest.raises(DataMissingError, match=r"cannot be read as a \.npz file of plain arrays"):
        data.load("file", data_file=str(path))


@pytest.mark.parametrize("name", ["alone.npy", "objects.npz", "texts.npz"])
def test_no_pickles_no_texts_and_no_single_arrays(tmp_path, name):
    path = tmp_path / name
    if name == "alone.npy":
        np.save(path, X)
    elif name == "texts.npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", "1 2 3")
            archive.writestr("y.npy", "0")
    else:
        np.savez(path, x=np.array([{}, []], dtype=object), y=Y[:2])
    with pytest.raises(AblaxError, match=r"cannot be read as a \.npz file") as caught:
        data.load("file", data_file=str(path))
    assert caught.value.code == 3
