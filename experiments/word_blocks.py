"""The blocks of text that word vectors are trained on, made inside the compiled program."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.engine.keys import permutation
from nets.embeddings import context_states, drawn_words, neighbours, uncrowded
from nets.huffman import huffman_paths
from nets.parallel import split_batch

Batch = Mapping[str, jax.Array]
CERTAIN = 6.0
"""Standard deviations by which the blocks may hold more words than are kept on average."""


def kept_shares(counts: np.ndarray, sample: float) -> np.ndarray:
    """With which probability each word stays in the text: sqrt(s / f) + s / f, float32.

    f is the word's frequency, s the `sample`; 0 keeps all (the formula of word2vec's code).
    """
    if sample == 0:
        return np.ones(len(counts), np.float32)
    rarity = sample / (counts / counts.sum())
    return np.minimum(np.sqrt(rarity) + rarity, 1).astype(np.float32)


def block_numbers(words: np.ndarray, shares: np.ndarray, block: int, batch: int) -> np.ndarray:
    """Numbers of the blocks that hold what is kept of a text, int32 [steps, batch]."""
    steps = max(1, -(-most_kept(words, shares) // (block * batch)))
    return np.arange(steps * batch, dtype=np.int32).reshape(steps, batch)


def most_kept(words: np.ndarray, shares: np.ndarray) -> int:
    """How many words of a text are kept at most, but for luck that never comes."""
    each = shares[words].astype(np.float64)
    return int(np.ceil(each.sum() + CERTAIN * np.sqrt((each * (1 - each)).sum())))


def tree_of(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The Huffman code of the words: "nodes" and "signs" [words, longest]."""
    nodes, signs = huffman_paths(counts)
    return {"nodes": nodes, "signs": signs}


def cut_text(
    key: jax.Array, text: Batch, shares: jax.Array, numbers: jax.Array, block: int, window: int
) -> dict[str, jax.Array]:
    """What is kept of a text, in shuffled blocks.

    Words are left out before windows are laid, so that windows reach further (as in word2vec).

    Args:
        text: "x" and "lines", int32 [n].
        shares: with which probability a word stays.
        numbers: [steps, batch] of all blocks.

    Returns:
        "words" and "lines" int32 [steps, batch, window + block + window]; a line below 0 is none.
    """
    size = numbers.size * block
    draw = jax.random.uniform(jax.random.fold_in(key, 0), text["x"].shape)
    kept = draw < jnp.take(shares, text["x"], mode="clip")
    place = jnp.where(kept, window + jnp.cumsum(kept) - 1, size + 2 * window)
    order = permutation(jax.random.fold_in(key, 1), numbers.size)[numbers]
    places = order[:, :, None] * block + jnp.arange(block + 2 * window)[None, None]
    words = jnp.zeros(size + 2 * window, jnp.int32).at[place].set(text["x"], mode="drop")
    lines = jnp.full(size + 2 * window, -1).at[place].set(text["lines"], mode="drop")
    ends = (jnp.arange(len(lines)) < window) | (jnp.arange(len(lines)) >= size + window)
    return {"words": words[places], "lines": jnp.where(ends, -1, lines)[places]}


def make_batch(config: Any, own: Batch, x: Batch, key: jax.Array) -> dict[str, jax.Array]:
    """What a step needs of its blocks: rows of both tables, and how they belong together.

    Returns:
        "inputs" [blocks, I], rows of inputs; "near" bool [blocks, I, T], which of them are
        neighbours of which centre; "outputs", rows of outputs: [blocks, T + drawn], or [blocks, T,
        L] of a tree, with "signs"; and where rows are slowed, "input_share" and "output_share".
    """
    window, size = config.model.window, x["words"].shape[1] - 2 * config.model.window
    centres = x["words"][:, window : window + size]
    spread = (len(centres), size + config.training.drawn)
    bits = jax.random.bits(key, spread, jnp.uint32)  # one draw, which compiles once
    reach = jnp.full(centres.shape, window)
    if config.model.dynamic and config.model.context != "next_word":
        reach = 1 + (bits[:, :size] % window).astype(jnp.int32)
    near = neighbours(x["lines"], reach, before=config.model.context == "next_word")
    batch = {"inputs": x["words"], "near": near, "outputs": centres}
    if config.model.output == "negative":
        drawn = drawn_words(bits[:, size:], own["cuts"])
        batch["outputs"] = jnp.concatenate([centres, drawn], axis=1)
    elif config.model.output == "hierarchical":
        batch["outputs"] = jnp.take(own["nodes"], centres, axis=0, mode="clip")
        batch["signs"] = jnp.take(own["signs"], centres, axis=0, mode="clip")
    if config.training.most_uses is not None:
        batch |= _shares(config, batch, len(own["shares"]))
    return batch


def _shares(config: Any, batch: Batch, words: int) -> dict[str, jax.Array]:
    """Shares of the gradient of the rows that a batch uses very often."""
    most, near = config.training.most_uses, batch["near"].astype(jnp.float32)
    uses = jnp.sum(near, axis=2)
    found = {"input_share": uncrowded(batch["inputs"], uses, words, most)}
    rows, centres = batch["outputs"], near.shape[2]
    _, weights = context_states(jnp.zeros((*near.shape[:2], 1)), near > 0, config.model.context)
    each = jnp.sum(weights, axis=1)
    if config.model.output == "negative":
        drawn = rows.shape[1] - centres
        share = jnp.sum(each, axis=1, keepdims=True) * (config.model.negatives / drawn)
        each = jnp.concatenate([each, jnp.broadcast_to(share, (len(rows), drawn))], axis=1)
    elif config.model.output == "hierarchical":
        each = each[:, :, None] * jnp.abs(batch["signs"]).astype(each.dtype)
    else:
        return found
    return found | {"output_share": uncrowded(rows, each, words, most)}


def closer(inputs: jax.Array, words: jax.Array, lines: jax.Array, reach: int) -> jax.Array:
    """Pairs of neighbours that are more alike than strangers, and pairs compared; float32 [2].

    The pairs are those of `comparable`. Equal counts half.

    Args:
        inputs: [blocks, T, D] rows.
        words, lines: [blocks, T].
    """
    norms = jnp.linalg.norm(inputs, axis=2, keepdims=True)
    unit = split_batch(inputs / jnp.maximum(norms, 1e-30))
    other, compared = jnp.roll(unit, 1, axis=0), comparable(words, lines, reach)
    like = jnp.einsum("bid,bjd->bij", unit, unit)
    unlike = jnp.einsum("bid,bjd->bij", unit, other)
    won = jnp.where(like == unlike, 0.5, like > unlike)
    return jnp.stack([jnp.sum(won * compared), jnp.sum(compared)]).astype(jnp.float32)


def comparable(words: jax.Array, lines: jax.Array, reach: int) -> jax.Array:
    """Which pairs of words can be compared with strangers; bool [blocks, T, T].

    A pair is two different words of a block, at most `reach` places apart in the same line; the
    stranger is what stands in another block where the second word stands.

    Args:
        words, lines: [blocks, T].
    """
    near = neighbours(lines, jnp.full(lines.shape, reach))
    theirs, present = jnp.roll(words, 1, axis=0), jnp.roll(lines, 1, axis=0) >= 0
    fair = (words[:, :, None] != theirs[:, None]) & present[:, None]
    return near & (words[:, :, None] != words[:, None]) & fair
