"""Tables of which a step uses few rows: looked up, updated and frozen row by row.

Nothing of the size of a table is computed: no gradient, no update, no copy.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

Tree = Any
Used = Mapping[str, jax.Array]
"""Name of a parameter -> int32 rows of it, any shape; one may stand there more than once."""


def look_up(params: Tree, used: Used) -> Tree:
    """The parameters with the used rows [*rows, ...] in the place of their tables."""
    return {
        name: jnp.take(leaf, used[name], axis=0, mode="clip") if name in used else leaf
        for name, leaf in params.items()
    }


def apply_updates(params: Tree, updates: Tree, used: Used) -> Tree:
    """The parameters after updates of the used rows, which add up, and of all else."""
    return {
        name: leaf.at[used[name]].add(updates[name])
        if name in used
        else optax.apply_updates(leaf, updates[name])
        for name, leaf in params.items()
    }
