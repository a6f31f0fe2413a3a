"""Arrays as images: what an experiment's `pictures` made, written into the study folder."""

import pathlib
from collections.abc import Mapping

import numpy as np

SHORT_SIDE = 160
"""Pixels of the shorter side of a written image, at least; whole-number enlargement."""


def colour(values: np.ndarray) -> np.ndarray:
    """Signed numbers [height, width] as colours [height, width, 3], uint8.

    Blue below zero, white at zero, red above; the largest absolute value is fully coloured.
    """
    scaled = values / max(float(np.abs(values).max()), 1e-30)
    red = np.clip(1 + scaled, 0, 1)
    blue = np.clip(1 - scaled, 0, 1)
    green = np.minimum(red, blue)
    return np.round(255 * np.stack([red, green, blue], axis=-1)).astype(np.uint8)


def write(folder: pathlib.Path, images: Mapping[str, np.ndarray]) -> None:
    """Writes each array as `<name>.png`, and all of them as `arrays.npz`.

    Args:
        images: name -> [height, width] signed numbers, or [height, width, 3] uint8 colours.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "arrays.npz", allow_pickle=False, **images)
    for name, values in images.items():
        pixels = values if values.ndim == 3 else colour(np.asarray(values, np.float64))
        height, width = pixels.shape[:2]
        factor = -(-SHORT_SIDE // max(min(height, width), 1)) if min(height, width) > 1 else 16
        picture = Image.fromarray(pixels)
        picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
        picture.save(folder / f"{name.replace('/', '_')}.png")
