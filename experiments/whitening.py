"""A whitening first layer: its options, and its filters of a replica's own training rows."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import classification
from experiments.data import preprocess, split
from experiments.data.dataset import Dataset
from experiments.data.patches import whitening_filters
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from experiments.engine.keys import Streams
from nets.specs import Block
from nets.whitening import FROZEN

ROWS = 5000
"""Training rows whose patches the filters are of: the replica's first so many."""


@dataclasses.dataclass(frozen=True)
class Whitening:
    """The frozen filters of a whitening layer, `w2`, and its biases.

    Attributes:
        patch_epsilon: added to each variance of the patches of the preprocessed inputs.
        patch_bias_epochs: the biases are trained for so many epochs; none: for all.
    """

    patch_epsilon: Static[float] = 5e-4
    patch_bias_epochs: int | None = None


def patch_size(blocks: Sequence[Block]) -> int | None:
    """Side of the patches that the first of a net's layers whitens; None if it does not."""
    return blocks[0].size if blocks and blocks[0].kind == "whitening" else None


def check(config: Whitening, blocks: Sequence[Block]) -> None:
    """Refuses values that cannot work in a net of these layers. Raises `UsageError`."""
    if not 0 < config.patch_epsilon < float("inf"):
        raise UsageError(f"--patch-epsilon {config.patch_epsilon:g}: must be positive")
    epochs = config.patch_bias_epochs
    if epochs is not None and epochs < 0:
        raise UsageError(f"--patch-bias-epochs {epochs}: must not be negative")
    if epochs is not None and patch_size(blocks) is None:
        raise UsageError(
            f"--patch-bias-epochs {epochs}: there is no whitening layer; give --layers 'w2 ...'"
        )


def prepare(
    config: Any, blocks: Sequence[Block], dataset: Dataset, streams: Streams
) -> dict[str, Any]:
    """A replica's own arrays; for layers that begin with a whitening one, also its "filters"."""
    own, size = classification.prepare(config, dataset, streams), patch_size(blocks)
    if size is None:
        return own
    epsilon = config.whitening.patch_epsilon
    return own | {"filters": _filters(config.data, size, epsilon, dataset, streams)}


@functools.lru_cache(maxsize=128)
def _filters(
    data: split.Data, size: int, epsilon: float, dataset: Dataset, streams: Streams
) -> np.ndarray:
    own = split.prepare(data, dataset, streams)
    rows = dataset.splits["train"]["x"][own["train_rows"][:ROWS]]
    x = np.asarray(preprocess.apply(own["stats"], rows))
    return whitening_filters(x if len(dataset.spec.shape) > 2 else x[..., None], size, epsilon)


def adapt(config: Any, variables: Any, own: Mapping[str, Any]) -> Any:
    """A net's initial variables, with the filters of the replica where it has some."""
    del config
    if "filters" not in own:
        return variables
    return {**variables, FROZEN: {"whitening": {"kernel": own["filters"]}}}
