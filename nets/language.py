"""Language models: the score of every token as the next one, from what was read before."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from nets.dense import Dense
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, bias_initializer
from nets.lookup import Embedding
from nets.losses import softmax_cross_entropy
from nets.recurrence import Carry
from nets.recurrent import RecurrentStack
from nets.regularizers import Dropout
from nets.spread import spread

Carries = Sequence[Carry]
CHUNK = 500
"""Tokens of a text whose scores are in memory at a time."""


class LanguageModel(nn.Module):
    """Embedded tokens, recurrent layers, and a linear layer over the vocabulary.

    Parameters are `embedding/embedding`, `stack`, and `output`, or `bias` where the output's
    weights are those of the embedding. Float fields may be tracers.

    Attributes:
        stack: the recurrent layers, in one direction.
        vocabulary: number of distinct tokens.
        embedding: numbers that stand for a token.
        tied: the output's weights are the embedding's, transposed (Inan et al. 2016, arXiv
            1611.01462; Press & Wolf 2016, arXiv 1608.05859). The last layer is as wide as it then.
        dropout: rate on the embedded tokens, in the form of the stack's dropout.
        streams: texts that training reads side by side. `init` makes their carries, zeros, as
            the collection "carry"; whoever trains hands them on. 0: none are made.
        kernel_init, bias_init: of the output layer.
    """

    stack: RecurrentStack
    vocabulary: int
    embedding: int
    tied: bool = False
    dropout: float | None = None
    streams: int = 0
    kernel_init: InitFunction = INITIALIZERS["glorot_uniform"]
    bias_init: BiasInit = "zeros"

    def __call__(
        self, tokens: Int[Array, "batch time"], *, train: bool
    ) -> Float[Array, "batch time vocabulary"]:
        """Scores of the next token after each, of texts that begin here."""
        return self.read(tokens, None, train=train)[0]

    @nn.compact
    def read(
        self, tokens: Int[Array, "batch time"], carries: Carries | None, *, train: bool
    ) -> tuple[Float[Array, "batch time vocabulary"], tuple[Carry, ...]]:
        """Scores of the next token after each, float32 or wider, and the carries after the last.

        Args:
            tokens: numbers below the vocabulary.
            carries: of each layer, after the tokens before; None: the text begins here.
            train: whether to drop.
        """
        embed = Embedding(self.vocabulary, self.embedding, name="embedding")
        rows: Any = embed(tokens)
        if self.dropout is not None:
            rows = self._drop(embed.looked_up(tokens), self.dropout, train=train)
        states, last = self.stack(rows, carries=carries, train=train)
        if self.streams and self.is_initializing():
            self.variable("carry", "layers", first_carries, self.stack, self.streams)
        scores: Any
        if self.tied:
            init = bias_initializer(self.bias_init, self.embedding)
            bias = self.param("bias", init, (self.vocabulary,), jnp.float32)
            scores = embed.attend(states)
            scores = scores + spread(bias, scores)
        else:
            options = self.kernel_init, self.bias_init, self.stack.dtype
            scores = Dense(self.vocabulary, True, *options, name="output")(states)
        return scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), last

    def _drop(self, x: jax.Array, rate: float, *, train: bool) -> jax.Array:
        drop = Dropout(rate, name="dropout")
        if self.stack.dropout_form == "steps" or not train:
            return drop(x, train=train)
        return x * drop(jnp.ones_like(x[:, :1]), train=True)


def first_carries(stack: RecurrentStack, streams: int) -> tuple[Carry, ...]:
    """The carries of layers in one direction before so many texts begin."""
    dtype = stack.dtype or jnp.float32
    return tuple(stack.cell.carry(streams, width, dtype) for width in stack.widths)


def text_losses(
    net: LanguageModel, params: Any, text: Integer[Array, "tokens"]
) -> Float[Array, ""]:
    """The sum of the cross-entropies of all tokens of a text but the first, in nats.

    The text is read as one stream, from its first token to its last: each is predicted from all
    before it.
    """
    count = text.shape[0] - 1
    size = min(CHUNK, count)
    parts = -(-count // size)
    padded = jnp.pad(text.astype(jnp.int32), (0, parts * size - count))
    read, said = (each.reshape(parts, 1, size) for each in (padded[:-1], padded[1:]))
    counted = (jnp.arange(parts * size) < count).reshape(parts, 1, size)

    def part(carries: Any, here: Any) -> tuple[Any, jax.Array]:
        x, y, counted = here
        scores, carries = net.apply(
            {"params": params}, x, carries, train=False, method=LanguageModel.read
        )
        return carries, jnp.sum(jnp.where(counted, softmax_cross_entropy(scores, y), 0))

    return jnp.sum(jax.lax.scan(part, first_carries(net.stack, 1), (read, said, counted))[1])


def generate(
    net: LanguageModel,
    variables: Any,
    prompt: Int[Array, "prompt"],
    key: jax.Array,
    *,
    length: int,
    temperature: float,
) -> Int[Array, "length"]:
    """Tokens that a net writes after a prompt, each read again before the next is drawn.

    Args:
        net: a language model.
        variables: its parameters.
        prompt: at least one token.
        key: of the draws.
        length: how many tokens to write.
        temperature: scores are divided by it, so that below 1 likely tokens become likelier; at 0
            the likeliest is taken. Not traced.
    """

    def read(tokens: jax.Array, carries: Carries | None) -> tuple[jax.Array, Any]:
        scores, last = net.apply(
            variables, tokens[None], carries, train=False, method=LanguageModel.read
        )
        return scores[0, -1], last

    def write(state: tuple[jax.Array, Any], number: jax.Array) -> tuple[Any, jax.Array]:
        scores, carries = state
        if temperature == 0:
            token = jnp.argmax(scores)
        else:
            drawn = jax.random.fold_in(key, number)
            token = jax.random.categorical(drawn, scores / temperature)
        return read(token[None], carries), token

    _, written = jax.lax.scan(write, read(prompt, None), jnp.arange(length))
    return written
