"""Which rows, labels and statistics a replica trains with: the `Data` config and what it does.

The rows and labels are drawn from the streams "split" and "labels" of the replica's seed, so
cells with the same seed share them whatever else differs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from experiments.data import preprocess as preprocessing
from experiments.data.dataset import Dataset, Spec, Splits, make_dataset
from experiments.engine.config import Static
from experiments.engine.errors import UsageError

PERMUTATION_SEED = 0  # of `permute`: the first permutation of NumPy's frozen RandomState(0)


@dataclasses.dataclass(frozen=True)
class Data:
    """Which data to train on, and how they are prepared.

    Attributes:
        dataset: name of the data set; `list` shows them all.
        data_file: .npz file of arrays, with `--dataset file`.
        preprocess: what is done to the inputs, with statistics of the training rows: per feature,
            or per channel; pca and zca whiten, principal gives the principal components.
        components: how many of pca or principal to keep, the largest first; none: all.
        whitening_epsilon: added to each variance by pca and zca, as a share of the largest.
        validation: fraction of the training rows held out for validation; 0 trains on all of
            them, and then nothing can be tuned.
        train_size: train on this many rows; none: on all that validation leaves.
        label_noise: probability that a training label is replaced by another class; none: off.
        order: of the training rows: shuffled anew in every epoch, or as in the file.
        binary: keep only these classes, numbered from 0 in this order, e.g. 3,5; (): all.
        permute: shuffle the feature positions, by one permutation for all rows and seeds.
    """

    dataset: str = "mnist1d"
    data_file: str = ""
    preprocess: preprocessing.Kind = "centre"
    components: int | None = None
    whitening_epsilon: Static[float] = preprocessing.EPSILON
    validation: Static[float] = 0.1
    train_size: int | None = None
    label_noise: float | None = None
    order: Literal["shuffled", "file"] = "shuffled"
    binary: tuple[int, ...] = ()
    permute: bool = False


def check(data: Data, spec: Spec) -> None:
    """Refuses values that cannot work, before anything is trained.

    Args:
        data: the config.
        spec: of the data set as `select` returns it.

    Raises:
        UsageError: names the flag, what is wrong and what would do.
    """
    if not 0 <= data.validation < 1:
        raise UsageError(
            f"--validation {data.validation:g}: must be at least 0 and below 1, e.g. 0.1"
        )
    held_out = validation_size(data, spec.train_rows)
    left = spec.train_rows - held_out
    if (held_out < 1 and data.validation > 0) or left < 1:
        raise UsageError(
            f"--validation {data.validation:g}: leaves {held_out} rows for validation and {left} "
            f"for training, of {spec.train_rows}; both need at least one"
        )
    if data.components is not None:
        _check_components(data, math.prod(spec.shape))
    if not 0 < data.whitening_epsilon < 1:
        raise UsageError(
            f"--whitening-epsilon {data.whitening_epsilon:g}: must be above 0 and below 1, "
            "e.g. 1e-5"
        )
    if data.train_size is not None and not 1 <= data.train_size <= left:
        raise UsageError(
            f"--train-size {data.train_size}: must be 1 to {left:,} "
            f"({spec.train_rows:,} training rows, {held_out:,} of them for validation)"
        )
    if data.label_noise is not None and not 0 <= data.label_noise < 1:
        raise UsageError(f"--label-noise {data.label_noise:g}: must be at least 0 and below 1")
    if data.label_noise is not None and spec.classes < 2:
        raise UsageError("--label-noise: there is no other class to draw a label from")


def select(data: Data, dataset: Dataset) -> Dataset:
    """The data set with `binary` and `permute` carried out; itself where neither is set.

    Raises:
        UsageError: `binary` names fewer than two classes, one twice, or one that is not there or
            that a split has no examples of.
    """
    splits = dataset.splits
    spec = dataset.spec
    if data.binary:
        _check_classes(data.binary, spec.classes, splits)
        splits = {split: _keep(arrays, data.binary) for split, arrays in splits.items()}
        spec = dataclasses.replace(spec, classes=len(data.binary))
    if data.permute:
        splits = _permute(splits, spec.shape)
    return dataset if splits is dataset.splits else make_dataset(dataset.name, splits, spec)


def prepare(
    data: Data, dataset: Dataset, streams: Callable[[str], np.random.Generator]
) -> dict[str, Any]:
    """One replica's own arrays.

    Validation rows are the head of a plain random permutation of all training rows (not
    stratified: they stay a simple random sample); training rows are the head of the rest. So the
    validation rows do not depend on `train_size`, and a smaller training set is part of a larger
    one. Label noise uses one uniform draw and one other class per row of the data set: labels
    wrong at a rate are equally wrong at every higher rate, whatever the training size. With
    `order` "file" the same training rows are listed as the file has them.

    Args:
        data: the config.
        dataset: as `select` returns it.
        streams: name of a stream -> a fresh generator of the replica's seed.

    Returns:
        "train_rows" and "validation_rows": int32 rows of the training split; "labels": int32
        training labels of `train_rows`, with noise; "stats": of `preprocess.fit` on `train_rows`.
        Validation labels are never noisy.

    Raises:
        UsageError: see `check`.
    """
    check(data, dataset.spec)
    x, y = dataset.splits["train"]["x"], dataset.splits["train"]["y"]
    order = streams("split").permutation(len(x)).astype(np.int32)
    held_out = validation_size(data, len(x))
    validation_rows, rest = order[:held_out], order[held_out:]
    train_rows = rest[: data.train_size]
    if data.order == "file":
        train_rows = np.sort(train_rows)
    labels = y
    if data.label_noise is not None:
        labels = _noisy(y, dataset.spec.classes, data.label_noise, streams("labels"))
    return {
        "train_rows": train_rows,
        "validation_rows": validation_rows,
        "labels": labels[train_rows].astype(np.int32),
        "stats": preprocessing.fit(
            data.preprocess, x[train_rows], data.components, data.whitening_epsilon
        ),
    }


def validation_size(data: Data, rows: int) -> int:
    """How many of the data set's training rows are held out for validation."""
    return round(data.validation * rows)


