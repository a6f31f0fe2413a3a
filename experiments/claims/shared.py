"""What claims share: quantities, rules and recipes."""

import functools
import math
from collections.abc import Sequence

from experiments.engine.claims import Line, Published, Quantity, Rule


def _accuracy(lines: Sequence[Line]) -> float:
    return 100 * lines[-1]["test_accuracy"]


def _error(lines: Sequence[Line]) -> float:
    return 100 - 100 * lines[-1]["test_accuracy"]


def _train_error(lines: Sequence[Line]) -> float:
    return 100 - 100 * lines[-1]["train_accuracy"]


def _retrieval(lines: Sequence[Line]) -> float:
    return 100 * lines[-1]["retrieval"]


def _gain(lines: Sequence[Line]) -> float:
    return lines[-1]["gain"]


def _epochs_until(target: float, lines: Sequence[Line]) -> float:
    """Epochs until the training error, averaged over an epoch, is at most `target` percent.

    Between two epochs it falls linearly; infinite if it never gets there.
    """
    before, error_before = 0, 100.0
    for line in lines[:-1]:
        error = 100 - 100 * line["train_accuracy"]
        if error <= target:
            share = (error_before - target) / (error_before - error)
            return before + share * (line["epoch"] - before)
        before, error_before = line["epoch"], error
    return math.inf


def near(row: str, value: float, tolerance: float, source: str) -> Rule:
    """The mean of a row within a tolerance of the paper's number."""
    bounds = round(value - tolerance, 6), round(value + tolerance, 6)
    return Rule("mean", (row,), *bounds, Published(value, "paper", source))


ACCURACY = Quantity("test accuracy", "%", _accuracy, worst=10.0, decimals=1)
ERROR = Quantity("test error", "%", _error, worst=90.0)
TRAIN_ERROR = Quantity("training error", "%", _train_error, worst=90.0)
RETRIEVAL = Quantity("mean average precision", "%", _retrieval, worst=0.0, decimals=1)
GAIN = Quantity("gain over bicubic interpolation", "dB", _gain)
QUARTER = Quantity(
    "epochs until 25 % training error", "epochs", functools.partial(_epochs_until, 25.0)
)

MNIST1D_PAPER = (
    "Greydanus and Kobak, ICML 2024, arXiv 2011.14439: abstract of version 1, table 1 (read)"
)
MNIST1D_TABLE = (
    "Greydanus and Kobak, ICML 2024, arXiv 2011.14439, table 1, shuffled positions (read)"
)
MNIST1D_CODE = (
    "github.com/greydanus/mnist1d, notebooks/mnist1d-classification.ipynb, printed at step 6000, "
    "one seed (read)"
)
MNIST1D_RECIPE = (
    "As in the authors' notebook: 4,000 training rows in batches of 100 in the order of the file, "
    "Adam at 0.01, 6,000 steps, cross-entropy, weights and biases U(-1/sqrt(fan-in), "
    "1/sqrt(fan-in)); no validation rows."
)
MNIST1D = {
    "dataset": "mnist1d",
    "preprocess": "none",
    "validation": "0",
    "order": "file",
    "optimizer": "adam",
    "learning_rate": "0.01",
    "schedule": "constant",
    "batch_size": "100",
    "epochs": "150",
    "init": "fan_in_uniform",
    "bias_init": "fan_in_uniform",
}
