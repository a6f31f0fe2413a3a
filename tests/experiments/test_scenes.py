"""Scenes against loops over pixels, and what may be asked of them."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import scenes
from experiments.data.dataset import Spec
from experiments.engine.errors import UsageError
from experiments.engine.keys import new_key

SMALL = scenes.Scenes(canvas=4, objects=3, clutter=2, max_scale=1.5)


def layout_of(asked, count, image=(6, 5)):
    return jax.jit(lambda: scenes.layouts(asked, new_key(1), count, image))()


def on_host(layout):
    return types.SimpleNamespace(**{n: np.asarray(v) for n, v in layout._asdict().items()})


def test_things_lie_inside_about_places_of_their_own():
    asked = scenes.Scenes(canvas=4, objects=3, clutter=2, max_scale=2.0)
    found = on_host(layout_of(asked, 300))
    sides = np.array([5, 6])
    half = found.scale[..., None] * sides / 2
    assert (found.centre >= half - 1e-4).all()
    assert (found.centre <= 4 * sides - half + 1e-4).all()
    plain = layout_of(scenes.Scenes(canvas=4, objects=3, clutter=2, max_scale=1.0), 300)
    place = np.asarray(plain.centre) / (4 * sides / 3) - 0.5  # 3 x 3 places
    assert (np.abs(place - np.round(place)) <= 0.25 + 1e-5).all()
    numbers = np.round(place) @ [1, 3]
    assert all(len({*scene}) == 5 for scene in numbers.tolist())
    assert {*numbers.ravel().tolist()} == {*range(9)}


def test_scenes_have_one_to_so_many_objects_and_all_their_clutter():
    found = layout_of(SMALL, 600)
    shown = np.asarray(found.shown)
    counts = shown[:, :3].sum(1)
    assert shown[:, 3:].all() and shown[:, 0].all()
    assert all(150 < (counts == n).sum() < 250 for n in (1, 2, 3))
    assert (np.diff(shown[:, :3].astype(int), axis=1) <= 0).all()


def test_scales_are_as_often_below_as_above_their_geometric_mean():
    scale = np.asarray(layout_of(SMALL, 600).scale)
    assert scale.min() >= 1 and scale.max() <= 1.5
    assert np.median(scale) == pytest.approx(1.5**0.5, abs=0.02)


def test_every_image_takes_part_once_as_every_thing():
    found = np.asarray(scenes.mixed(new_key(0), 50, 3))
    np.testing.assert_array_equal(np.sort(found, axis=0), np.repeat(np.arange(50)[:, None], 3, 1))
    assert all((found[:, i] != found[:, j]).mean() > 0.8 for i, j in [(0, 1), (0, 2), (1, 2)])
    assert (found != np.asarray(scenes.mixed(new_key(1), 50, 3))).mean() > 0.8


def looped(asked, values, layout, scene):
    """A scene by a loop over its pixels and things, and the boxes around its objects."""
    height, width, channels = values.shape[2:]
    drawn = np.zeros((4 * height, 4 * width, channels))
    boxes = []
    for thing in range(asked.things()):
        scale, (x, y) = float(layout.scale[scene, thing]), layout.centre[scene, thing].astype(float)
        left, top = x - scale * width / 2, y - scale * height / 2
        image = values[scene, thing].copy()
        ink = np.argwhere(image.max(-1) > 0)
        if thing < asked.objects:
            (first, leftmost), (last, rightmost) = ink.min(0), ink.max(0) + 1
            rows, columns = (top + scale * first, top + scale * last), (leftmost, rightmost)
            sides = [left + scale * column for column in columns]
            boxes.append([sides[0], rows[0], sides[1], rows[1]])
        else:
            kept = np.zeros(image.shape)
            share = layout.piece[scene, thing]
            column = int(share[0] * (width - width // 2 + 1))
            row = int(share[1] * (height - height // 2 + 1))
            piece = slice(row, row + height // 2), slice(column, column + width // 2)
            kept[piece] = image[piece]
            image = kept
        if not layout.shown[scene, thing]:
            continue
        for row, column in np.ndindex(drawn.shape[:2]):
            at = (row + 0.5 - top) / scale - 0.5, (column + 0.5 - left) / scale - 0.5
            weights = [np.maximum(1 - np.abs(at[i] - np.arange(image.shape[i])), 0) for i in (0, 1)]
            seen = np.einsum("y,yxc,x->c", weights[0], image, weights[1])
            drawn[row, column] = np.maximum(drawn[row, column], seen)
    return drawn, np.array(boxes)


@pytest.mark.parametrize("kind", ["grey", "bytes"])
def test_scenes_and_boxes_are_those_of_loops(kind):
    random = np.random.default_rng(0)
    bytes_ = random.integers(0, 256, (2, 5, 6, 5, 3), dtype=np.uint8)
    bytes_ *= random.random((2, 5, 6, 5, 1)) < 0.2
    examples = bytes_ if kind == "bytes" else (bytes_[..., 0] / 255).astype(np.float32)
    layout = layout_of(SMALL, 2)
    labels = jnp.zeros((2, 3), jnp.int32)
    found = jax.jit(lambda x: scenes.compose(SMALL, {}, x, labels, layout))(examples)
    values = bytes_ / 255 if kind == "bytes" else examples.astype(float)[..., None]
    for scene in range(2):
        drawn, boxes = looped(SMALL, values, on_host(layout), scene)
        np.testing.assert_allclose(found["x"][scene], drawn, atol=1e-5)
        np.testing.assert_allclose(found["boxes"][scene], boxes, atol=1e-4)
    np.testing.assert_array_equal(found["present"], layout.shown[:, :3])
    np.testing.assert_array_equal(found["labels"], labels)


def test_an_image_without_anything_in_it_is_no_object():
    examples = jnp.zeros((2, 5, 6, 5)).at[0].set(1.0)
    layout = layout_of(SMALL, 2)
    labels = jnp.zeros((2, 3), jnp.int32)
    found = scenes.compose(SMALL, {}, examples, labels, layout)
    np.testing.assert_array_equal(found["present"][0], layout.shown[0, :3])
    assert not found["present"][1].any()


SPEC = Spec((6, 5), 3, train_rows=60)
REFUSED = {
    "canvas": ({"canvas": 1}, "--canvas 1: from 2 to 64"),
    "objects": ({"objects": 0}, "--objects 0: at least 1"),
    "clutter": ({"clutter": -1}, "--clutter -1: must not be negative"),
    "places": (
        {"objects": 6},
        "--objects 6 --clutter 4: together at most 9, (canvas - 1) squared, with --canvas 4",
    ),
    "smaller": ({"max_scale": 0.5}, "--max-scale 0.5: from 1 to the canvas"),
    "larger": ({"max_scale": 5.0}, "--max-scale 5: from 1 to the canvas"),
    "validation": ({"validation": 1.5}, "--validation 1.5: must be at least 0 and below 1"),
    "rows": ({"train_size": 70}, "--train-size 70: must be 1 to 54"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_scenes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UsageError) as told:
        scenes.check(scenes.Scenes(**changes), SPEC)
    assert str(told.value).startswith(message)
