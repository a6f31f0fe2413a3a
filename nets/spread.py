"""Learned numbers at all places of an array."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def spread(
    values: Float[Array | np.ndarray, "*places"], like: Float[Array | np.ndarray, "..."]
) -> Float[Array, "..."]:
    """Values, such as a bias, that stand along the last axes of `like`, in its shape and precision.

    Their gradient, a sum over all other places, is in their own precision: in bfloat16 a sum of
    ones stops growing at 256.
    """
    alike = values.reshape((1,) * (like.ndim - values.ndim) + values.shape)
    return jnp.broadcast_to(alike, like.shape).astype(like.dtype)
