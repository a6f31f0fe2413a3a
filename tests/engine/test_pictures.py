"""Arrays as images: which colours stand for which numbers."""

import numpy as np
import pytest
from PIL import Image

from experiments.engine.pictures import pixels_of, write


def test_signed_numbers_are_blue_white_and_red():
    found = pixels_of(np.array([[-2.0, 0.0, 2.0, 1.0]]))
    expected = [[[0, 0, 255], [255, 255, 255], [255, 0, 0], [255, 128, 128]]]
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert pixels_of(np.zeros((2, 2))).min() == 255


def test_signed_colours_are_grey_at_zero():
    found = pixels_of(np.array([[[0.0, 0.5, -0.25], [0.0, 0.0, 0.5]]], np.float32))
    assert found.tolist() == [[[128, 255, 64], [128, 128, 255]]]


def test_colours_stay_and_other_channels_stand_side_by_side():
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(pixels_of(colours), colours)
    two = np.random.default_rng(0).normal(size=(3, 4, 2))
    np.testing.assert_array_equal(pixels_of(two), pixels_of(np.c_[two[..., 0], two[..., 1]]))


@pytest.mark.parametrize("shape", [(8, 8), (1, 40), (5, 4, 3), (5, 4, 1), (5, 4, 2)])
def test_every_shape_is_written(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    write(tmp_path, {"a/b": values})
    with Image.open(tmp_path / "a_b.png") as image:
        factor = image.height // shape[0]
        expected = pixels_of(values).repeat(factor, 0).repeat(factor, 1)
        np.testing.assert_array_equal(np.asarray(image), expected)
    with np.load(tmp_path / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["a/b"], values)
