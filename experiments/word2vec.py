"""Word vectors: what does the company of a word say about it? CBOW, skip-gram and relatives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import word_blocks as blocks
from experiments.data import words
from experiments.data.dataset import Dataset, Spec
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams, new_key
from experiments.engine.rows import look_up
from experiments.engine.statistics import Metric
from experiments.word_options import Config, check
from experiments.word_pictures import pictures
from experiments.word_scores import remark, set_scores
from nets import embeddings

EVALUATION_SAMPLE, EVALUATION_REACH = 1e-3, 5
"""How a text is thinned, and how far neighbours reach, where nets of all settings are compared."""
EVALUATION_BLOCK, EVALUATION_BLOCKS = 64, 16
"""How it is cut then, whatever training reads at a time: words of a block, blocks at a time."""


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """The closeness (primary), and the loss of a prediction, in nats.

    Losses are comparable between nets of the same context, output, window and negatives only.
    Closeness is comparable between all: how often a word is more like one of its neighbours in the
    held-out text than like a word from elsewhere in it, by the cosine.
    """
    del config, spec
    return Metric("closeness", chance=0.5), Metric("loss", higher_is_better=False)


def examples(dataset: Dataset) -> int:
    """How many pairs of words an evaluation of the test text compares."""
    text = {name: dataset.splits["test"][name] for name in ("x", "lines")}
    shares, numbers, size = _tested(dataset, "test")

    def compared(text: Tree, shares: jax.Array, numbers: jax.Array) -> jax.Array:
        laid = blocks.cut_text(new_key(0), text, shares, numbers, size, window=1)
        inside = jax.tree.map(lambda each: each[:, :, 1:-1], laid)

        def count(block: Tree) -> jax.Array:
            return jnp.sum(blocks.comparable(**block, reach=EVALUATION_REACH))

        return jnp.sum(jax.lax.map(count, inside))

    return int(jax.jit(compared)(text, shares, numbers))


def _tested(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Of an evaluation: shares of words that stay, numbers of the blocks, and words of a block."""
    shares = blocks.kept_shares(dataset.splits["train"]["counts"], EVALUATION_SAMPLE)
    text = dataset.splits[split]["x"]
    size, together = evaluation_blocks(blocks.most_kept(text, shares))
    return shares, blocks.block_numbers(text, shares, size, together), size


def load(config: Any, manual_dir: str | None) -> Dataset:
    """The words of a config's text.

    Raises:
        UsageError: no pair of neighbours, or a window larger than the longest line.
    """
    dataset = words.load(config.data, manual_dir)
    words.numbers_of(config.data.pictured, dataset.vocabulary)
    for split in ("train", "validation", "test"):
        longest = int(np.bincount(dataset.splits[split]["lines"], minlength=1).max())
        if longest < 2:
            raise UsageError(
                f"{dataset.name}: no line of its {split} text has two of the "
                f"{dataset.spec.vocabulary:,} words that stand {config.data.min_count} times or "
                "more in the training text: give more text, or a smaller --min-count"
            )
        if split == "train" and config.model.window >= longest:
            raise UsageError(
                f"--window {config.model.window}: larger than the longest line of "
                f"{dataset.name}, which has {longest} words: at most {longest - 1}"
            )
    return dataset


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """How words are thinned and drawn, and the numbers of the blocks of each split."""
    del streams
    counts, size = dataset.splits["train"]["counts"], config.training.block
    shares = blocks.kept_shares(counts, config.training.sample)
    own = {"shares": shares}
    batch = config.training.batch_size // size
    own["blocks"] = blocks.block_numbers(dataset.splits["train"]["x"], shares, size, batch)
    for split in ("train", "validation", "test"):
        own["tested_shares"], own[f"{split}_blocks"], size = _tested(dataset, split)
        own[f"{split}_places"] = np.arange(size, dtype=np.int32)  # in a block; its size counts
    if config.data.pictured:
        own["pictured"] = words.numbers_of(config.data.pictured, dataset.vocabulary)
    if config.model.output == "negative":
        own["cuts"] = embeddings.negative_cuts(counts)
    if config.model.output == "hierarchical":
        own |= blocks.tree_of(counts)
    return own


