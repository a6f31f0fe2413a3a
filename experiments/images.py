"""Data sets of images, whose numbers are a brightness."""

from typing import Any

import numpy as np

from experiments import classification
from experiments.data import split
from experiments.data.dataset import Dataset
from experiments.engine.errors import UsageError


def rows(data: Any) -> split.Data:
    """The images of a config's `data`, as those who divide rows know them."""
    return split.Data(
        dataset=data.dataset, data_file=data.data_file, preprocess="none",
        validation=data.validation, train_size=data.train_size,
    )  # fmt: skip


def load(data: Any, manual_dir: str | None) -> Dataset:
    """The data set of a config's `data`.

    Raises:
        UsageError: it holds no images, or numbers that are no brightness.
    """
    dataset = classification.load_data(rows(data), manual_dir)
    flag = f"--dataset {data.dataset}"
    if len(dataset.spec.shape) < 2 or dataset.spec.shape[2:] not in ((), (1,), (3,)):
        raise UsageError(f"{flag}: has no grey or colour images; take digits, mnist or cifar10")
    for x in (arrays["x"] for arrays in dataset.splits.values()):
        if x.dtype != np.uint8 and not (np.min(x) >= 0 and np.max(x) <= 1):
            raise UsageError(f"{flag}: images are bytes, or numbers from 0 to 1")
    return dataset
