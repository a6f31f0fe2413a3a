"""Dense layers."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.initializers import INITIALIZERS, BiasInit, InitFunction, bias_initializer
from nets.spread import spread


class Dense(nn.Module):
    """`x @ kernel + bias` along the last axis.

    As Flax's, but that the first biases may depend on the number of inputs, and that their gradient
    keeps its precision (`nets.spread`).

    Attributes:
        features: number of outputs.
        use_bias: whether there is a bias.
        kernel_init, bias_init: of the float32 parameters.
        dtype: of the computation; None: that of input and kernel.
    """

    features: int
    use_bias: bool = True
    kernel_init: InitFunction = INITIALIZERS["lecun_normal"]
    bias_init: BiasInit = "zeros"
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """All axes but the last are examples."""
        inputs = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features), jnp.float32)
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        y = jnp.matmul(x.astype(dtype), kernel.astype(dtype))
        if not self.use_bias:
            return y
        init = bias_initializer(self.bias_init, inputs)
        return y + spread(self.param("bias", init, (self.features,), jnp.float32), y)
