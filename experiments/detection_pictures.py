"""Scenes, what is in them and what a net finds, as a picture."""

from collections.abc import Mapping

import jax
import numpy as np

from experiments.engine import drawing
from experiments.engine.drawing import Pixels
from experiments.engine.pictures import SHORT_SIDE, Picture
from experiments.found_objects import Found

SHOWN = 6
"""Scenes in the picture."""
SURE = 0.5
"""Least score of a box that is drawn."""


def scene_picture(batch: Mapping[str, jax.Array], found: Found, right: jax.Array) -> Picture:
    """A line for each scene: on the left its objects, in yellow, on the right the boxes found,
    blue where class and place are right (an IoU of at least 0.5), red where not.

    Args:
        batch: of `scenes.compose`.
        found, right: of `found_objects.judged`. The picture's numbers are the boxes found: box,
            class, score, whether it stays and whether it is right, [scenes, found, 8].
    """
    truth_boxes, present = np.asarray(batch["boxes"]), np.asarray(batch["present"])
    boxes, classes, scores, valid = map(np.asarray, found)
    good = np.asarray(right)[:, 0]
    lines = []
    for i, scene in enumerate(np.asarray(batch["x"])):
        plain = drawing.from_black(scene[..., 0] if scene.shape[-1] == 1 else scene, 1.0)
        factor = drawing.factor_to(SHORT_SIDE, plain.shape[:2])
        large = truth = drawing.magnified(plain, factor)
        for box in truth_boxes[i][present[i]]:
            truth = _boxed(truth, box, factor, drawing.YELLOW)
        drawn = valid[i] & (scores[i] >= SURE)
        for box, hit in zip(boxes[i][drawn], good[i][drawn], strict=True):
            large = _boxed(large, box, factor, drawing.BLUE if hit else drawing.RED)
        lines.append(drawing.joined([truth, large], axis=1))
    columns = np.stack([classes, scores, valid, good], axis=-1)
    values = np.concatenate([boxes, columns], axis=-1)
    return Picture(values, drawing.joined(lines, axis=0))


def _boxed(pixels: Pixels, box: np.ndarray, factor: int, colour: drawing.Colour) -> Pixels:
    left, top, right, bottom = (round(float(edge) * factor) for edge in box)
    return drawing.framed(pixels, ((top, bottom), (left, right)), 2, colour)
