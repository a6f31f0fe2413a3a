"""What a search among a net's features finds, as a picture."""

import numpy as np

from experiments.engine import drawing
from experiments.engine.pictures import Picture
from experiments.window_pictures import example_pixels

FRAME = 3  # pixels


def retrieval_picture(asked: np.ndarray, found: np.ndarray, right: np.ndarray) -> Picture:
    """A line for each example that asks: it, and apart from it its answers; in a yellow frame those
    of another class.

    Args:
        asked: the examples, `[queries, *axes, channels]` of one axis or two.
        found: their answers, the nearest first, `[queries, answers, *axes, channels]`.
        right: whether an answer is of the same class, `[queries, answers]`: the picture's numbers.
    """
    lines = []
    for example, answers, same in zip(asked, found, right, strict=True):
        tiles = [_framed(example_pixels(a), s) for a, s in zip(answers, same.tolist(), strict=True)]
        line = drawing.sheet(tiles, columns=len(tiles))
        lines.append(drawing.joined([example_pixels(example), line], axis=1))
    return Picture(right, drawing.joined(lines, axis=0))


def _framed(pixels: drawing.Pixels, right: bool) -> drawing.Pixels:
    height, width = pixels.shape[:2]
    return pixels if right else drawing.framed(pixels, ((0, height), (0, width)), FRAME)
