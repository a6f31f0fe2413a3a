"""From a detector's outputs to boxes, to its loss, and to how many objects are found."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from experiments.engine.errors import UsageError
from nets import boxes as of_boxes
from nets.losses import focal_loss
from nets.precision import THRESHOLDS, average_precision, matches
from nets.spread import spread

PRIOR = 0.01
"""The share of cells that hold an object of a class, by an untrained net (Lin et al. 2017, section
4.1): otherwise the many empty cells would be all that it learns at first."""
MOST_FOUND = 100
"""Boxes of a scene that are looked at, the best ones, of which `nms` takes some away; COCO's
evaluation counts as many."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How boxes are read from a net's outputs, and what they cost.

    Attributes:
        assign: the cells that answer for an object: the one its centre lies in (centre: YOLO), or
            every one whose own centre lies in its box as well (inside: FCOS).
        box_loss: 1 - IoU, or generalised (giou) or distance IoU (diou), or the absolute error of
            the four numbers that a box is read from (l1).
        box_weight: factor on that loss, beside the focal loss of the classes.
        focal_gamma: how far the focal loss turns from what is right already; 0: cross-entropy.
        focal_alpha: weight of the cells with an object of a class; those without have 1 less it.
        nms: of boxes of one class that overlap by more than this IoU only the best stays.
    """

    assign: of_boxes.Assign = "centre"
    box_loss: Literal["giou", "iou", "diou", "l1"] = "giou"
    box_weight: float = 1.0
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    nms: float = 0.5


def check(reading: Reading) -> None:
    """Refuses values that cannot work. Raises `UsageError`."""
    for name in ("box_weight", "focal_gamma"):
        value = getattr(reading, name)
        if not 0 <= value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: must not be negative")
    if not 0 < reading.focal_alpha < 1:
        raise UsageError(f"--focal-alpha {reading.focal_alpha:g}: above 0 and below 1, e.g. 0.25")
    if not 0 <= reading.nms <= 1:
        raise UsageError(f"--nms {reading.nms:g}: from 0 to 1, e.g. 0.5")


class Found(NamedTuple):
    """Boxes found in scenes, those of a scene by score, the highest first.

    Attributes:
        boxes: [scenes, found, 4].
        classes: what they are said to hold, int [scenes, found].
        scores: how sure the net is, 0 to 1, [scenes, found].
        valid: which of them stay beside a better one, bool [scenes, found].
    """

    boxes: jax.Array
    classes: jax.Array
    scores: jax.Array
    valid: jax.Array


def stride(size: tuple[int, ...], grid: tuple[int, ...]) -> int:
    """Pixels from one cell to the next.

    Raises:
        ValueError: the cells do not divide the scene into squares.
    """
    steps = {side // cells for side, cells in zip(size, grid, strict=True)}
    step = max(steps)
    if len(steps) > 1 or tuple(step * cells for cells in grid) != size:
        shapes = ["x".join(map(str, each)) for each in (size, grid)]
        raise ValueError(f"{shapes[1]} cells do not divide scenes of {shapes[0]} into squares")
    return step


def _read(outputs: jax.Array, size: tuple[int, ...]) -> tuple[jax.Array, jax.Array, int]:
    """Class scores as logits, the four numbers of boxes, and the stride."""
    prior = math.log(PRIOR / (1 - PRIOR))
    return outputs[..., :-4] + prior, outputs[..., -4:], stride(size, outputs.shape[1:3])


def losses(
    reading: Any, outputs: jax.Array, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The loss of each scene, summed over its cells, and how many cells answer for an object.

    Args:
        outputs: scores and boxes at each cell, [scenes, rows, columns, classes + 4].
        batch: of `scenes.compose`.
    """
    logits, numbers, step = _read(outputs, batch["x"].shape[1:3])
    truth, grid = batch["boxes"], outputs.shape[1:3]
    assign = functools.partial(of_boxes.owners, grid=grid, stride=step, assign=reading.assign)
    owner = jax.vmap(assign)(truth, batch["present"])
    mine = owner >= 0
    chosen = jnp.maximum(owner, 0).reshape(len(owner), -1)
    label = jnp.take_along_axis(batch["labels"], chosen, axis=1).reshape(owner.shape)
    wanted = jnp.take_along_axis(truth, chosen[..., None], axis=1).reshape(*owner.shape, 4)
    cell = spread(jnp.array([0.0, 0.0, step, step]), wanted)
    wanted = jnp.where(mine[..., None], wanted, cell)
    is_class = jax.nn.one_hot(label, logits.shape[-1], dtype=bool) & mine[..., None]
    lost = focal_loss(logits, is_class, reading.focal_gamma, reading.focal_alpha)
    if reading.box_loss == "l1":
        off = jnp.sum(jnp.abs(numbers - of_boxes.encode(wanted, step)), axis=-1)
    else:
        off = 1 - of_boxes.OVERLAPS[reading.box_loss](of_boxes.decode(numbers, step), wanted)
    lost += reading.box_weight * jnp.where(mine, off, 0)
    return jnp.sum(lost, axis=(1, 2)), jnp.sum(mine, axis=(1, 2))


def find(reading: Any, outputs: jax.Array, size: tuple[int, ...]) -> Found:
    """The boxes that a net finds in scenes of that height and width.

    Args:
        outputs: scores and boxes at each cell, [scenes, rows, columns, classes + 4].
    """
    logits, numbers, step = _read(outputs, size)
    boxes, classes = of_boxes.decode(numbers, step), logits.shape[-1]
    flat = jax.nn.sigmoid(logits).reshape(len(logits), -1)
    scores, place = jax.lax.top_k(flat, min(MOST_FOUND, flat.shape[1]))
    cell = (place // classes)[..., None]
    boxes = jnp.take_along_axis(boxes.reshape(len(boxes), -1, 4), cell, axis=1)
    valid = jax.vmap(of_boxes.suppress, in_axes=(0, 0, None))(boxes, place % classes, reading.nms)
    return Found(boxes, place % classes, scores, valid)


def judged(
    reading: Any, outputs: jax.Array, batch: Mapping[str, jax.Array]
) -> tuple[Found, jax.Array]:
    """What a net finds, and which of it is right at each of `THRESHOLDS`, [scenes, thresholds,
    found]."""
    found = find(reading, outputs, batch["x"].shape[1:3])
    of_scene = jax.vmap(matches, in_axes=(None,) * 6 + (0,))
    right = jax.vmap(of_scene, in_axes=(0,) * 6 + (None,))(
        found.boxes, found.classes, found.valid, batch["boxes"], batch["labels"],
        batch["present"], jnp.array(THRESHOLDS),
    )  # fmt: skip
    return found, right


def precision(
    found: Found, right: jax.Array, labels: jax.Array, present: jax.Array, classes: int
) -> jax.Array:
    """Average precision over all scenes, [classes, thresholds]; NaN of classes without objects.

    Args:
        found, right: of `judged`.
        labels, present: the scenes' objects, [scenes, objects].
        classes: how many.
    """
    flat = jnp.moveaxis(right, 1, 0).reshape(right.shape[1], -1)
    objects = jnp.zeros(classes, jnp.int32).at[labels].add(present.astype(jnp.int32))
    scores, said, valid = (jnp.ravel(each) for each in (found.scores, found.classes, found.valid))
    return average_precision(scores, flat, said, valid, objects)
