"""Test-time augmentation: class scores averaged over mirrored and shifted inputs."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from experiments.data.augment import flip, translate

Kind = Literal["one", "mirror", "shift"]

SHIFTS = {"mirror": ((0, 1.0),), "shift": ((0, 0.5), (1, 0.25), (-1, 0.25))}
"""Positions to shift along every axis, and the share of the shifted input in the scores."""


def mean_scores(kind: Kind, scores: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """The mean of the scores of views of each input, float32 or wider [B, K].

    mirror: the input and its mirror image. shift: half of the weight is on those, a quarter on both
    shifted by a position along every axis, a quarter on both shifted back; what comes in is
    reflected (six views: Jordan 2024, arXiv 2404.00498, airbench94.py).

    Args:
        kind: one: the input alone, by the same program as without views.
        scores: the net, [B, *shape] -> [B, K].
        x: preprocessed inputs.
    """
    if kind == "one":
        return scores(x)
    axes = min(2, x.ndim - 1)
    views, weights = [], []
    for shift, share in SHIFTS[kind]:
        moved = translate(x, jnp.full((len(x), axes), shift), "reflect") if shift else x
        views += [moved, flip(moved, jnp.ones(len(x), bool), axes)]
        weights += [share / 2, share / 2]
    each = jax.lax.map(scores, jnp.stack(views))
    return jnp.tensordot(jnp.asarray(weights, each.dtype), each, 1, precision="highest")
