"""Scenes: images of a data set laid out on a larger, black one, and the boxes around them.

Where things lie is drawn anew for every scene; the scene is then a few matrix products, so scenes
are made on the device inside the step.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import images
from experiments.data import preprocess, split
from experiments.data.dataset import Spec
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from experiments.engine.keys import permutation
from nets.draws import random_array

Tree = Any


@dataclasses.dataclass(frozen=True)
class Scenes:
    """What scenes are made of.

    Attributes:
        dataset: name of the data set; `list` shows them all.
        data_file: .npz file of arrays, with `--dataset file`.
        canvas: height and width of a scene, in those of an image.
        objects: most images in a scene, which are to be found; it has 1 to so many.
        clutter: pieces of other images in a scene, which are not.
        max_scale: images are magnified by 1 to this factor.
        validation: fraction of the training images held out for validation; 0 trains on all of
            them, and then nothing can be tuned.
        train_size: train on this many images; none: on all that validation leaves.
    """

    dataset: str = "digits"
    data_file: str = ""
    canvas: int = 4
    objects: int = 4
    clutter: int = 4
    max_scale: float = 1.5
    validation: Static[float] = 0.1
    train_size: int | None = None

    def things(self) -> int:
        """Images that take part in a scene."""
        return self.objects + self.clutter

    def places(self) -> int:
        """Places of a scene, along each of its axes; a thing has one of its own."""
        return self.canvas - 1


def check(scenes: Scenes, spec: Spec) -> None:
    """Refuses scenes that cannot be. Raises `UsageError`."""
    if not 2 <= scenes.canvas <= 64:
        raise UsageError(f"--canvas {scenes.canvas}: from 2 to 64")
    if scenes.objects < 1:
        raise UsageError(f"--objects {scenes.objects}: at least 1")
    if scenes.clutter < 0:
        raise UsageError(f"--clutter {scenes.clutter}: must not be negative")
    if scenes.things() > scenes.places() ** 2:
        raise UsageError(
            f"--objects {scenes.objects} --clutter {scenes.clutter}: together at most "
            f"{scenes.places() ** 2}, (canvas - 1) squared, with --canvas {scenes.canvas}"
        )
    if not 1 <= scenes.max_scale <= scenes.canvas:
        raise UsageError(f"--max-scale {scenes.max_scale:g}: from 1 to the canvas")
    split.check(images.rows(scenes), spec)


def size(scenes: Scenes, spec: Spec) -> tuple[int, int, int]:
    """Height, width and channels of a scene."""
    height, width = spec.shape[:2]
    return height * scenes.canvas, width * scenes.canvas, (*spec.shape, 1)[2]


def mixed(key: jax.Array, rows: int, things: int) -> jax.Array:
    """Which images take part in so many scenes, int32 [rows, things]: each once as every thing."""
    keys = [jax.random.fold_in(key, thing) for thing in range(things)]
    return jnp.stack([permutation(each, rows) for each in keys], axis=-1)


class Layout(NamedTuple):
    """Where the things of scenes lie, the objects first.

    Attributes:
        shown: which of them are there, bool [scenes, things].
        centre: of each image, x and y in pixels, [scenes, things, 2].
        scale: its magnification, [scenes, things].
        piece: the left upper corner of the piece that clutter is, a share of what can be cut
            away, x and y, [scenes, things, 2].
    """

    shown: jax.Array
    centre: jax.Array
    scale: jax.Array
    piece: jax.Array


def layouts(scenes: Any, key: jax.Array, count: int, image: tuple[int, ...]) -> Layout:
    """So many scenes. Things lie about places of their own, wholly inside the scene.

    Args:
        image: height and width of an image.
    """
    places, things = scenes.places(), scenes.things()

    def draws(stream: int, *shape: int) -> jax.Array:
        own = jax.random.fold_in(key, stream)
        return random_array(jax.random.uniform, own, (count, *shape))

    number = 1 + jnp.floor(draws(0, 1) * scenes.objects)
    order = jnp.arange(things)[None]
    shown = (order < number) | (order >= scenes.objects)
    chosen = jnp.argsort(draws(1, places**2), axis=-1)[:, :things]
    place = jnp.stack([chosen % places, chosen // places], axis=-1)
    jitter = (draws(2, things, 2) - 0.5) / 2
    sides = jnp.array(image[::-1], jnp.float32)[None, None]
    centre = (place + 0.5 + jitter) * (sides * scenes.canvas / places)
    scale = scenes.max_scale ** draws(3, things)
    half = scale[..., None] * sides / 2
    centre = jnp.clip(centre, half, sides * scenes.canvas - half)
    return Layout(shown, centre, scale, draws(4, things, 2))


def compose(
    scenes: Any, stats: Tree, examples: jax.Array, labels: jax.Array, layout: Layout
) -> dict[str, jax.Array]:
    """Scenes and their objects.

    Where things meet, the brighter one is seen. Images are interpolated linearly. A box is the
    smallest around all that is not black.

    Args:
        stats: of the replica's preprocessing, which leaves values from 0 to 1.
        examples: images as in the data set, [scenes, things, *shape].
        labels: of the objects, [scenes, objects].

    Returns:
        "x" [scenes, height, width, channels], "boxes" (nets.boxes) [scenes, objects, 4], "labels"
        and "present" [scenes, objects].
    """
    flat = examples.reshape(-1, *examples.shape[2:])
    values = preprocess.apply(stats, flat).reshape(examples.shape)
    values = values if values.ndim == 5 else values[..., None]
    image, objects = values.shape[2:4], scenes.objects
    shown = layout.shown & jnp.any(values > 0, axis=(2, 3, 4))
    sides = jnp.array(image[::-1], jnp.float32)[None, None]
    corner = layout.centre - layout.scale[..., None] * sides / 2
    across, down = (
        _weights(scenes, corner[..., i], layout.scale, image[1 - i], layout.piece[..., i])
        for i in range(2)
    )
    across = across * shown[..., None, None]
    drawn = jnp.einsum("stYy,styxc,stXx->stYXc", down, values, across, precision="highest")
    ink = jnp.any(values[:, :objects] > 0, axis=-1)
    (left, right), (top, bottom) = (_extent(jnp.any(ink, axis=axis)) for axis in (2, 3))
    edges = jnp.stack([left, top, right, bottom], axis=-1)
    start = jnp.tile(corner[:, :objects], 2)
    boxes, present = start + layout.scale[:, :objects, None] * edges, shown[:, :objects]
    return {"x": jnp.max(drawn, axis=1), "boxes": boxes, "labels": labels, "present": present}


def _weights(
    scenes: Any, corner: jax.Array, scale: jax.Array, side: int, piece: jax.Array
) -> jax.Array:
    """How much of each pixel of an image each pixel of its scene has, along one axis, [scenes,
    things, scene, image]."""
    pixels = jnp.arange(side * scenes.canvas)[None, None] + 0.5
    source = (pixels - corner[..., None]) / scale[..., None] - 0.5
    own = jnp.arange(side)[None, None]
    weights = jnp.maximum(1 - jnp.abs(source[..., None] - own[..., None, :]), 0)
    kept = side // 2  # of clutter
    first = jnp.floor(piece * (side - kept + 1))[..., None]
    whole = jnp.arange(scale.shape[-1])[None, :, None] < scenes.objects
    seen = whole | ((own >= first) & (own < first + kept))
    return weights * seen[..., None, :]


def _extent(ink: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first of a line's true values, and the place after the last."""
    return jnp.argmax(ink, axis=-1), ink.shape[-1] - jnp.argmax(ink[..., ::-1], axis=-1)
