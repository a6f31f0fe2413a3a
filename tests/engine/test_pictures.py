"""Arrays as pictures in the study folder, and studies whose pictures fail."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from experiments.engine.log import finished, read_lines
from experiments.engine.pictures import Picture, check, files, picture_of, write
from experiments.engine.run import train_study
from experiments.engine.study import make_study
from tests.engine.probe import PROBE, SMALL


def test_signed_numbers_are_blue_white_and_red():
    values = np.array([[-2.0, 0.0, 2.0, 1.0]])
    found = picture_of(values)
    expected = np.array([[[0, 0, 255], [255, 255, 255], [255, 0, 0], [255, 128, 128]]])
    large = expected.repeat(16, 0).repeat(16, 1)
    assert np.abs(found.pixels.astype(int) - large).max() <= 1
    assert found.values is values
    assert picture_of(np.zeros((2, 2))).pixels.min() == 255


def test_signed_colours_are_grey_at_zero():
    values = np.array([[[0.0, 0.5, -0.25], [0.0, 0.0, 0.5]]] * 2, np.float32)
    found = picture_of(values).pixels[::80, ::80]
    assert found.tolist() == [[[128, 255, 64], [128, 128, 255]]] * 2


def test_colours_stay_and_other_channels_stand_side_by_side():
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(picture_of(colours).pixels[::80, ::80], colours)
    two = np.random.default_rng(0).normal(size=(3, 4, 2))
    beside = picture_of(np.c_[two[..., 0], two[..., 1]])
    np.testing.assert_array_equal(picture_of(two).pixels, beside.pixels)


@pytest.mark.parametrize("shape", [(8, 8), (1, 40), (5, 4, 3), (5, 4, 1), (5, 4, 2)])
def test_every_shape_is_written(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    picture = picture_of(values)
    write(tmp_path, files({"a/b": picture, "file": picture}))
    with Image.open(tmp_path / "a_b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture.pixels)
    with np.load(tmp_path / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["a/b"], values)
        np.testing.assert_array_equal(arrays["file"], values)


def test_what_is_no_picture_is_refused():
    """A user's script runs without a type checker: `_make` passes by that of the tests."""
    with pytest.raises(TypeError, match=r"pixels are uint8 .*, here uint8 \[2, 2\]"):
        check(Picture._make((np.zeros(3), np.zeros((2, 2), np.uint8))))
    with pytest.raises(TypeError, match=r"here uint8 \[0, 2, 3\]"):
        files({"empty": Picture(np.zeros(3), np.zeros((0, 2, 3), np.uint8))})
    with pytest.raises(TypeError, match="values are numbers, here object"):
        check(Picture._make((np.array([None]), np.zeros((2, 2, 3), np.uint8))))


@pytest.mark.slow
def test_a_study_goes_on_without_pictures_that_fail(tmp_path):
    def fails(config, net, params, model_state, data):
        raise ZeroDivisionError("first line\nsecond line")

    told = []
    study = make_study(dataclasses.replace(PROBE, pictures=fails), SMALL, seeds=2)
    train_study(study, tmp_path, echo=told.append)
    assert not (tmp_path / "pictures").exists()
    assert len(finished(read_lines(tmp_path))) == 2
    warnings = [text for text in told if "pictures" in text]
    assert warnings == ["warning: no pictures of cell 0: ZeroDivisionError: first line"]