def evaluation_blocks(words: int) -> tuple[int, int]:
    """Words of a block, and blocks at a time, of so many words; few are cut into several, too."""
    size = max(EVALUATION_REACH + 1, min(EVALUATION_BLOCK, words // EVALUATION_BLOCKS))
    return size, max(2, min(EVALUATION_BLOCKS, -(-words // size)))


def make_net(config: Any, spec: Spec) -> embeddings.WordTables:
    """The two tables."""
    nodes = config.model.output == "hierarchical"
    return embeddings.WordTables(
        spec.vocabulary, spec.vocabulary - nodes, features=config.model.dimension
    )


def make_optimizer(config: Any, total_steps: int) -> optax.GradientTransformation:
    """Plain gradient descent at a rate that falls linearly."""
    first, last = config.training.learning_rate, config.training.end_factor
    return optax.scale_by_schedule(lambda step: -first * (1 - (1 - last) * step / total_steps))


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> Tree:
    """The text of an epoch in shuffled blocks (`word_blocks.cut_text`)."""
    return blocks.cut_text(
        jax.random.fold_in(key, epoch), data.splits["train"], data.own["shares"],
        data.own["blocks"], config.training.block, config.model.window,
    )  # fmt: skip


def make_batch(config: Any, data: Data, x: Tree, key: jax.Array) -> Tree:
    """See `word_blocks.make_batch`."""
    return blocks.make_batch(config, data.own, x, key)


def rows(config: Any, batch: Tree) -> dict[str, jax.Array]:
    """The rows that a step uses; softmax uses all outputs."""
    names = ("input",) if config.model.output == "softmax" else ("input", "output")
    return {name: batch[f"{name}s"] for name in names}


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """The sum of a batch's losses; recorded is the mean of a prediction."""
    del net, key
    tables = dict(params)
    for name in ("input", "output"):
        if f"{name}_share" in batch:
            tables[name] = embeddings.slowed(params[name], batch[f"{name}_share"])
    states, weights = embeddings.context_states(
        tables["input"], batch["near"], config.model.context
    )
    if config.model.context != "skip_gram" and config.training.shared_error == "word2vec":
        count = jnp.maximum(jnp.sum(batch["near"], axis=1), 1).astype(states.dtype)
        summed = config.model.context == "cbow_sum"
        states = embeddings.slowed(states, 1 / count if summed else count)
    match config.model.output:
        case "negative":
            loss = embeddings.negative_sampling_loss(
                states, weights, tables["output"], config.model.negatives
            )
        case "hierarchical":
            loss = embeddings.hierarchical_loss(states, weights, tables["output"], batch["signs"])
        case _:
            centres = batch["outputs"]
            loss = embeddings.softmax_loss(states, weights, tables["output"], centres)
    predictions = jnp.maximum(jnp.sum(weights), 1)
    return loss, (model_state, {"loss": loss / predictions})


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], None]:
    """Closeness and loss over a whole split, thinned, cut and drawn alike for every net."""
    arrays, own, key = data.splits[split], data.own, new_key(0)
    xs = blocks.cut_text(
        key, arrays, own["tested_shares"], own[f"{split}_blocks"],
        own[f"{split}_places"].size, config.model.window,
    )  # fmt: skip
    keys = jax.vmap(lambda step: jax.random.fold_in(key, step))(jnp.arange(len(xs["words"])))

    def measured(each: Tree) -> jax.Array:
        x, own_key = each
        batch = blocks.make_batch(config, own, x, own_key)
        seen = look_up(params, rows(config, batch))
        loss, (_, found) = loss_fn(config, net, seen, model_state, batch, own_key)
        predictions = loss / jnp.maximum(found["loss"], 1e-30)
        inside = lambda each: each[:, config.model.window : -config.model.window]  # noqa: E731
        pairs = blocks.closer(
            inside(seen["input"]), inside(x["words"]), inside(x["lines"]), EVALUATION_REACH
        )
        return jnp.concatenate([pairs, jnp.stack([loss, predictions])])

    won, compared, loss, predictions = jnp.sum(jax.lax.map(measured, (xs, keys)), axis=0)
    closeness = jnp.where(compared > 0, won / jnp.maximum(compared, 1), 0.5)
    return {"closeness": closeness, "loss": loss / jnp.maximum(predictions, 1)}, None


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """How many words have vectors, and scores by the word sets of the publishers' files."""
    del net, model_state
    table = params["input"]
    scores = set_scores(table, data.splits.get("sets", {}), config.data.top)
    return {"vocabulary": jnp.float32(len(table)), **scores}


EXPERIMENT = Experiment(
    name="word2vec",
    summary="vectors of words from the words around them: skip-gram, CBOW, next word",
    config=Config(),
    metrics=metrics,
    examples=examples,
    load=load,
    check=check,
    prepare=prepare,
    make_net=make_net,
    sample_input=lambda config, spec: jnp.zeros(1, jnp.int32),
    make_optimizer=make_optimizer,
    epoch_inputs=epoch_inputs,
    make_batch=make_batch,
    rows=rows,
    loss_fn=loss_fn,
    evaluate=evaluate,
    measure=measure,
    remark=remark,
    pictures=pictures,
    vectors=lambda params: params["input"],
)
