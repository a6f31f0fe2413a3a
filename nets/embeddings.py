"""Word vectors: from which words another is predicted, and how (Mikolov et al. 2013).

A text is read in blocks: T words to predict, the centres, and the I = T + 2 * window words among
and around them. Every function is pure and takes rows of the two tables, one of inputs and one of
outputs, that were looked up once for a whole block; so a block's scores are one matrix product.
(`nets.lookup` has the embeddings of language models, which are layers of a net.)

Shapes: [blocks, I, D] rows of inputs, [blocks, T, ...] of what is predicted. Losses are sums.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

Context = Literal["skip_gram", "cbow_mean", "cbow_sum", "next_word"]


class WordTables(nn.Module):
    """The parameters `input` and `output`, a row of so many features for each word or node.

    Inputs begin uniform in +-1 / (2 features), outputs at zero, as in word2vec.

    Attributes:
        words: rows of inputs.
        outputs: rows of outputs: words, or inner nodes of a tree over them.
        features: of each.
    """

    words: int
    outputs: int
    features: int

    @nn.compact
    def __call__(self, words: Int[Array, "*places"], *, train: bool = False) -> Any:
        """The words' rows of inputs and of outputs."""
        del train
        half = 0.5 / self.features
        inputs: Any = self.param("input", _uniform(half), (self.words, self.features))
        outputs: Any = self.param("output", nn.initializers.zeros, (self.outputs, self.features))
        return tuple(jnp.take(table, words, axis=0, mode="clip") for table in (inputs, outputs))


def _uniform(half: float) -> Any:
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -half, half)


def neighbours(
    lines: Int[Array, "blocks I"], reach: Int[Array, "blocks T"], *, before: bool = False
) -> Bool[Array, "blocks I T"]:
    """Which words of a block each centre is predicted from.

    Those of its own line at most `reach` places away, but not itself.

    Args:
        lines: of each word; below 0 there is none.
        reach: of each centre.
        before: only the words before it.
    """
    size, centres = lines.shape[1], reach.shape[1]
    window = (size - centres) // 2
    ahead = jnp.arange(centres)[None] + window - jnp.arange(size)[:, None]
    apart = jnp.where(before & (ahead < 0), size, jnp.abs(ahead))[None]
    theirs = lines[:, None, window : window + centres]
    same = (lines[:, :, None] == theirs) & (theirs >= 0)
    return same & (apart > 0) & (apart <= reach[:, None])


def context_states(
    inputs: Float[Array, "blocks I D"], near: Bool[Array, "blocks I T"], context: Context
) -> tuple[Float[Array, "blocks N D"], Float[Array, "blocks N T"]]:
    """What centres are predicted from, and how often each of them is.

    `skip_gram` predicts a centre from each of its neighbours: N = I. The others predict it once
    (N = T), from the sum of its neighbours' rows (`cbow_sum`), or from their mean (`cbow_mean`, and
    `next_word`, whose neighbours are the words before: a bag of words in a sliding window).
    """
    weights = near.astype(inputs.dtype)
    if context == "skip_gram":
        return inputs, weights
    count = jnp.sum(weights, axis=1)
    states = jnp.einsum("bit,bid->btd", weights, inputs)
    if context != "cbow_sum":
        states = states / jnp.maximum(count, 1)[:, :, None]
    own = jnp.eye(count.shape[1], dtype=inputs.dtype)
    return states, own[None] * (count > 0)[:, None]


