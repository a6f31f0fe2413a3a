"""Numbers as pixels, by hand."""

import numpy as np
import pytest

from experiments.engine import drawing


def test_greys_stand_for_the_share_of_the_limit():
    values = np.array([[-2.0, 0.0, 1.0, np.nan]])
    assert drawing.around_grey(values)[0, :, 1].tolist() == [0, 128, 191, 128]
    assert drawing.around_grey(values, 4.0)[0, :, 1].tolist() == [64, 128, 159, 128]
    assert drawing.from_black(values, 2.0)[0, :, 2].tolist() == [0, 0, 128, 0]
    assert drawing.from_black(np.zeros((1, 2))).max() == 0


def test_bars_stand_on_zero():
    """Four rows for -1 to 1 have their middles at 0.75, 0.25, -0.25 and -0.75."""
    pixels = drawing.bars(np.array([0.5, -1.0, 0.0]), -1.0, 1.0, (4, 2))
    paper, line = (drawing.PAPER,) * 3, (drawing.LINE,) * 3
    columns = [
        [paper, drawing.RED, line, paper],
        [paper, paper, drawing.BLUE, drawing.BLUE],
        [paper, paper, line, paper],
    ]
    expected = np.array(columns).swapaxes(0, 1).repeat(2, 1)
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(drawing.bars(np.zeros(2), 0.0, 0.0, (3, 1))[0], [line, line])


def test_a_sheet_holds_its_tiles_in_rows():
    tiles = [np.full((3, 5, 3), shade, np.uint8) for shade in range(5)]
    sheet = drawing.sheet(tiles, 2)
    assert sheet.shape == (3 * 3 + 2 * drawing.GAP, 2 * 5 + drawing.GAP, 3)
    row, column = 3 + drawing.GAP, 5 + drawing.GAP
    for number in range(5):
        top, left = number // 2 * row, number % 2 * column
        assert (sheet[top : top + 3, left : left + 5] == number).all()
    assert (sheet[3:row] == drawing.PAPER).all() and (sheet[2 * row :, column:] == 255).all()


@pytest.mark.parametrize(("tiles", "columns"), [(1, 1), (2, 2), (32, 8), (64, 8), (7, 4), (25, 5)])
def test_a_sheet_is_about_square_and_full(tiles, columns):
    width = drawing.sheet([np.zeros((6, 6, 3), np.uint8)] * tiles).shape[1]
    assert (width + drawing.GAP) / (6 + drawing.GAP) == columns


def test_a_frame_lies_inside_its_box_and_is_cut_at_the_edge():
    black = np.zeros((9, 9, 3), np.uint8)
    drawn = drawing.framed(black, [(1, 7), (-3, 5)], thickness=2)[..., 0] > 0
    expected = np.zeros((9, 9), bool)
    expected[1:7, :5] = True
    expected[3:5, :3] = False
    np.testing.assert_array_equal(drawn, expected)
    assert black.max() == 0
    blue = drawing.framed(black, [(1, 7), (-3, 5)], colour=drawing.BLUE)
    assert {*map(tuple, blue[expected].tolist())} == {drawing.BLUE}


def test_pictures_are_joined_below_or_beside_each_other():
    small, large = np.zeros((2, 3, 3), np.uint8), np.ones((4, 5, 3), np.uint8)
    below, beside = (drawing.joined([small, large], axis) for axis in (0, 1))
    assert below.shape == (2 + 3 * drawing.GAP + 4, 5, 3)
    assert beside.shape == (4, 3 + 3 * drawing.GAP + 5, 3)
    assert (below[-4:] == 1).all() and (beside[:, -5:] == 1).all() and (beside[2:, :3] == 255).all()
