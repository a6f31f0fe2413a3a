"""Rows of a table, looked up by tokens: before a layer's product, or after it."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nets.initializers import InitFunction
from nets.parallel import sum_over_batch


class Rows(NamedTuple):
    """Rows of a table that are not looked up yet: what a linear map can be applied to first.

    Attributes:
        tokens: [batch, time], which row stands at each element.
        table: [vocabulary, features].
    """

    tokens: Int[Array, "batch time"]
    table: Float[Array, "vocabulary features"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def look_up(
    table: Float[Array, "vocabulary features"], tokens: Int[Array, "*places"], axis: int = 0
) -> Float[Array, "*places features"]:
    """`table[tokens]`; the gradient by a short table is a product with one-hot tokens.

    Args:
        table: a row for each token.
        tokens: which rows.
        axis: of `tokens`, the batch: devices that share it each add up the gradient of their part.
    """
    del axis
    return jnp.take(table, tokens, axis=0, mode="clip")


def _forward(table: jax.Array, tokens: jax.Array, axis: int) -> Any:
    return look_up(table, tokens, axis), (table, tokens)


def _backward(axis: int, saved: tuple[jax.Array, jax.Array], by_rows: jax.Array) -> Any:
    table, tokens = saved
    add = functools.partial(_add_rows, len(table))
    return sum_over_batch(add, tokens, by_rows, axis=axis).astype(table.dtype), None


def _add_rows(vocabulary: int, tokens: jax.Array, by_rows: jax.Array) -> jax.Array:
    """Added up in float32 or wider: a token may stand at very many places."""
    wide = jnp.promote_types(by_rows.dtype, jnp.float32)
    rows = by_rows.reshape(-1, by_rows.shape[-1])
    if vocabulary > rows.shape[-1]:
        zeros = jnp.zeros((vocabulary, rows.shape[-1]), wide)
        return zeros.at[tokens.reshape(-1)].add(rows.astype(wide))
    here = jnp.arange(vocabulary)[:, None] == tokens.reshape(1, -1)
    return jnp.matmul(here.astype(rows.dtype), rows, preferred_element_type=wide)


look_up.defvjp(_forward, _backward)


class Embedding(nn.Module):
    """The parameter `embedding` [vocabulary, features], a row for each token.

    Attributes:
        vocabulary: distinct tokens.
        features: of each.
        embedding_init: of the table; of variance 1 / features by default, as in Flax.
    """

    vocabulary: int
    features: int
    embedding_init: InitFunction = nn.linear.default_embed_init

    def setup(self):
        """Makes the table."""
        shape = (self.vocabulary, self.features)
        self.embedding: Any = self.param("embedding", self.embedding_init, shape, jnp.float32)

    def __call__(
        self, tokens: Int[Array, "batch time"]
    ) -> Float[Array, "batch time features"] | Rows:
        """The tokens' rows for a recurrent layer, yet to look up if it saves work.

        A vocabulary smaller than a row is: the layer's products are with the table then, not with
        the row at every element, and the look-up's own gradient is the smaller product.
        """
        if self.vocabulary < min(self.features, tokens.size):
            return Rows(tokens, self.embedding)
        return look_up(self.embedding, tokens)

    def looked_up(self, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time features"]:
        """The tokens' rows."""
        return look_up(self.embedding, tokens)

    def attend(
        self, states: Float[Array, "batch time features"]
    ) -> Float[Array, "batch time vocabulary"]:
        """The product of each state with every row: scores of tied weights."""
        return states @ self.embedding.astype(states.dtype).T
