"""Data sets of images, whose numbers are a brightness."""

import numpy as np

from experiments import classification
from experiments.data import split
from experiments.data.dataset import Dataset
from experiments.engine.errors import UsageError


def load(data: split.Data, manual_dir: str | None) -> Dataset:
    """The data set of a config.

    Raises:
        UsageError: it holds no images, or numbers that are no brightness.
    """
    dataset = classification.load_data(data, manual_dir)
    flag = f"--dataset {data.dataset}"
    if len(dataset.spec.shape) < 2 or dataset.spec.shape[2:] not in ((), (1,), (3,)):
        raise UsageError(f"{flag}: has no grey or colour images; take digits, mnist or cifar10")
    for x in (arrays["x"] for arrays in dataset.splits.values()):
        if x.dtype != np.uint8 and not (np.min(x) >= 0 and np.max(x) <= 1):
            raise UsageError(f"{flag}: images are bytes, or numbers from 0 to 1")
    return dataset
