"""Arrays of the user's own: `--dataset file --data-file x.npz`."""

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.data.dataset import Dataset, Spec, Splits, make_dataset
from experiments.engine.errors import DataMissingError, UsageError
from experiments.engine.paths import not_there, path_of

SPLIT_NAMES = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
TEST_FRACTION = 0.2
SPLIT_SEED = 0  # of the permutation whose tail is the test split, where the file has no split


def load(data_file: str) -> Dataset:
    """Reads a data set from a NumPy `.npz` file.

    The file holds `x_train`, `y_train`, `x_test` and `y_test`, or `x` and `y`. The latter are put
    in the order of NumPy's frozen `RandomState(0).permutation` and the last 20 % (rounded) become
    the test split. `x` is (examples, ...): uint8 stays uint8 (and counts as 0 .. 255), other
    numbers become float32. `y` is (examples,), whole numbers from 0. Other arrays may have any name
    that does not begin as these do.

    Raises:
        DataMissingError: there is no such file, or it cannot be read.
        UsageError: arrays are missing, do not fit or would not be read; says which and what to do.
    """
    if not data_file:
        raise UsageError("--dataset file needs --data-file, a .npz file of arrays")
    arrays = _read(path_of(data_file))
    pairs = {name for names in SPLIT_NAMES.values() for name in names}
    read = pairs if pairs <= set(arrays) else {"x", "y"}
    unread = sorted(name for name in set(arrays) - read if re.match(r"[xy](_|$)", name))
    if unread and read <= set(arrays):
        raise UsageError(
            f"{data_file} also holds {', '.join(unread)}, which would not be read; leave it out "
            "(validation examples are taken from the training ones: --validation)"
        )
    if read == pairs:
        named = {s: {"x": arrays[x], "y": arrays[y]} for s, (x, y) in SPLIT_NAMES.items()}
        splits = {s: _split(data_file, SPLIT_NAMES[s], pair) for s, pair in named.items()}
    elif read <= set(arrays):
        splits = _divide(_split(data_file, ("x", "y"), arrays))
    else:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise UsageError(
            f"{data_file} holds {found}; it must hold x_train, y_train, x_test and y_test, "
            "or x and y: np.savez(path, x=..., y=...)"
        )
    classes = _classes(data_file, splits)
    splits = {s: {"x": a["x"], "y": a["y"].astype(np.int32)} for s, a in splits.items()}
    return make_dataset("file", splits, Spec(splits["train"]["x"].shape[1:], classes))


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataMissingError(f"--data-file {path}: {not_there(path)}")
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream), np.load(stream) as file:
            arrays = {name: file[name] for name in file.files}
        if others := [name for name, each in arrays.items() if not isinstance(each, np.ndarray)]:
            raise ValueError(f"{others[0]} is no array")
        return arrays
    except (
        OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        raise DataMissingError(
            f"--data-file {path} cannot be read as a .npz file of plain arrays ({error}); "
            "write it with np.savez(path, x=..., y=...)"
        ) from error


def _split(
    data_file: str, names: tuple[str, str], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """One split, checked: "x" uint8 or float32, "y" of any whole-number type."""
    (x_name, y_name), x, y = names, arrays["x"], arrays["y"]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise UsageError(
            f"{data_file}: {y_name} must be one whole number per example, not {y.dtype} of shape "
            f"{y.shape}; use y.astype(int), or for names "
            "np.unique(y, return_inverse=True)[1] over both splits together"
        )
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise UsageError(
            f"{data_file}: {x_name} must be numbers of shape (examples, features ...), "
            f"not {x.dtype} of shape {x.shape}"
        )
    if len(x) != len(y) or not x.size:
        raise UsageError(
            f"{data_file}: {x_name} has {len(x)} examples of shape {x.shape[1:]} and {y_name} has "
            f"{len(y)}; they must be as many, and not none"
        )
    if x.dtype != np.uint8:
        given = x
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        if given.dtype.kind in "iu" and (x.astype(np.longdouble) != given).any():
            raise UsageError(
                f"{data_file}: {x_name} holds whole numbers that float32 cannot tell apart (beyond "
                "16,777,216); subtract what they share, or scale them"
            )
        if bad := int((~np.isfinite(x)).reshape(len(x), -1).any(1).sum()):
            what, then = "NaN or infinite numbers", "remove or fill them"
            if np.isfinite(given).all():
                what, then = "numbers too large for float32", "scale them"
            raise UsageError(
                f"{data_file}: {bad} of the {len(x)} examples in {x_name} hold {what}; {then}"
            )
    return {"x": x, "y": y}


def _classes(data_file: str, splits: Splits) -> int:
    """The number of classes, after checking that labels are 0, 1, ... and splits fit together."""
    train, test = splits["train"]["x"], splits["test"]["x"]
    if not len(test) or not len(train):
        raise UsageError(f"{data_file}: too few examples for a training and a test split")
    if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
        raise UsageError(
            f"{data_file}: x_train holds {train.dtype} of shape {train.shape[1:]}, x_test "
            f"{test.dtype} of shape {test.shape[1:]}; they must be alike"
        )
    labels = np.unique(np.concatenate([np.unique(arrays["y"]) for arrays in splits.values()]))
    if labels[0] != 0 or labels[-1] != len(labels) - 1:
        shown = ", ".join(map(str, labels[:5])) + (", ..." if len(labels) > 5 else "")
        raise UsageError(
            f"{data_file}: the labels are {shown}; number the classes from 0 without gaps, e.g. "
            "y = np.unique(y, return_inverse=True)[1] over the labels of both splits together"
        )
    if len(labels) == 1:
        raise UsageError(f"{data_file}: all labels are 0; there must be two classes or more")
    return len(labels)


def _divide(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    rows = len(arrays["y"])
    order = np.random.RandomState(SPLIT_SEED).permutation(rows)
    train = rows - round(TEST_FRACTION * rows)
    parts = {"train": order[:train], "test": order[train:]}
    return {
        split: {name: array[part] for name, array in arrays.items()}
        for split, part in parts.items()
    }
