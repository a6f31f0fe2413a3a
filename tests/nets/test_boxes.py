"""Boxes against loops over float64 numbers, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets import boxes as of_boxes
from tests.nets import coco


def made_up(count, seed=0):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 20, (count, 2))
    return np.concatenate([corner, corner + random.uniform(1, 15, (count, 2))], axis=-1)


def reference(a, b, kind):
    overlap = coco.overlap(a, b)
    left, top = min(a[0], b[0]), min(a[1], b[1])
    width, height = max(a[2], b[2]) - left, max(a[3], b[3]) - top
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    if kind == "giou":
        union = sum(areas) / (1 + overlap)
        return overlap - (width * height - union) / (width * height)
    if kind == "diou":
        apart = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in range(2)]
        return overlap - (apart[0] ** 2 + apart[1] ** 2) / (width**2 + height**2)
    return overlap


@pytest.mark.parametrize("kind", of_boxes.OVERLAPS)
def test_overlaps_are_those_of_loops(kind):
    first, second = made_up(30), made_up(25, 1)
    pairs = np.broadcast_arrays(first[:, None], second[None])
    found = of_boxes.OVERLAPS[kind](*(jnp.asarray(each, jnp.float32) for each in pairs))
    want = [[reference(a, b, kind) for b in second] for a in first]
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_overlaps_by_hand():
    one, beside = jnp.array([0.0, 0, 2, 2]), jnp.array([4.0, 0, 6, 2])
    assert of_boxes.iou(one, one) == pytest.approx(1)
    assert of_boxes.generalized_iou(one, one) == pytest.approx(1)
    assert of_boxes.distance_iou(one, one) == pytest.approx(1)
    assert of_boxes.iou(one, beside) == 0
    assert of_boxes.generalized_iou(one, beside) == pytest.approx(-1 / 3)  # 4 of 12 are empty
    assert of_boxes.distance_iou(one, beside) == pytest.approx(-16 / 40)
    assert of_boxes.area(jnp.array([3.0, 0, 2, 2])) == 0
    assert of_boxes.iou(one * 0, one * 0) == 0


@pytest.mark.parametrize("kind", ["giou", "diou"])
def test_boxes_apart_draw_each_other_near(kind):
    apart = jnp.array([4.0, 0, 6, 2])
    gradient = jax.grad(lambda box: of_boxes.OVERLAPS[kind](box, jnp.array([0.0, 0, 2, 2])))(apart)
    assert gradient[0] < 0  # the left edge has to move to the left
    assert of_boxes.iou(apart, jnp.array([0.0, 0, 2, 2])) == 0


def test_numbers_are_read_as_boxes_and_back():
    numbers = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    boxes = np.asarray(of_boxes.decode(jnp.asarray(numbers), 4))
    for n, row, column in np.ndindex(2, 3, 5):
        dx, dy, width, height = numbers[n, row, column].astype(float)
        x, y = 4 * (column + 0.5 + dx), 4 * (row + 0.5 + dy)
        half = 2 * np.exp(width), 2 * np.exp(height)
        want = [x - half[0], y - half[1], x + half[0], y + half[1]]
        np.testing.assert_allclose(boxes[n, row, column], want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_boxes.encode(jnp.asarray(boxes), 4), numbers, atol=1e-4)
    assert np.isfinite(of_boxes.decode(jnp.full((1, 1, 4), 1e4), 4)).all()


@pytest.mark.parametrize("assign", ["centre", "inside"])
def test_cells_answer_for_the_smallest_of_their_objects(assign):
    objects, present = made_up(12, 3), np.arange(12) % 4 > 0
    found = of_boxes.owners(
        jnp.asarray(objects, jnp.float32), jnp.asarray(present), (8, 9), 4, assign
    )
    want = np.full((8, 9), -1)
    for row, column in np.ndindex(8, 9):
        x, y, possible = 4 * column + 2, 4 * row + 2, []
        for i in np.flatnonzero(present):
            left, top, right, bottom = objects[i]
            own = ((left + right) // 8, (top + bottom) // 8) == (column, row)
            within = left < x < right and top < y < bottom
            if own or (within and assign == "inside"):
                possible.append(((right - left) * (bottom - top), i))
        if possible:
            want[row, column] = min(possible)[1]
    np.testing.assert_array_equal(found, want)
    answered = {*want.ravel().tolist()} - {-1}
    assert len(answered) > 5


def test_a_box_too_small_for_a_cells_centre_has_the_cell_it_lies_in():
    tiny = jnp.array([[4.2, 8.1, 4.9, 8.6]])
    for assign in ("centre", "inside"):
        found = of_boxes.owners(tiny, jnp.ones(1, bool), (4, 4), 4, assign)
        assert np.argwhere(np.asarray(found) == 0).tolist() == [[2, 1]]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_of_boxes_that_overlap_the_best_stays(threshold):
    random = np.random.default_rng(5)
    boxes = np.tile(made_up(10, 4), (4, 1)) + random.normal(size=(40, 4)) / 4
    classes = random.integers(0, 2, 40)
    kept = []
    for i, box in enumerate(boxes):
        rivals = [j for j in kept if classes[j] == classes[i]]
        if all(coco.overlap(box, boxes[j]) <= threshold for j in rivals):
            kept.append(i)
    found = of_boxes.suppress(jnp.asarray(boxes, jnp.float32), jnp.asarray(classes), threshold)
    assert np.flatnonzero(found).tolist() == kept
    assert (len(kept) < 40) == (threshold < 1.0)