@jax.custom_vjp
def log_loss(scores: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(scores)); its gradient is one sigmoid (of `jax.nn.softplus`, several steps)."""
    return jnp.maximum(scores, 0) + jnp.log1p(jnp.exp(-jnp.abs(scores)))


log_loss.defvjp(
    lambda scores: (log_loss(scores), scores),
    lambda scores, by_loss: (by_loss * jax.nn.sigmoid(scores),),
)


def negative_sampling_loss(
    states: Float[Array, "blocks N D"],
    weights: Float[Array, "blocks N T"],
    outputs: Float[Array, "blocks M D"],
    negatives: float,
) -> Float[Array, ""]:
    """Logistic loss of each predicted word against words drawn at random.

    With s the score of a state and a word, a prediction costs log(1 + exp(-s)), and each of
    `negatives` drawn words log(1 + exp(s)). The draws are shared: every state meets all of a
    block's, each weighted so that they count as many as it would have had alone.

    Args:
        weights: how often a state predicts a centre.
        outputs: rows of the T centres, then of the M - T drawn words.
        negatives: drawn words of each prediction.
    """
    drawn = outputs.shape[1] - weights.shape[2]
    share = jnp.sum(weights, axis=2, keepdims=True) * (negatives / drawn)
    shared = jnp.broadcast_to(share, (*share.shape[:2], drawn))
    signs = jnp.where(jnp.arange(outputs.shape[1]) < weights.shape[2], -1.0, 1.0)
    scores = jnp.einsum("bnd,bmd->bnm", states, outputs)
    losses = log_loss(signs[None, None] * scores)
    return jnp.sum(jnp.concatenate([weights, shared], axis=2) * losses)


def hierarchical_loss(
    states: Float[Array, "blocks N D"],
    weights: Float[Array, "blocks N T"],
    nodes: Float[Array, "blocks T L D"],
    signs: Int[Array, "blocks T L"],
) -> Float[Array, ""]:
    """Log loss of the turns from a tree's root to each predicted word (Morin and Bengio 2005).

    Args:
        weights: how often a state predicts a centre.
        nodes: rows of the inner nodes on the way to the centres.
        signs: 1 or -1, which way to turn; 0 after the last.
    """
    scores = jnp.einsum("bnd,btld->bntl", states, nodes)
    turned = signs[:, None].astype(scores.dtype)
    losses = jnp.abs(turned) * log_loss(-turned * scores)
    return jnp.sum(weights * jnp.sum(losses, axis=3))


def softmax_loss(
    states: Float[Array, "blocks N D"],
    weights: Float[Array, "blocks N T"],
    table: Float[Array, "words D"],
    centres: Int[Array, "blocks T"],
) -> Float[Array, ""]:
    """Cross-entropy of each predicted word among all words.

    Args:
        weights: how often a state predicts a centre.
        table: the outputs of all words.
        centres: which words are predicted.
    """
    scores = states @ table.T
    right = jnp.einsum("bnd,btd->bnt", states, jnp.take(table, centres, axis=0, mode="clip"))
    total = jax.nn.logsumexp(scores, axis=2)
    return jnp.sum(weights * (total[:, :, None] - right))


def negative_cuts(counts: Any, power: float = 0.75) -> Any:
    """Where the unit interval is cut between words, in steps of 2^-32; on the host.

    Args:
        counts: of the words.
        power: of a count, proportional to which a word is drawn.

    Returns:
        uint32 [words - 1], for `drawn_words`.
    """
    share = np.cumsum(np.asarray(counts, np.float64) ** power)
    return np.minimum(np.round(share[:-1] / share[-1] * 2**32), 2**32 - 1).astype(np.uint32)


def drawn_words(bits: UInt32[Array, "*shape"], cuts: Array) -> Int[Array, "*shape"]:
    """The words that random bits stand for by `negative_cuts`, int32."""
    return jnp.searchsorted(cuts, bits, side="right").astype(jnp.int32)


@jax.custom_vjp
def slowed(
    rows: Float[Array, "*places D"], share: Float[Array, "*places"]
) -> Float[Array, "*places D"]:
    """The same rows, whose gradient is multiplied by a share of their own."""
    del share
    return rows


def _slowed_back(share: jax.Array, by_rows: jax.Array) -> tuple[jax.Array, None]:
    return by_rows * share[..., None], None


slowed.defvjp(lambda rows, share: (rows, share), _slowed_back)


def uncrowded(
    rows: Int[Array, "*places"], uses: Float[Array, "*places"], words: int, most: Any
) -> Float[Array, "*places"]:
    """Shares of the gradient with which no row moves by more than `most` uses in one step.

    Sums over a batch go too far where a row is used often: each use is computed as if it were the
    only one. A row used n times in all has the share min(1, most / n).

    Args:
        rows: which row stands where.
        uses: how often it is used there.
        words: rows of the table.
    """
    total = jnp.zeros(words, uses.dtype).at[rows].add(uses)
    return jnp.minimum(1.0, most / jnp.maximum(jnp.take(total, rows, mode="clip"), 1))
