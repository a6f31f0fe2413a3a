"""Numbers as pixels: what colours stand for, sheets of tiles, bars, frames. Pure NumPy.

Pixels are uint8 `[height, width, 3]`. Values that are not finite are drawn as zero.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

Pixels = UInt8[np.ndarray, "_ _ 3"]
Colour = tuple[int, int, int]

GAP = 4  # pixels between tiles
PAPER, LINE, PADDING = 255, 150, 190
RED, BLUE, YELLOW = (200, 60, 50), (50, 90, 180), (255, 200, 0)


def largest(values: np.ndarray) -> float:
    """The largest finite absolute value; a tiny number if there is none but zero."""
    return max(float(np.max(np.abs(finite(values)), initial=0.0)), 1e-30)


def finite(values: np.ndarray) -> np.ndarray:
    """The values as float64, zero where they are not finite."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def red_and_blue(values: Float[np.ndarray, "_ _"]) -> Pixels:
    """Blue below zero, white at zero, red above; the largest absolute value is fully coloured."""
    scaled = finite(values) / largest(values)
    red = np.clip(1 + scaled, 0, 1)
    blue = np.clip(1 - scaled, 0, 1)
    green = np.minimum(red, blue)
    return np.round(255 * np.stack([red, green, blue], axis=-1)).astype(np.uint8)


def around_grey(values: np.ndarray, limit: float | None = None) -> Pixels:
    """Grey at zero, black at -limit, white at limit; with three channels each of them so.

    Args:
        values: `[height, width]` or `[height, width, 3]`.
        limit: by default the largest absolute value.
    """
    scaled = np.clip(finite(values) / (limit or largest(values)), -1, 1)
    return _three(np.round(127.5 * (1 + scaled)).astype(np.uint8))


def from_black(values: np.ndarray, limit: float | None = None) -> Pixels:
    """Black at zero and below, white at `limit`, by default the largest absolute value."""
    scaled = np.clip(finite(values) / (limit or largest(values)), 0, 1)
    return _three(np.round(255 * scaled).astype(np.uint8))


def _three(pixels: np.ndarray) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels


def magnified(pixels: Pixels, factor: int) -> Pixels:
    """Each pixel as a square of `factor` x `factor`."""
    return pixels.repeat(factor, 0).repeat(factor, 1)


def factor_to(side: int, sizes: Sequence[int]) -> int:
    """The whole number that brings the smallest of these sizes to `side` or more."""
    return max(1, -(-side // max(min(sizes), 1)))


def bars(values: Float[np.ndarray, " _"], low: float, high: float, size: tuple[int, int]) -> Pixels:
    """Numbers as bars from zero, red upwards and blue downwards.

    Args:
        values: from left to right.
        low: value at the lower edge, at most 0.
        high: value at the upper edge, at least 0.
        size: height of the tile, and width of a bar.
    """
    height, width = size
    middle = np.arange(height) + 0.5
    level = (high - middle / height * max(high - low, 1e-30))[:, None]
    numbers = finite(values)
    pixels = np.full((height, len(numbers), 3), PAPER, np.uint8)
    zero = min(int(high / max(high - low, 1e-30) * height), height - 1)
    pixels[zero] = LINE
    pixels[(level > 0) & (level <= numbers)] = RED
    pixels[(level < 0) & (level >= numbers)] = BLUE
    return pixels.repeat(width, 1)


def sheet(tiles: Sequence[Pixels], columns: int | None = None) -> Pixels:
    """Equal tiles row by row, on white; by default about as wide as it is high, with few gaps."""
    height, width = tiles[0].shape[:2]
    if columns is None:
        columns = _columns(len(tiles), (height + GAP) / (width + GAP))
    rows = -(-len(tiles) // columns)
    whole = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    pixels = np.full(whole, PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        pixels[top : top + height, left : left + width] = tile
    return pixels


def _columns(tiles: int, shape: float) -> int:
    """Columns of a sheet of tiles of that height over width: near a square, with fewest gaps."""
    square = (tiles * shape) ** 0.5
    first = min(max(1, math.ceil(square)), tiles)
    near = range(first, max(first, min(round(1.5 * square), tiles)) + 1)
    return min(near, key=lambda columns: -tiles % columns)


def joined(parts: Sequence[Pixels], axis: int) -> Pixels:
    """Pictures below each other (axis 0) or side by side (axis 1), on white."""
    other = max(part.shape[1 - axis] for part in parts)
    padded = []
    for part in parts:
        room = [(0, 0), (0, 0), (0, 0)]
        room[axis], room[1 - axis] = (0, 3 * GAP), (0, other - part.shape[1 - axis])
        padded.append(np.pad(part, room, constant_values=PAPER))
    whole = np.concatenate(padded, axis=axis)
    return whole[: -3 * GAP] if axis == 0 else whole[:, : -3 * GAP]


def framed(
    pixels: Pixels, box: Sequence[tuple[int, int]], thickness: int = 2, colour: Colour = YELLOW
) -> Pixels:
    """A frame inside a box of pixels; what lies outside the picture is not drawn.

    Args:
        box: first row and the one after the last, first column and the one after the last.
    """
    rows, columns = (
        np.arange(size) - first for size, (first, _) in zip(pixels.shape, box, strict=False)
    )
    height, width = (last - first for first, last in box)
    inside = _between(rows, 0, height)[:, None] & _between(columns, 0, width)
    core = (
        _between(rows, thickness, height - thickness)[:, None]
        & _between(columns, thickness, width - thickness)
    )  # fmt: skip
    drawn = pixels.copy()
    drawn[inside & ~core] = colour
    return drawn


def _between(places: np.ndarray, first: int, last: int) -> np.ndarray:
    return (places >= first) & (places < last)


def edged(pixels: Pixels) -> Pixels:
    """The picture with a thin grey edge around it."""
    return np.pad(pixels, ((1, 1), (1, 1), (0, 0)), constant_values=LINE)
