"""What every net with class scores shares: how it is called, and its dense layers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.initializers import BiasInit, InitFunction, bias_initializer


class Classifier(nn.Module):
    """A net that gives class scores; a subclass writes `features_and_scores`."""

    def __call__(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> Float[Array, "batch classes"]:
        """Class scores, of float32 or wider."""
        scores: Any = self.features_and_scores(inputs, train=train)[1]
        return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))

    def penultimate(
        self, inputs: Float[Array, "batch *shape"], *, train: bool = False
    ) -> Float[Array, "batch width"]:
        """What the output layer sees: `net.apply(variables, x, method=net.penultimate)`."""
        return self.features_and_scores(inputs, train=train)[0]

    def features_and_scores(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> tuple[Float[Array, "batch width"], Float[Array, "batch classes"]]:
        """What the output layer sees, and what it gives."""
        raise NotImplementedError


def dense(
    hidden: Float[Array, "*batch inputs"],
    width: int,
    name: str,
    *,
    use_bias: bool,
    kernel_init: InitFunction,
    bias_init: BiasInit,
    dtype: DTypeLike | None,
) -> Float[Array, "*batch width"]:
    """A dense layer `name` of the module that calls; a bias may depend on the number of inputs."""
    layer = nn.Dense(
        width,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_initializer(bias_init, hidden.shape[-1]),
        name=name,
    )
    outputs: jax.Array = layer(hidden)
    return outputs
