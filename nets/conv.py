"""Layers of convolutional nets: convolution with and without weight sharing, LRN.

Inputs are `[batch, *space, channels]` with any number of spatial axes; geometry that cannot work is
refused while shapes are traced, before anything is compiled.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.convolution import convolve, views
from nets.geometry import Padding, Sizes, Window, windows
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, bias_initializer
from nets.spread import spread

Bias = Literal["none", "filter", "position"]


class Conv(nn.Module):
    """Convolution (cross-correlation) with one kernel for all positions, or one for each.

    The parameter `kernel` is `[*window, channels / groups, features]`, or
    `[*positions, window * channels, features]` where weights are not shared (a locally connected
    layer).

    Attributes:
        features: filters.
        kernel_size: inputs that the window covers, of every axis or of each.
        strides: step of the window.
        padding: `same`, `valid`, a number, one for each axis, or pairs.
        dilation: step from one covered input to the next.
        groups: a filter sees the channels of its own group only (Krizhevsky et al. 2012).
        shared: one kernel for all positions; otherwise each position has its own.
        bias: one for each filter, one for each filter and position, or none.
        kernel_init: of the kernel; draws each position's kernel apart.
        bias_init: of the biases.
        dtype: of the computation; parameters stay float32.
    """

    features: int
    kernel_size: Sizes
    strides: Sizes = 1
    padding: Padding = "same"
    dilation: Sizes = 1
    groups: int = 1
    shared: bool = True
    bias: Bias = "filter"
    kernel_init: InitFunction = INITIALIZERS["he_normal"]
    bias_init: BiasInit = "zeros"
    dtype: DTypeLike | None = None

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        """One window per axis of a spatial shape. Raises `ValueError` where they do not fit."""
        return windows(shape, self.kernel_size, self.strides, self.padding, self.dilation)

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"]
    ) -> Float[Array, "batch *positions features"]:
        """Slides the windows over `x`.

        Raises:
            ValueError: channels or features that do not divide into the groups, groups without
                weight sharing, or windows that do not fit.
        """
        channels, window = x.shape[-1], self.windows(x.shape[1:-1])
        self._check_groups(channels)
        positions = _positions(window, x.shape[1:-1])
        shape = (*(w.size for w in window), channels // self.groups, self.features)
        unshared = functools.partial(_for_each_position, self.kernel_init, shape, positions)
        init = self.kernel_init if self.shared else unshared
        several = (*positions, math.prod(shape[:-1]), self.features)
        kernel = self.param("kernel", init, shape if self.shared else several)
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        y = convolve(x, kernel, window, self.groups) if self.shared else _local(x, kernel, window)
        if self.bias == "none":
            return y
        init = bias_initializer(self.bias_init, math.prod(shape[:-1]))
        size = (*positions, self.features) if self.bias == "position" else (self.features,)
        bias = self.param("bias", init, size)
        return y + spread(bias, y)

    def _check_groups(self, channels: int) -> None:
        for name, count in {"channels": channels, "features": self.features}.items():
            if self.groups < 1 or count % self.groups:
                raise ValueError(f"{count} {name} do not divide into {self.groups} groups")
        if not self.shared and self.groups > 1:
            raise ValueError(f"{self.groups} groups: only with shared weights")


def _positions(window: Sequence[Window], space: Sequence[int]) -> tuple[int, ...]:
    return tuple(w.output_size(n) for w, n in zip(window, space, strict=True))


def _for_each_position(
    init: InitFunction,
    shape: tuple[int, ...],
    positions: tuple[int, ...],
    key: jax.Array,
    whole: Sequence[int],
    dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """Draws one kernel of `shape` for each position, as `whole`: fans are those of one kernel."""
    keys = jax.random.split(key, math.prod(positions))
    return jax.vmap(lambda key: init(key, shape, dtype))(keys).reshape(whole)


def _local(x: jax.Array, kernel: jax.Array, window: tuple[Window, ...]) -> jax.Array:
    seen = jnp.concatenate(views(x, window), axis=-1)
    axes = tuple(range(len(window)))
    dimensions = (((len(window) + 1,), (len(window),)), (tuple(a + 1 for a in axes), axes))
    return jnp.moveaxis(jax.lax.dot_general(seen, kernel, dimensions), len(window), 0)


class LocalResponseNorm(nn.Module):
    """x / (k + alpha sum of squares over neighbouring channels)^beta.

    Krizhevsky et al. 2012, section 3.3, with their constants; alpha is not divided by the number of
    neighbours, as some libraries do.

    Attributes:
        neighbours: channels summed over, the one itself in the middle.
        k, alpha, beta: constants of the equation.
    """

    neighbours: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75

    def __call__(self, x: Float[Array, "*shape channels"]) -> Float[Array, "*shape channels"]:
        """Normalises each channel by its neighbours."""
        channels, before = x.shape[-1], self.neighbours // 2
        edges = [(0, 0)] * (x.ndim - 1) + [(before, self.neighbours - 1 - before)]
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        squares = jnp.pad(jnp.square(wide), edges)
        total = functools.reduce(
            jnp.add, (squares[..., i : i + channels] for i in range(self.neighbours))
        )
        return (wide / (self.k + self.alpha * total) ** self.beta).astype(x.dtype)
