"""Initializers of weights: Flax functions `(key, shape, dtype) -> array` with names and numbers.

Kernels are `[inputs, outputs]` or, of a convolution, `[*window, inputs, outputs]`; the fan-in is
the number of weights one output sees, the fan-out the number of outputs one input reaches (with
groups, as in PyTorch, as if there were none).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nets.draws import random_array
from nets.options import Option

InitFunction = Callable[..., jax.Array]
BiasInit = Literal["zeros", "fan_in_uniform"]
CUT_NORMAL = 0.87962566103423978
"""Standard deviation of a standard normal cut at -2 and 2."""


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Fan-in and fan-out of a kernel `[*window, inputs, outputs]`.

    Raises:
        ValueError: fewer than two axes, as in a bias.
    """
    if len(shape) < 2:
        raise ValueError(f"only a kernel of two or more axes has fans, not one of shape {shape}")
    *window, inputs, outputs = shape
    return math.prod(window) * inputs, math.prod(window) * outputs


def _truncated(
    key: jax.Array, shape: Sequence[int], dtype: DTypeLike, variance: float
) -> jax.Array:
    """A normal cut at two standard deviations, with this variance after the cut."""
    sd = jnp.sqrt(jnp.asarray(variance, dtype)) / jnp.asarray(CUT_NORMAL, dtype)
    sample = jax.random.truncated_normal
    return random_array(sample, key, shape, lower=-2, upper=2, dtype=dtype) * sd


def _uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike, variance: float) -> jax.Array:
    """U(-b, b) with this variance."""
    bound = jnp.sqrt(3 * jnp.asarray(variance, dtype))
    return random_array(jax.random.uniform, key, shape, minval=-1, dtype=dtype) * bound


