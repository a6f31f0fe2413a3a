"""Random numbers of any shape, and short ones at little cost."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = 0x1BD11BDA


def random_array(
    sampler: Callable[..., jax.Array], key: jax.Array, shape: Sequence[int], **options: Any
) -> jax.Array:
    """The numbers of `sampler(key, shape=shape, **options)`, drawn along one axis.

    The same bits. XLA counts random bits by one index instead of several, which a CPU compiles
    sooner: kernels 3x3x64x64 of 8 replicas in 0.35 instead of 2.5 s.
    """
    return sampler(key, shape=(math.prod(shape),), **options).reshape(shape)


def short_draws(key: jax.Array, rows: int, columns: int) -> list[UInt32[Array, "rows columns"]]:
    """Four independent arrays of 16 random bits, numbers below 65,536.

    Keys of JAX's default generator give them at less cost than its `jax.random.bits`, which keeps
    half of what it computes.
    """
    shape = rows, columns
    if jax.random.key_impl(key) == "threefry2x32":
        counts = (jax.lax.broadcasted_iota(jnp.uint32, shape, axis) for axis in (0, 1))
        words = threefry_2x32(jax.random.key_data(key), *counts)
    else:
        words = tuple(jax.random.bits(key, (2, *shape), jnp.uint32))
    return [half for word in words for half in (word & np.uint32(0xFFFF), word >> np.uint32(16))]


def threefry_2x32(
    key: UInt32[Array, "2"], first: UInt32[Array, "*shape"], second: UInt32[Array, "*shape"]
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """The two random words of every pair of counters, in 20 rounds (Salmon et al. 2011, "Parallel
    random numbers: as easy as 1, 2, 3", section 4.3).

    The words of `jax.extend.random.threefry_2x32`, which goes through the arrays once for every
    four rounds on a CPU; XLA makes one vectorised loop of these.
    """
    keys = key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY)
    first, second = first + keys[0], second + keys[1]
    for turn in range(5):
        for distance in ROTATIONS[turn % 2]:
            first = first + second
            second = first ^ _rotated(second, distance)
        first = first + keys[(turn + 1) % 3]
        second = second + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return first, second


def _rotated(words: jax.Array, distance: int) -> jax.Array:
    return (words << np.uint32(distance)) | (words >> np.uint32(32 - distance))
