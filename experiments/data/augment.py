"""Augmentation: preprocessed training inputs changed at random, afresh for every batch.

Inputs are images [B, H, W, C] or [B, H, W] with two axes of positions, or sequences [B, L] or
[B, L, C] with one; every function is told how many (`axes`) by the shapes it is given or by name.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from experiments.data.dataset import Spec
from experiments.engine.errors import UsageError
from experiments.engine.keys import permutation
from nets.draws import random_array

Fill = Literal["zero", "reflect"]

# What a batch's key is folded with; the flips of all epochs, with an epoch that never comes.
_TRANSLATE, _FLIP, _CUTOUT, _WEIGHT, _PARTNERS, _NOISE = range(6)
_COINS = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training inputs are changed, after preprocessing; evaluation sees them unchanged.

    Attributes:
        translate: largest shift along each axis, in pixels; with fill zero, the crop of a padded
            image (He et al. 2015); none: off.
        fill: what a shift brings in: zeros, or the image reflected at its border pixel.
        flip: mirror left and right: never, half of the inputs at random, or each training example
            in every second epoch, from a coin that decides its first (Jordan 2024).
        cutout: side of a square of zeros around a random pixel, cut off at the border (DeVries and
            Taylor 2017); none: off.
        mixup: alpha of the Beta(alpha, alpha) weight by which a batch and its permutation, inputs
            and losses, are averaged (Zhang et al. 2018); none: off.
        noise: standard deviation of Gaussian noise added after all but mixup; none: off.
    """

    translate: int | None = None
    fill: Fill = "zero"
    flip: Literal["none", "random", "alternating"] = "none"
    cutout: int | None = None
    mixup: float | None = None
    noise: float | None = None


def check_augmentation(config: Augmentation, spec: Spec) -> None:
    """Refuses values that cannot work.

    Raises:
        UsageError: names the flag and says what it takes.
    """
    side = min(spec.shape[:2])
    for flag, size, largest in (
        ("--translate", config.translate, side - 1),
        ("--cutout", config.cutout, side),
    ):
        if size is not None and not 1 <= size <= largest:
            allowed = f"must be 1 to {largest}," if largest else "impossible"
            raise UsageError(
                f"{flag} {size}: {allowed} for inputs of {'x'.join(map(str, spec.shape))}; none "
                "switches it off"
            )
    for flag, value in {"--mixup": config.mixup, "--noise": config.noise}.items():
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{flag} {value:g}: must be positive; none switches it off")


def augment(
    config: Augmentation,
    x: jax.Array,
    key: jax.Array,
    flips: jax.Array | None = None,
    axes: int | None = None,
) -> jax.Array:
    """Translates, flips, cuts out and adds noise: a function of the inputs and the key.

    Args:
        config: what is done; `mixup` is another function.
        x: preprocessed inputs.
        key: of this batch.
        flips: bool [B], of `alternating_flips`; with `flip` "alternating" only.
        axes: how many axes after the first are positions; by default two (images), or the one
            that there is.

    Raises:
        ValueError: `flip` is "alternating" and there are no `flips`, or it is not and there are.
    """
    if (flips is None) == (config.flip == "alternating"):
        raise ValueError("`flips` belong to flip 'alternating', and it needs them")
    axes = axes or min(2, x.ndim - 1)
    if config.translate is not None:
        bound = config.translate
        draw = jax.random.fold_in(key, _TRANSLATE)
        shifts = jax.random.randint(draw, (len(x), axes), -bound, bound + 1)
        x = translate(x, shifts, config.fill)
    if config.flip == "random":
        flips = jax.random.bernoulli(jax.random.fold_in(key, _FLIP), 0.5, (len(x),))
    if flips is not None:
        x = flip(x, flips, axes)
    if config.cutout is not None:
        sides = jnp.array(x.shape[1 : axes + 1])[None]
        centres = jax.random.randint(jax.random.fold_in(key, _CUTOUT), (len(x), axes), 0, sides)
        x = cut_out(x, centres, config.cutout)
    if config.noise is not None:
        noise = jax.random.fold_in(key, _NOISE)
        drawn = random_array(jax.random.normal, noise, x.shape, dtype=x.dtype)
        x = x + jnp.asarray(config.noise, x.dtype) * drawn
    return x


