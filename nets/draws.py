"""Random numbers of any shape."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax


def random_array(
    sampler: Callable[..., jax.Array], key: jax.Array, shape: Sequence[int], **options: Any
) -> jax.Array:
    """The numbers of `sampler(key, shape=shape, **options)`, drawn along one axis.

    The same bits. XLA counts random bits by one index instead of several, which a CPU compiles
    sooner: kernels 3x3x64x64 of 8 replicas in 0.35 instead of 2.5 s.
    """
    return sampler(key, shape=(math.prod(shape),), **options).reshape(shape)
