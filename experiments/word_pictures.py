"""Words in the plane: the two directions in which their vectors differ most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from experiments.engine.experiment import Data, Tree
from experiments.engine.pictures import Picture

SIDE, MARGIN = 720, 60
"""Pixels of the picture, and of its edge."""


def project(vectors: np.ndarray) -> np.ndarray:
    """The first two principal components of vectors [n, D], float64 [n, 2], by an SVD.

    The largest coordinate of each direction counts as positive, which fixes the signs.
    """
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[:2].T
    largest = np.take_along_axis(flat, np.abs(flat).argmax(0)[None], axis=0)
    return flat * np.where(largest < 0, -1, 1)


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """`words`: those that the config names, projected from their vectors at length 1."""
    del net, model_state
    names = config.data.pictured
    if not names:
        return {}
    vectors = np.asarray(params["input"])[data.own["pictured"]]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    flat = project(unit)
    return {"words": Picture(flat, _drawn(flat, names))}


def _drawn(flat: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Names at their places on white."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw, extent = ImageDraw.Draw(image), np.maximum(np.ptp(flat, axis=0), 1e-30)
    places = MARGIN + (flat - flat.min(0)) / extent * (SIDE - 2 * MARGIN)
    for (x, y), name in zip(places, names, strict=True):
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill="#1f77b4")
        draw.text((x + 4, y - 6), name.encode("latin-1", "replace").decode("latin-1"), fill="black")
    return np.array(image)