def translate(x: jax.Array, shifts: jax.Array, fill: Fill) -> jax.Array:
    """Moves each input by its own whole numbers of positions.

    By gathering along each axis: on a CPU, for 128 x 32 x 32 x 3 and inside a loop, 0.2 ms, where
    a slice per example takes 5 ms and selecting among all shifts 17 ms.

    Args:
        x: [B, ...].
        shifts: int32 [B, axes], along each axis of positions, towards higher indices; with fill
            "reflect" shorter than the axis.
        fill: "zero", or "reflect": positions -1, -2, ... hold what 1, 2, ... hold.
    """
    for axis in range(1, shifts.shape[1] + 1):
        size = x.shape[axis]
        wanted = jnp.arange(size)[None] - shifts[:, axis - 1 : axis]
        if fill == "reflect":
            source = size - 1 - jnp.abs(size - 1 - jnp.abs(wanted))
        else:
            source = jnp.clip(wanted, 0, size - 1)
        x = _take(x, source, axis)
        if fill == "zero":
            x = jnp.where(_along(source == wanted, axis, x.ndim), x, 0)
    return x


def flip(x: jax.Array, flips: jax.Array, axes: int) -> jax.Array:
    """Reverses the last axis of positions of the inputs where `flips` (bool [B]) says so."""
    places = jnp.arange(x.shape[axes])[None]
    return _take(x, jnp.where(flips[:, None], places[:, ::-1], places), axes)


def cut_out(x: jax.Array, centres: jax.Array, side: int) -> jax.Array:
    """Sets a square of each input to zero, as far as it lies inside.

    Args:
        x: [B, ...].
        centres: int32 [B, axes]; an even side reaches one position further to lower indices.
        side: of the square; the length of the piece where there is one axis.
    """
    inside = []
    for axis in range(1, centres.shape[1] + 1):
        away = jnp.arange(x.shape[axis])[None] - centres[:, axis - 1 : axis] + side // 2
        inside.append(_along((away >= 0) & (away < side), axis, x.ndim))
    return jnp.where(functools.reduce(jnp.logical_and, inside), 0, x)


def mix_up(alpha: float, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Averages a batch with a permutation of itself, by one weight from Beta(alpha, alpha).

    Returns:
        "x" and "y" of the batch, "x" averaged; "y_other" [B], the labels of the partners, and
        "weight", the share of "x" and "y".
    """
    weight = jax.random.beta(jax.random.fold_in(key, _WEIGHT), alpha, alpha, dtype=jnp.float32)
    partners = permutation(jax.random.fold_in(key, _PARTNERS), len(batch["y"]))
    x = batch["x"]
    share = weight.astype(x.dtype)
    mixed = share * x + (1 - share) * x[partners]
    return batch | {"x": mixed, "y_other": batch["y"][partners], "weight": weight}


def alternating_flips(key: jax.Array, epoch: jax.Array, rows: int) -> jax.Array:
    """Which of all training examples are flipped in an epoch, bool [rows].

    A fair coin per example decides its first epoch, and every epoch is the opposite of the one
    before (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498).

    Args:
        key: the same in every epoch.
        epoch: int32 scalar, from 0.
        rows: number of training examples.
    """
    coins = jax.random.bernoulli(jax.random.fold_in(key, _COINS), 0.5, (rows,))
    return coins ^ (epoch % 2 == 1)


def _take(x: jax.Array, source: jax.Array, axis: int) -> jax.Array:
    """Positions `source` (int32 [B, n], all inside) of each input along an axis."""
    source = _along(source, axis, x.ndim)
    return jnp.take_along_axis(x, source, axis, mode="promise_in_bounds")


def _along(values: jax.Array, axis: int, ndim: int) -> jax.Array:
    """[B, n] as an array of `ndim` axes, with n along `axis`."""
    shape = [1] * ndim
    shape[0], shape[axis] = values.shape
    return values.reshape(shape)
