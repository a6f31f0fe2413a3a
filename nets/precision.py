"""Average precision of boxes that a detector finds."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nets.boxes import pairwise_iou

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Overlaps from which on a box counts as right, as COCO averages over: 0.5, 0.55, ... 0.95."""
LEVELS = 101
"""Levels of recall, 0 to 1, at which COCO reads the precision."""


def matches(
    boxes: Float[Array, "found 4"],
    classes: Int[Array, " found"],
    valid: Bool[Array, " found"],
    truth: Float[Array, "objects 4"],
    labels: Int[Array, " objects"],
    present: Bool[Array, " objects"],
    threshold: float | jax.Array,
) -> Bool[Array, " found"]:
    """Which boxes found in one image are right.

    As COCO's evaluation: in the order of their scores, each takes the object of its class that it
    overlaps most among those not yet taken, if their IoU is at least the threshold; of equal ones
    the last.

    Args:
        boxes: the highest score first.
        classes: of what they are said to hold.
        valid: which of them count.
        truth: boxes of the objects.
        labels: of the objects.
        present: which objects there are.
        threshold: least IoU.
    """
    overlap = pairwise_iou(boxes, truth)
    counts = valid[:, None] & present[None] & (classes[:, None] == labels[None])
    possible = counts & (overlap >= threshold)
    last = len(truth) - 1

    def take(free: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        overlaps, allowed = row
        open_to = jnp.where(free & allowed, overlaps, -1.0)
        chosen = last - jnp.argmax(open_to[::-1])
        right = open_to[chosen] >= 0
        return free & ~(right & (jnp.arange(len(free)) == chosen)), right

    return jax.lax.scan(take, jnp.ones(len(truth), bool), (overlap, possible))[1]


def average_precision(
    scores: Float[Array, " found"],
    right: Bool[Array, "thresholds found"],
    classes: Int[Array, " found"],
    valid: Bool[Array, " found"],
    objects: Int[Array, " classes"],
) -> Float[Array, "classes thresholds"]:
    """The mean precision at `LEVELS` levels of recall, of every class, at every threshold.

    As COCO's evaluation: at a level, the best precision of any recall that high, and 0 where none
    is. NaN of a class without objects.

    Args:
        scores: of all boxes found in all images.
        right: which of them are (`matches`).
        classes: of what they are said to hold.
        valid: which of them count.
        objects: how many of each class there are in all images.
    """
    kinds = len(objects)
    said = jnp.where(valid, classes, kinds)  # what does not count comes last
    order = jnp.lexsort((-scores, said))
    right, said = right[:, order] & valid[order][None], said[order]
    boxes = jnp.zeros(kinds + 1, jnp.int32).at[said].add(1)
    start = jnp.cumsum(boxes) - boxes
    hits = jnp.cumsum(right, axis=-1)
    hits = hits - jnp.pad(hits, ((0, 0), (1, 0)))[:, start[said]]
    precision = hits / (jnp.arange(len(said)) - start[said] + 1)[None]
    level = hits * (LEVELS - 1) // jnp.maximum(jnp.pad(objects, (0, 1)), 1)[said][None]

    def at_levels(right: jax.Array, precision: jax.Array, level: jax.Array) -> jax.Array:
        best = jnp.zeros((kinds + 1, LEVELS)).at[said, level].max(jnp.where(right, precision, 0))
        return jnp.mean(jax.lax.cummax(best[:kinds], axis=1, reverse=True), axis=-1)

    found = jax.vmap(at_levels, out_axes=1)(right, precision, level)
    return jnp.where(objects[:, None] > 0, found, jnp.nan)
