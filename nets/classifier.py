"""What every net with class scores shares: how it is called."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Classifier(nn.Module):
    """A net that gives class scores; a subclass writes `features_and_scores`."""

    def __call__(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> Float[Array, "batch *classes"]:
        """Class scores, of float32 or wider."""
        scores: Any = self.features_and_scores(inputs, train=train)[1]
        return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))

    def penultimate(
        self, inputs: Float[Array, "batch *shape"], *, train: bool = False
    ) -> Float[Array, "batch *width"]:
        """What the output layer sees: `net.apply(variables, x, method=net.penultimate)`."""
        return self.features_and_scores(inputs, train=train)[0]

    def features_and_scores(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> tuple[Float[Array, "batch *width"], Float[Array, "batch *classes"]]:
        """What the output layer sees, and what it gives."""
        raise NotImplementedError
