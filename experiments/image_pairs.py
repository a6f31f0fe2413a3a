"""Images made smaller, what they were, and how near to that something comes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from experiments import images as image_sets
from experiments.data import preprocess, split
from experiments.data.dataset import Spec
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from nets.upscaling import bicubic, luma, psnr

Tree = Any


@dataclasses.dataclass(frozen=True)
class Images:
    """Which images are made small and large again.

    Attributes:
        dataset: name of the data set; `list` shows them all. Of colour images the luma.
        data_file: .npz file of arrays, with `--dataset file`.
        factor: how many times smaller the net's inputs are, in height and width.
        validation: fraction of the training images held out for validation; 0 trains on all of
            them, and then nothing can be tuned.
        train_size: train on this many images; none: on all that validation leaves.
    """

    dataset: str = "digits"
    data_file: str = ""
    factor: int = 2
    validation: Static[float] = 0.1
    train_size: int | None = None


def check(images: Images, spec: Spec) -> None:
    """Refuses images that cannot be made smaller. Raises `UsageError`."""
    most = min(spec.shape[:2]) // 3  # a border as wide as the factor does not count
    size = "x".join(map(str, spec.shape[:2]))
    if most < 2:
        raise UsageError(
            f"--dataset {images.dataset}: images of {size} are too small: 6x6 at least"
        )
    if not 2 <= images.factor <= most:
        raise UsageError(f"--factor {images.factor}: from 2 to {most} with images of {size}")
    split.check(image_sets.rows(images), spec)


def small_size(images: Images, spec: Spec) -> tuple[int, int]:
    """Height and width of the net's inputs: of what is left of an image that the factor divides."""
    height, width = spec.shape[:2]
    return height // images.factor, width // images.factor


def pairs(images: Images, stats: Tree, examples: jax.Array) -> dict[str, jax.Array]:
    """{"x": small images [B, h, w, 1], "y": what they were made of by `bicubic`, [B, H, W, 1]}.

    Args:
        stats: of the replica's preprocessing, which leaves values from 0 to 1.
        examples: as in the data set, [B, *shape].
    """
    factor = images.factor
    values = preprocess.apply(stats, examples)
    bright = luma(values if values.ndim == 4 else values[..., None])
    height, width = (side // factor for side in bright.shape[1:])
    large = bright[:, : height * factor, : width * factor, None]
    return {"x": bicubic(large, height, width), "y": large}


def scores(images: Images, found: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """Squared error and PSNR of each image, [B] each; as published, the PSNR is without a border
    as wide as the factor."""
    error = jnp.mean(jnp.square(found - truth), axis=(1, 2, 3))
    return {"loss": error, "psnr": psnr(found, truth, images.factor)}
