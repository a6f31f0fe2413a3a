"""A data set: named arrays per split, what they hold, and a digest of every byte."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from experiments.engine.errors import UsageError

Splits = Mapping[str, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What the examples of a data set look like.

    Attributes:
        shape: of one example "x". One axis is a sequence of numbers, two axes are a grey image,
            three a colour image with the channels last; none, a token of a text.
        classes: number of classes; the labels "y" are 0 .. classes - 1. 0 where there are none.
        vocabulary: number of distinct tokens; 0 where the examples are not text.
        train_rows: number of training examples (filled in by `make_dataset`).
    """

    shape: tuple[int, ...]
    classes: int
    vocabulary: int = 0
    train_rows: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Arrays on the host, possibly memory-mapped and read-only.

    Attributes:
        name: as given to `load`.
        splits: "train" and "test", each with "x" (examples, *shape), uint8 images or float32,
            and "y" (examples,), int32. Of texts also "validation"; "x" is their tokens.
        spec: the shape and classes of the examples.
        digest: of the splits (`digest_of`) and the vocabulary, kept in every study's record.
        vocabulary: what each token stands for; () where the examples are not text.
    """

    name: str
    splits: Splits
    spec: Spec
    digest: str
    vocabulary: tuple[str, ...] = ()


def digest_of(splits: Splits) -> str:
    """The sha256 over split and array names, dtypes, shapes and bytes, in sorted order of name."""
    digest = hashlib.sha256()
    for split, arrays in sorted(splits.items()):
        for name, array in sorted(arrays.items()):
            digest.update(f"{split}/{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def make_dataset(
    name: str, splits: Splits, spec: Spec, vocabulary: tuple[str, ...] = ()
) -> Dataset:
    """A `Dataset` of these arrays: counts the training rows and takes the digest.

    Raises:
        UsageError: nothing to train on, or nothing to test with.
    """
    if missing := sorted({"train", "test"} - splits.keys()):
        raise UsageError(f"the data set {name} has no split {' and no split '.join(missing)}")
    spec = dataclasses.replace(spec, train_rows=len(splits["train"]["x"]))
    digested = dict(splits)
    if vocabulary:
        spelled = "\0".join(vocabulary).encode()
        digested["vocabulary"] = {"units": np.frombuffer(spelled, np.uint8)}
    return Dataset(name, splits, spec, digest_of(digested), vocabulary)
