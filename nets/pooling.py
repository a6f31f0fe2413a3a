"""Pooling: the largest or the mean value of windows, or of all positions.

Inputs are `[batch, *space, channels]` with any number of spatial axes; windows that cannot work are
refused while shapes are traced, before anything is compiled.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nets.convolution import views
from nets.geometry import Padding, Sizes, Window, windows


class Pool(nn.Module):
    """Largest or mean value of each window and channel; windows may overlap.

    Padded places count for nothing: a mean is over the inputs that are there. Of equal largest
    values, the first has the gradient. A NaN stays a NaN.

    Attributes:
        kind: "max" or "average".
        size: inputs that the window covers.
        strides: step of the window; by default its size, so that windows do not overlap.
        padding: as of `Conv`.
    """

    kind: Literal["max", "average"]
    size: Sizes
    strides: Sizes | None = None
    padding: Padding = "valid"

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        """One window per axis of a spatial shape.

        Raises:
            ValueError: they do not fit, or one would see nothing but padding.
        """
        strides = self.size if self.strides is None else self.strides
        found = windows(shape, self.size, strides, self.padding)
        for window in found:
            if max(window.padding) >= window.size:
                raise ValueError(
                    f"padding {max(window.padding)}: a pooling window of {window.size} would see "
                    "nothing else"
                )
        return found

    def __call__(
        self, x: Float[Array, "batch *space channels"]
    ) -> Float[Array, "batch *positions channels"]:
        """Slides the windows over `x`."""
        window = self.windows(x.shape[1:-1])
        if self.kind == "max":
            return largest(x, window)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        total = _sums(wide, window)
        seen = jnp.asarray(_inputs_seen(window, x.shape[1:-1]), wide.dtype)
        return (total / seen).astype(x.dtype)


def _sums(x: jax.Array, windows: Sequence[Window]) -> jax.Array:
    """The sum over each window, along one axis after the other."""
    for axis, window in enumerate(windows):
        along = [window if other == axis else Window(1) for other in range(len(windows))]
        x = functools.reduce(jnp.add, views(x, along))
    return x


def _inputs_seen(window: Sequence[Window], space: Sequence[int]) -> np.ndarray:
    """How many inputs each window sees, `[1, *positions, 1]`."""
    counts = np.ones(())
    for w, n in zip(window, space, strict=True):
        starts = np.arange(w.output_size(n)) * w.stride - w.padding[0]
        counts = counts[..., None] * (np.minimum(starts + w.size, n) - np.maximum(starts, 0))
    return counts[None, ..., None]


class GlobalPool(nn.Module):
    """Largest or mean value of each channel over all positions.

    Attributes:
        kind: "max" or "average" (Lin et al. 2014, arXiv 1312.4400, section 3.2).
    """

    kind: Literal["max", "average"] = "average"

    def __call__(self, x: Float[Array, "batch *space channels"]) -> Float[Array, "batch channels"]:
        """Reduces every spatial axis."""
        axes = range(1, x.ndim - 1)
        return jnp.max(x, axis=axes) if self.kind == "max" else jnp.mean(x, axis=axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def largest(x: Float[Array, "batch *space channels"], windows: tuple[Window, ...]) -> Any:
    """The largest value of each window and channel, `[batch, *positions, channels]`.

    Of equal ones the first has the gradient; a NaN is larger than any number.

    Args:
        x: channels last.
        windows: one per spatial axis.
    """
    return _with_places(x, windows)[0]


def _with_places(x: jax.Array, windows: tuple[Window, ...]) -> tuple[jax.Array, jax.Array]:
    """The largest values, and which place of the window each of them has."""
    best, *others = views(x, windows, -np.inf)
    place = jnp.zeros(best.shape, jnp.int32)
    for number, other in enumerate(others, 1):
        larger = (other > best) | jnp.isnan(other)
        best, place = jnp.where(larger, other, best), jnp.where(larger, number, place)
    return best, place


@largest.defjvp
def _derivative(windows: tuple[Window, ...], primals: Any, tangents: Any) -> Any:
    (x,), (by_x,) = primals, tangents
    y, place = _with_places(x, windows)
    sizes = [w.size for w in windows]
    apart = all(w.stride == w.size and not any(w.padding) for w in windows)
    if not apart or any(n % size for n, size in zip(x.shape[1:-1], sizes, strict=True)):
        found = enumerate(views(by_x, windows))
        return y, functools.reduce(jnp.add, (jnp.where(place == n, each, 0) for n, each in found))
    # Every input is in one window, and backwards asks whether it is the largest there: on a CPU
    # that is twice as fast as adding up what the places of the windows give.
    inside = tuple(range(2, 2 * len(sizes) + 1, 2))
    split = (d for n, size in zip(y.shape[1:-1], sizes, strict=True) for d in (n, size))
    by_x = by_x.reshape(len(x), *split, x.shape[-1])
    numbers = np.arange(math.prod(sizes), dtype=np.int32).reshape(sizes)
    outside = tuple(axis for axis in range(by_x.ndim) if axis not in inside)
    numbers = np.expand_dims(numbers, outside)
    return y, jnp.sum(jnp.where(jnp.expand_dims(place, inside) == numbers, by_x, 0), inside)
