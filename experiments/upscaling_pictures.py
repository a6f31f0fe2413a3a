"""What nets make of small images, as a picture."""

from collections.abc import Sequence

import numpy as np

from experiments.engine import drawing
from experiments.engine.pictures import SHORT_SIDE, Picture


def upscaling_picture(columns: Sequence[np.ndarray]) -> Picture:
    """A line for each image: that of the first column, as large as the others, and these.

    Args:
        columns: values from 0 to 1 (what lies outside is drawn black or white) of one channel,
            `[images, height, width, 1]`; the others are some whole number of times as high and wide
            as the first. The last but one is the picture's numbers.
    """
    size = columns[-1].shape[1]
    lines = []
    for images in zip(*columns, strict=True):
        tiles = [drawing.from_black(each[..., 0], 1.0) for each in images]
        factor = drawing.factor_to(SHORT_SIDE // 2, (size,))
        sized = [drawing.magnified(tile, factor * (size // len(tile))) for tile in tiles]
        lines.append(drawing.joined(sized, axis=1))
    return Picture(columns[-2], drawing.joined(lines, axis=0))
