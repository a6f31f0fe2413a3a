"""Average precision against loops, and against COCO's own code where that is installed."""

import contextlib
import functools
import importlib
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.precision import LEVELS, THRESHOLDS, average_precision, matches
from tests.nets import coco as loops

CLASSES, IMAGES, FOUND, OBJECTS = 4, 40, 9, 3


def made_up(seed):
    """Objects of three of four classes, and boxes near to and far from them."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 40, (IMAGES, OBJECTS, 2))
    truth = np.concatenate([corner, corner + random.uniform(8, 20, corner.shape)], axis=-1)
    labels = random.integers(0, CLASSES - 1, (IMAGES, OBJECTS))
    present = np.arange(OBJECTS) < random.integers(1, OBJECTS + 1, (IMAGES, 1))
    near = random.integers(0, OBJECTS, (IMAGES, FOUND))
    rows = np.arange(IMAGES)[:, None]
    boxes = truth[rows, near] + random.normal(size=(IMAGES, FOUND, 4)) * 1.5
    guess = random.integers(0, CLASSES, (IMAGES, FOUND))
    classes = np.where(random.random((IMAGES, FOUND)) < 0.8, labels[rows, near], guess)
    scores = -np.sort(-random.random((IMAGES, FOUND)))
    valid = random.random((IMAGES, FOUND)) < 0.8
    return truth, labels, present, boxes, classes, scores, valid


def measured(truth, labels, present, boxes, classes, scores, valid):
    """Average precision by the functions under test, [classes, thresholds]."""

    def of_image(*arrays: Any) -> Any:
        return jax.vmap(functools.partial(matches, *arrays))(jnp.array(THRESHOLDS))

    @jax.jit
    def whole(truth, labels, present, boxes, classes, scores, valid):
        right = jax.vmap(of_image)(boxes, classes, valid, truth, labels, present)
        flat = jnp.moveaxis(right, 1, 0).reshape(len(THRESHOLDS), -1)
        objects = jnp.zeros(CLASSES, jnp.int32).at[labels].add(present.astype(jnp.int32))
        return average_precision(
            jnp.ravel(scores), flat, jnp.ravel(classes), jnp.ravel(valid), objects
        )

    return np.asarray(
        whole(
            jnp.asarray(truth, jnp.float32), jnp.asarray(labels, jnp.int32), present,
            jnp.asarray(boxes, jnp.float32), jnp.asarray(classes, jnp.int32),
            jnp.asarray(scores, jnp.float32), valid,
        )
    )  # fmt: skip


def images_of(truth, labels, present, boxes, classes, scores, valid):
    """The same as lists, for the loops."""
    found = [
        [(b, k, s) for b, k, s, v in zip(*each, strict=True) if v]
        for each in zip(boxes, classes, scores, valid, strict=True)
    ]
    objects = [
        [(t, k) for t, k, p in zip(*each, strict=True) if p]
        for each in zip(truth, labels, present, strict=True)
    ]
    return list(zip(found, objects, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_precision_is_that_of_loops(seed):
    arrays = made_up(seed)
    found = measured(*arrays)
    want = [
        [loops.precision(images_of(*arrays), kind, t) for t in THRESHOLDS]
        for kind in range(CLASSES)
    ]
    np.testing.assert_allclose(found, np.array(want), rtol=1e-5)
    assert np.isnan(found[-1]).all()
    assert 0.05 < np.nanmean(found) < 0.95


def test_precision_is_that_of_cocos_own_code():
    pytest.importorskip("pycocotools", reason="pycocotools is not in the lock")
    coco, cocoeval = (importlib.import_module(f"pycocotools.{n}") for n in ("coco", "cocoeval"))
    truth, labels, present, boxes, classes, scores, valid = arrays = made_up(44)
    # 27, 19 and 33 objects: no level of recall is met exactly, where COCO's rounding decides

    def sides(box):
        return [*map(float, box[:2]), float(box[2] - box[0]), float(box[3] - box[1])]

    objects = [
        {"image_id": i, "category_id": int(labels[i, j]), "bbox": sides(truth[i, j]),
         "area": sides(truth[i, j])[2] * sides(truth[i, j])[3], "iscrowd": 0}
        for i, j in np.argwhere(present)
    ]  # fmt: skip
    found = [
        {"image_id": i, "category_id": int(classes[i, j]), "bbox": sides(boxes[i, j]),
         "score": float(scores[i, j])}
        for i, j in np.argwhere(valid)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(IMAGES)],
            "categories": [{"id": k} for k in range(CLASSES)],
            "annotations": [each | {"id": n} for n, each in enumerate(objects, start=1)],
        }
        data.createIndex()
        judge = cocoeval.COCOeval(data, data.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, -1]  # [thresholds, levels, classes]
    want = np.where(precision > -1, precision, np.nan).mean(axis=1).T
    np.testing.assert_allclose(measured(*arrays), want, atol=1e-6)


def test_an_object_is_found_once_and_the_better_one_of_two_is_taken():
    truth = jnp.array([[0.0, 0, 10, 10], [2, 0, 12, 10]])
    boxes = jnp.array([[1.5, 0, 11.5, 10], [1.5, 0, 11.5, 10], [1.5, 0, 11.5, 10]])
    every = jnp.ones(3, bool)
    labels = jnp.zeros(2, jnp.int32)

    def found(valid, present, threshold):
        return matches(
            boxes, jnp.zeros(3, jnp.int32), valid, truth, labels, present, threshold
        ).tolist()

    both = jnp.ones(2, bool)
    assert found(every, both, 0.7) == [True, True, False]
    assert found(every, both, 0.8) == [True, False, False]  # 8.5 of 11.5: 0.74 with the first
    assert found(every, jnp.array([True, False]), 0.7) == [True, False, False]
    assert found(jnp.array([False, True, True]), both, 0.8) == [False, True, False]


def test_precision_by_hand():
    """Two of three objects found, with a wrong box between: 1 up to a third, then 2/3 up to two."""
    right = jnp.array([[True, False, True]])
    zero = jnp.zeros(3, jnp.int32)
    found = average_precision(
        jnp.array([0.9, 0.8, 0.7]), right, zero, jnp.ones(3, bool), jnp.array([3])
    )
    first = 34  # levels 0 to 0.33
    second = 33  # 0.34 to 0.66
    assert found[0, 0] == pytest.approx((first + second * 2 / 3) / LEVELS, rel=1e-6)
