"""Going through the rows of a data set: shuffled in training, all of them in an evaluation."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.engine.experiment import Data
from experiments.engine.keys import permutation
from nets.parallel import split_batch


def shuffled(key: jax.Array, epoch: jax.Array, rows: int, batch: int) -> jax.Array:
    """Positions among so many rows, int32 [steps, batch], a function of (key, epoch).

    What does not fill a last batch is left out of this epoch; another part is in the next.
    """
    order = permutation(jax.random.fold_in(key, epoch), rows)
    return order[: rows // batch * batch].reshape(-1, batch)


def rows_of(data: Data, split: str) -> tuple[Mapping[str, jax.Array], jax.Array]:
    """The arrays that hold a split, and its rows among them, int32.

    "train" and "validation" are the replica's own rows of the training arrays.
    """
    if split != "test":
        return data.splits["train"], data.own[f"{split}_rows"]
    arrays = data.splits["test"]
    return arrays, jnp.arange(arrays["y"].shape[0], dtype=jnp.int32)


def by_chunks(function: Callable[..., Any], arrays: tuple[jax.Array, ...], size: int) -> Any:
    """`function(*arrays)`, at most so many rows at a time, which bounds the memory.

    Devices that share a batch share each chunk.

    Args:
        function: of arrays with a leading axis of rows; returns such arrays, each row's from its
            own row alone.
        arrays: with the same number of rows, at least one.
        size: most rows at a time; chunks are as equal as they can be.
    """
    count = len(arrays[0])
    chunks = -(-count // size)
    rows = -(-count // chunks)
    padded = [jnp.pad(a, [(0, chunks * rows - count)] + [(0, 0)] * (a.ndim - 1)) for a in arrays]
    split = [a.reshape(chunks, rows, *a.shape[1:]) for a in padded]
    results = jax.lax.map(lambda each: function(*split_batch(each)), tuple(split))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], results)
