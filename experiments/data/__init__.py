"""Data sets as named arrays: `load(name)`. Importing this package is fast; loading imports more."""

import os

from experiments.data import arrays, embedded, mnist1d, prepared
from experiments.data.dataset import Dataset
from experiments.data.published import PUBLISHED
from experiments.engine.config import nearest
from experiments.engine.errors import UsageError
from experiments.engine.paths import manual_folder, own_file

DATASETS = {
    "mnist1d": "MNIST-1D, 4,000 + 1,000 sequences of 40 numbers, 10 classes; generated",
    "digits": "scikit-learn's digits, 1,442 + 355 grey images of 8x8, 10 classes; embedded",
    "mnist": "MNIST, 60,000 + 10,000 grey images of 28x28, 10 classes; downloaded once",
    "fashion_mnist": "Fashion-MNIST, like MNIST with pieces of clothing; downloaded once",
    "cifar10": "CIFAR-10, 50,000 + 10,000 colour images of 32x32, 10 classes; downloaded once",
    "file": "your own arrays: --data-file x.npz with x_train, y_train, x_test, y_test, or x, y",
}


def load(
    name: str, *, data_file: str = "", manual_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Loads a data set by name.

    Args:
        name: one of `DATASETS`.
        data_file: the .npz file of the data set "file".
        manual_dir: folder of the publishers' files, for sets that are otherwise downloaded, and of
            the user's, where they are not where their paths say; by default the environment
            variable ABLAX_MANUAL_DIR.

    Raises:
        UsageError: unknown name (the nearest one is offered), or a file or folder that does not
            fit.
        DataMissingError: the data are missing or damaged; says what to do.
    """
    if name not in DATASETS:
        raise UsageError(f"--dataset: unknown data set {name!r}; {nearest(name, DATASETS)}")
    if data_file and name != "file":
        raise UsageError(f"--data-file goes with --dataset file, not with {name}")
    if name in PUBLISHED:
        return prepared.load(PUBLISHED[name], manual_folder(manual_dir))
    if name == "file":
        return arrays.load(data_file and str(own_file(data_file, manual_dir)))
    return mnist1d.load() if name == "mnist1d" else embedded.digits()