def zeros(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Zeros: no unit of a hidden layer ever learns to differ from its neighbours."""
    del key
    return jnp.zeros(shape, dtype)


def normal(key: jax.Array, shape: Sequence[int], dtype: DTypeLike, sd: float) -> jax.Array:
    """N(0, sd^2), whatever the size of the layer."""
    return jnp.asarray(sd, dtype) * random_array(jax.random.normal, key, shape, dtype=dtype)


def uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike, bound: float) -> jax.Array:
    """U(-bound, bound), whatever the size of the layer (`jax.nn`'s is U(0, bound))."""
    drawn = random_array(jax.random.uniform, key, shape, dtype=dtype, minval=-1.0, maxval=1.0)
    return jnp.asarray(bound, dtype) * drawn


def fan_in_uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of PyTorch: variance 1 / (3 fan_in)."""
    return uniform(key, shape, dtype, 1 / math.sqrt(fans(shape)[0]))


def lecun_normal(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Variance 1 / fan_in, truncated normal (LeCun et al. 1998, equation 16)."""
    return _truncated(key, shape, dtype, 1 / fans(shape)[0])


def lecun_uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Variance 1 / fan_in, uniform: U(-b, b) with b = sqrt(3 / fan_in)."""
    return _uniform(key, shape, dtype, 1 / fans(shape)[0])


def glorot_normal(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Variance 2 / (fan_in + fan_out), truncated normal (Glorot & Bengio 2010, equation 12)."""
    return _truncated(key, shape, dtype, 2 / sum(fans(shape)))


def glorot_uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Variance 2 / (fan_in + fan_out), uniform (Glorot & Bengio 2010, equation 16)."""
    return _uniform(key, shape, dtype, 2 / sum(fans(shape)))


def he_normal(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Variance 2 / fan_in, truncated normal (He et al. 2015, arXiv 1502.01852, equation 10)."""
    return _truncated(key, shape, dtype, 2 / fans(shape)[0])


def he_uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Variance 2 / fan_in, uniform: U(-b, b) with b = sqrt(6 / fan_in)."""
    return _uniform(key, shape, dtype, 2 / fans(shape)[0])


def orthogonal(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Orthonormal columns, or rows if there are fewer: all axes but the last are the rows.

    Uniform over such matrices (Saxe et al. 2014, arXiv 1312.6120).
    """
    wide = jnp.promote_types(dtype, jnp.float32)  # QR takes no bfloat16
    return jax.nn.initializers.orthogonal()(key, shape, wide).astype(dtype)


def unit_norm(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Normal, then every output's incoming weights scaled to norm 1: variance 1 / fan_in.

    Hendrycks & Gimpel 2016 (arXiv 1606.08415, section 3.1).
    """
    fans(shape)
    weights = random_array(
        jax.random.normal, key, shape, dtype=jnp.promote_types(dtype, jnp.float32)
    )
    norms = jnp.linalg.norm(weights.reshape(-1, shape[-1]), axis=0)
    return (weights / norms.reshape((1,) * (len(shape) - 1) + norms.shape)).astype(dtype)


def identity(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Output i copies input i, in a convolution at the centre of the window; the rest is 0.

    Input i is of the kernel: in a grouped convolution as wide as its input only the first group's
    channels are copied. The centre of an even window is at size // 2.
    """
    del key
    fans(shape)
    *window, inputs, outputs = shape
    centre = tuple(size // 2 for size in window)
    return jnp.zeros(shape, dtype).at[centre].set(jnp.eye(inputs, outputs, dtype=dtype))


def dirac(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Of a convolution, `identity` as far as there are inputs; what is left, `fan_in_uniform`.

    More outputs than inputs of the kernel, which in a grouped convolution are those of one group:
    those that copy none are drawn, and so are dense kernels (Jordan 2024, arXiv 2404.00498).
    """
    drawn = fan_in_uniform(key, shape, dtype)
    if len(shape) == 2:
        return drawn
    copies = (jnp.arange(shape[-1]) < shape[-2]).reshape((1,) * (len(shape) - 1) + (-1,))
    return jnp.where(copies, identity(key, shape, dtype), drawn)


@dataclasses.dataclass(frozen=True)
class Initializer(Option):
    """A named initializer, called as Flax calls one."""

    def __call__(
        self, key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        """Draws an array of this shape."""
        return self.function(key, tuple(shape), dtype, *self.parameters)


INITIALIZERS: MappingProxyType[str, Initializer] = MappingProxyType(
    {
        initializer.name: initializer
        for initializer in (
            Initializer("zeros", zeros),
            Initializer("normal", normal, (0.01,)),
            Initializer("uniform", uniform, (0.05,)),
            Initializer("fan_in_uniform", fan_in_uniform),
            Initializer("lecun_normal", lecun_normal),
            Initializer("lecun_uniform", lecun_uniform),
            Initializer("glorot_normal", glorot_normal),
            Initializer("glorot_uniform", glorot_uniform),
            Initializer("he_normal", he_normal),
            Initializer("he_uniform", he_uniform),
            Initializer("orthogonal", orthogonal),
            Initializer("unit_norm", unit_norm),
            Initializer("identity", identity),
            Initializer("dirac", dirac),
        )
    }
)


def scaled(initializer: InitFunction, scale: float | jax.Array) -> InitFunction:
    """An initializer whose weights are multiplied by `scale`, which may be a tracer."""

    def initialize(
        key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        return jnp.asarray(scale, dtype) * initializer(key, shape, dtype)

    return initialize


def bias_initializer(kind: BiasInit, fan_in: int) -> InitFunction:
    """The initializer of the biases that go with a kernel of this fan-in.

    Args:
        kind: "zeros", or "fan_in_uniform" for U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is
            what PyTorch's layers do by default.
        fan_in: of the kernel; `fans(kernel_shape)[0]`.
    """
    if kind == "zeros":
        return INITIALIZERS["zeros"]
    return Initializer("uniform", uniform, (1 / math.sqrt(fan_in),))
