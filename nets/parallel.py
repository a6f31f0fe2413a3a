"""A batch that several devices share: what functions of a batch need to know about it.

A program may spread one replica over devices along the mesh axis `BATCH`. XLA partitions it: every
function keeps its meaning over the whole batch (batch norm's statistics, a mean), whoever wrote it.
`split_batch` says where to cut, `sum_over_batch` and `map_batch` help where XLA finds no good cut
itself. Without such a mesh they do nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec

BATCH = "batch"
"""The mesh axis of the devices that share a batch."""


def sharers() -> int:
    """How many devices share the batch in the function that is being traced."""
    mesh = jax.sharding.get_abstract_mesh()
    named = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
    return next((n for name, n, kind in named if name == BATCH and kind == AxisType.Auto), 1)


def split_batch(tree: Any) -> Any:
    """The same arrays, cut along their leading axis where the devices divide it. Keys stay whole.

    It changes no value, only which device computes what.
    """
    devices = sharers()

    def cut(leaf: jax.Array) -> jax.Array:
        keys = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if keys or not leaf.ndim or leaf.shape[0] % devices:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, PartitionSpec(BATCH))

    return tree if devices == 1 else jax.tree.map(cut, tree)


def sum_over_batch(
    function: Callable[..., jax.Array], *batched: jax.Array, axis: int = 0
) -> jax.Array:
    """`function(*batched)` for one that adds up over the batch, an axis of all of them.

    Where devices share the batch, each adds up its part, and the sums are added.
    """
    devices = sharers()
    if devices == 1 or any(array.shape[axis] % devices for array in batched):
        return function(*batched)
    parts = jax.shard_map(
        lambda *mine: jax.lax.psum(function(*mine), BATCH),
        in_specs=(PartitionSpec(*[None] * axis, BATCH),) * len(batched),
        out_specs=PartitionSpec(),
        axis_names={BATCH},
        check_vma=False,
    )
    return parts(*batched)


def map_batch(
    function: Callable[..., jax.Array], batched: jax.Array, *whole: jax.Array
) -> jax.Array:
    """`function(batched, *whole)` for one that goes through the examples, in pieces or one by one.

    Where devices share the batch, each goes through its part.
    """
    devices = sharers()
    if devices == 1 or len(batched) % devices:
        return function(batched, *whole)
    cut = PartitionSpec(BATCH)
    parts = jax.shard_map(
        function,
        in_specs=(cut, *[PartitionSpec()] * len(whole)),
        out_specs=cut,
        axis_names={BATCH},
        check_vma=False,
    )
    return parts(batched, *whole)


def piece_size(batch: int, example_bytes: int, most_bytes: int) -> int:
    """Examples that a loop takes at a time: of the batch's divisors the largest that fits."""
    fits = max(1, most_bytes // example_bytes)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fits)
