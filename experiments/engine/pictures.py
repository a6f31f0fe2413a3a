"""Pictures in the study folder: what they show, and the numbers behind them."""

import io
import pathlib
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.engine import drawing
from experiments.engine.drawing import Pixels

SHORT_SIDE = 160
"""Pixels of the shorter side of a picture by `picture_of`, at least."""
STRIP = 16  # of a picture that is one row or column


class Picture(NamedTuple):
    """A picture and what it shows.

    Attributes:
        values: the numbers shown, in any shape.
        pixels: how they are shown, uint8 `[height, width, 3]`.
    """

    values: np.ndarray
    pixels: Pixels


def picture_of(values: np.ndarray) -> Picture:
    """One array as a picture, magnified by a whole number.

    Args:
        values: uint8 colours [height, width, 3], shown as they are; signed numbers of that shape:
            grey at zero, the largest absolute value full or no colour; signed numbers [height,
            width]: blue below zero, white at zero, red above; other channels [height, width,
            channels] so, side by side.
    """
    pixels = _pixels_of(np.asarray(values))
    sizes = pixels.shape[:2]
    factor = drawing.factor_to(SHORT_SIDE, sizes) if min(sizes) > 1 else STRIP
    return Picture(values, drawing.magnified(pixels, factor))


def _pixels_of(values: np.ndarray) -> Pixels:
    if values.ndim == 3 and values.dtype == np.uint8 and values.shape[2] == 3:
        return values
    values = values.astype(np.float64)
    if values.ndim == 3 and values.shape[2] == 3:
        return drawing.around_grey(values)
    if values.ndim == 3:
        values = np.concatenate(np.moveaxis(values, 2, 0), axis=1)
    return drawing.red_and_blue(values)


def files(pictures: Mapping[str, Picture]) -> dict[str, bytes]:
    """The contents of the files: each picture as `<name>.png`, all numbers as `arrays.npz`.

    Raises:
        TypeError, ValueError: something that cannot be written as a picture.
    """
    from PIL import Image

    contents = {}
    numbers = io.BytesIO()
    with zipfile.ZipFile(numbers, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, picture in pictures.items():
            check(picture)
            pixels, array = io.BytesIO(), io.BytesIO()
            Image.fromarray(picture.pixels).save(pixels, "PNG")
            np.save(array, np.asarray(picture.values), allow_pickle=False)
            contents[f"{name.replace('/', '_')}.png"] = pixels.getvalue()
            archive.writestr(f"{name}.npy", array.getvalue())
    return {"arrays.npz": numbers.getvalue(), **contents}


def check(picture: Picture) -> None:
    """Raises `TypeError` for what cannot be written as a picture."""
    pixels = picture.pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise TypeError(
            f"pixels are uint8 [height, width, 3], here {pixels.dtype} {list(pixels.shape)}"
        )
    if np.asarray(picture.values).dtype.kind not in "biuf":
        raise TypeError(f"values are numbers, here {np.asarray(picture.values).dtype}")


def write(folder: pathlib.Path, contents: Mapping[str, bytes]) -> None:
    """Writes `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