def training_size(data: Data, rows: int) -> int:
    """How many of the data set's training rows a replica trains on."""
    return data.train_size or rows - validation_size(data, rows)


def _check_components(data: Data, features: int) -> None:
    flag = f"--components {data.components}"
    if data.preprocess not in ("pca", "principal"):
        raise UsageError(f"{flag}: only with --preprocess pca or principal")
    if not 1 <= (data.components or 0) < features:
        raise UsageError(f"{flag}: must be 1 to {features - 1}; none keeps all {features}")


def _noisy(y: np.ndarray, classes: int, rate: float, random: np.random.Generator) -> np.ndarray:
    draws = random.random(len(y))
    others = (y + random.integers(1, classes, len(y))) % classes
    return np.where(draws < rate, others, y)


def _check_classes(wanted: tuple[int, ...], classes: int, splits: Splits) -> None:
    spelled = ",".join(map(str, wanted))
    if len(set(wanted)) < max(2, len(wanted)):
        raise UsageError(f"--binary {spelled}: name at least two different classes, e.g. 3,5")
    if unknown := [c for c in wanted if not 0 <= c < classes]:
        raise UsageError(
            f"--binary {spelled}: there is no class {unknown[0]}; "
            f"the classes are 0 to {classes - 1}"
        )
    for split, arrays in splits.items():
        if absent := [c for c in wanted if c not in arrays["y"]]:
            raise UsageError(
                f"--binary {spelled}: the {split} split has no examples of class "
                f"{' or '.join(map(str, absent))}; name classes that both splits have"
            )


def _keep(arrays: Any, wanted: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The rows of the wanted classes, in their order, with labels 0, 1, ..."""
    rows = np.flatnonzero(np.isin(arrays["y"], wanted))
    order = np.argsort(wanted)
    labels = order[np.searchsorted(np.array(wanted)[order], arrays["y"][rows])]
    return {"x": arrays["x"][rows], "y": labels.astype(np.int32)}


def _permute(splits: Splits, shape: tuple[int, ...]) -> Splits:
    """Shuffles positions (of a sequence, or of pixels: a pixel's colours stay together)."""
    positions = math.prod(shape[:2])
    order = np.random.RandomState(PERMUTATION_SEED).permutation(positions)
    shuffled = {}
    for split, arrays in splits.items():
        x = arrays["x"]
        flat = x.reshape(len(x), positions, -1)[:, order]
        shuffled[split] = {**arrays, "x": flat.reshape(x.shape)}
    return shuffled
