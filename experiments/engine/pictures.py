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


def pixels_of(values: np.ndarray) -> np.ndarray:
    """What is shown of an array: [height, width, 3], uint8.

    Args:
        values: uint8 colours [height, width, 3], shown as they are; signed numbers of that shape:
            grey at zero, the largest absolute value full or no colour; signed numbers [height,
            width] as `colour`; other channels [height, width, channels] so, side by side.
    """
    if values.dtype == np.uint8 and values.ndim == 3:
        return values
    values = np.asarray(values, np.float64)
    if values.ndim == 3 and values.shape[2] == 3:
        scaled = values / max(float(np.abs(values).max()), 1e-30)
        return np.round(127.5 * (1 + scaled)).astype(np.uint8)
    if values.ndim == 3:
        values = np.concatenate(np.moveaxis(values, 2, 0), axis=1)
    return colour(values)


def write(folder: pathlib.Path, images: Mapping[str, np.ndarray]) -> None:
    """Writes each array as `<name>.png`, and all of them as `arrays.npz`.

    Args:
        images: name -> what `pixels_of` takes.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "arrays.npz", allow_pickle=False, **images)
    for name, values in images.items():
        pixels = pixels_of(values)
        height, width = pixels.shape[:2]
        factor = -(-SHORT_SIDE // max(min(height, width), 1)) if min(height, width) > 1 else 16
        picture = Image.fromarray(pixels)
        picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
        picture.save(folder / f"{name.replace('/', '_')}.png")
