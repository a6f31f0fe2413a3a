"""A first layer of frozen filters that decorrelate the patches of its input."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.convolution import convolve
from nets.geometry import Sizes, Window, windows
from nets.initializers import INITIALIZERS
from nets.spread import spread

FROZEN = "frozen"
"""The collection of variables that belong to a net and are not trained."""


class Whitening(nn.Module):
    """Convolution with 2n filters for patches of n numbers: n frozen ones, and their negatives.

    The filters are `kernel` `[*window, channels, 2n]` in the collection "frozen": orthonormal ones
    drawn at random, until those of data take their place
    (`experiments.data.patches.whitening_filters`). Their biases `bias` `[2n]`, zero at first, are
    trained. (Page 2019, "How to train your ResNet" 8; Jordan 2024, arXiv 2404.00498.)

    Attributes:
        kernel_size: side of a patch, of every axis or of each; patches overlap, without padding.
        dtype: of the computation; filters and biases stay float32.
    """

    kernel_size: Sizes
    dtype: DTypeLike | None = None

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        """One window per axis of a spatial shape. Raises `ValueError` where they do not fit."""
        return windows(shape, self.kernel_size, 1, "valid", 1)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Of one example `[*space, channels]`."""
        window = self.windows(shape[:-1])
        positions = (w.output_size(n) for w, n in zip(window, shape, strict=False))
        return math.prod(positions) * 2 * (math.prod(w.size for w in window) * shape[-1]) ** 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"]
    ) -> Float[Array, "batch *positions filters"]:
        """Slides the filters over `x`."""
        window = self.windows(x.shape[1:-1])
        shape = (*(w.size for w in window), x.shape[-1])
        numbers = math.prod(shape)

        def drawn() -> jax.Array:
            half = INITIALIZERS["orthogonal"](self.make_rng("params"), (numbers, numbers))
            return jnp.concatenate([half, -half], axis=-1).reshape(*shape, 2 * numbers)

        kernel = self.variable(FROZEN, "kernel", drawn).value
        bias = self.param("bias", INITIALIZERS["zeros"], (2 * numbers,))
        dtype = self.dtype or jnp.promote_types(x.dtype, bias.dtype)
        maps = convolve(x.astype(dtype), kernel.astype(dtype), window, 1)
        return maps + spread(bias, maps)
