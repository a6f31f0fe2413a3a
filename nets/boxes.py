"""Boxes around objects: how they overlap, how a net's outputs are read as boxes, which cells answer
for which object, and which of several boxes around one object stays.

A box is left, top, right, bottom, in pixels from the upper left corner of the image.
"""

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nets.spread import spread

Boxes = Float[Array, "*boxes 4"]
Assign = Literal["centre", "inside"]

LARGEST = math.log(1000 / 16)
"""Sizes are read as at most exp(this) cells, so that no exponential overflows."""


def area(boxes: Boxes) -> Float[Array, "*boxes"]:
    """Width times height, 0 where an edge lies beyond the opposite one."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def iou(first: Boxes, second: Boxes) -> Float[Array, "*boxes"]:
    """Intersection over union, 0 to 1; 0 of two boxes without area."""
    return _iou_and_union(first, second)[0]


def pairwise_iou(first: Float[Array, "N 4"], second: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """The `iou` of every box with every other."""
    return jax.vmap(lambda one: jax.vmap(lambda other: iou(one, other))(second))(first)


def generalized_iou(first: Boxes, second: Boxes) -> Float[Array, "*boxes"]:
    """IoU minus the share of the smallest box around both that neither fills, above -1 to 1.

    Rezatofighi et al. 2019 (arXiv 1902.09630): it has a gradient where boxes do not meet.
    """
    overlap, union = _iou_and_union(first, second)
    around = area(_around(first, second))
    return overlap - (around - union) / jnp.maximum(around, 1e-9)


def distance_iou(first: Boxes, second: Boxes) -> Float[Array, "*boxes"]:
    """IoU minus the squared distance of the centres over the squared diagonal of the smallest box
    around both, above -1 to 1 (Zheng et al. 2020, arXiv 1911.08287)."""
    between = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    around = _around(first, second)
    diagonal = around[..., 2:] - around[..., :2]
    distance, most = (jnp.sum(jnp.square(each), axis=-1) for each in (between, diagonal))
    return iou(first, second) - distance / jnp.maximum(most, 1e-9)


OVERLAPS: MappingProxyType[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {"iou": iou, "giou": generalized_iou, "diou": distance_iou}
)
"""Measures of overlap whose distance from 1 is a loss."""


def _iou_and_union(first: Boxes, second: Boxes) -> tuple[jax.Array, jax.Array]:
    low = jnp.maximum(first[..., :2], second[..., :2])
    high = jnp.minimum(first[..., 2:], second[..., 2:])
    both = area(jnp.concatenate([low, high], axis=-1))
    union = area(first) + area(second) - both
    return both / jnp.maximum(union, 1e-9), union


def _around(first: Boxes, second: Boxes) -> jax.Array:
    low = jnp.minimum(first[..., :2], second[..., :2])
    return jnp.concatenate([low, jnp.maximum(first[..., 2:], second[..., 2:])], axis=-1)


def centres(grid: tuple[int, ...], stride: int) -> Float[Array, "rows columns 2"]:
    """Where the middle of each cell of a grid of rows and columns lies, x and y in pixels."""
    y, x = jnp.meshgrid(*map(jnp.arange, grid), indexing="ij")
    return (jnp.stack([x, y], axis=-1) + 0.5) * stride


def decode(
    numbers: Float[Array, "*batch rows columns 4"], stride: int
) -> Float[Array, "*batch rows columns 4"]:
    """The boxes that the four numbers of each cell stand for.

    The first two move the box's centre from the cell's, in cells; the others are the logarithms of
    width and height in cells, as Faster R-CNN's beside an anchor of one cell (Ren et al. 2015,
    arXiv 1506.01497, equation 2).
    """
    at = spread(centres(numbers.shape[-3:-1], stride), numbers[..., :2])
    middle = at + stride * numbers[..., :2]
    half = stride * jnp.exp(jnp.minimum(numbers[..., 2:], LARGEST)) / 2
    return jnp.concatenate([middle - half, middle + half], axis=-1)


def encode(
    boxes: Float[Array, "*batch rows columns 4"], stride: int
) -> Float[Array, "*batch rows columns 4"]:
    """The numbers by which `decode` gives these boxes, one of each cell; none may be empty."""
    at = spread(centres(boxes.shape[-3:-1], stride), boxes[..., :2])
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = boxes[..., 2:] - boxes[..., :2]
    return jnp.concatenate([(middle - at) / stride, jnp.log(size / stride)], axis=-1)


def owners(
    boxes: Float[Array, "objects 4"],
    present: Bool[Array, " objects"],
    grid: tuple[int, ...],
    stride: int,
    assign: Assign,
) -> Int[Array, "rows columns"]:
    """The object each cell of a grid answers for, -1 where it answers for none.

    Args:
        boxes: of an image's objects.
        present: which of them there are.
        grid: its rows and columns.
        stride: pixels from cell to cell.
        assign: `centre`: the one cell in which an object's centre lies (YOLO, Redmon et al. 2016,
            arXiv 1506.02640); `inside`: every cell whose own centre lies in the box as well (FCOS,
            Tian et al. 2019, arXiv 1904.01355). A cell that several could have answers for the
            smallest, as in FCOS.
    """
    at = centres(grid, stride)[..., None, :]
    low, high = boxes[None, None, :, :2], boxes[None, None, :, 2:]
    own = jnp.floor((low + high) / 2 / stride) == jnp.floor(at / stride)
    candidate = jnp.all(own, axis=-1)
    if assign == "inside":
        candidate |= jnp.all((at > low) & (at < high), axis=-1)
    size = jnp.where(candidate & present[None, None], area(boxes)[None, None], jnp.inf)
    owner = jnp.argmin(size, axis=-1).astype(jnp.int32)
    return jnp.where(jnp.isfinite(jnp.min(size, axis=-1)), owner, -1)


def suppress(
    boxes: Float[Array, "found 4"], classes: Int[Array, " found"], threshold: float | jax.Array
) -> Bool[Array, " found"]:
    """Which boxes stay: not those that overlap one of their class that stays and scores higher.

    Greedy non-maximum suppression.

    Args:
        boxes: the highest score first.
        classes: of their objects.
        threshold: an IoU above it is too much.
    """
    same = classes[:, None] == classes[None]
    alike = same & (pairwise_iou(boxes, boxes) > threshold)
    later = jnp.arange(len(boxes))

    def look(i: jax.Array, kept: jax.Array) -> jax.Array:
        return kept & ~(alike[i] & (later > i) & kept[i][None])

    return jax.lax.fori_loop(0, len(boxes), look, jnp.ones(len(boxes), bool))
