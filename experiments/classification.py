"""What every classifier shares: batches from shuffled rows, the loss, exact evaluation.

An experiment's config composes `Data`, `Optimizer` and `Objective` as its fields `data`,
`optimizer` and `objective`; the functions below are then its pieces.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments import data as datasets
from experiments.classifier_pictures import pictures
from experiments.data import preprocess, split
from experiments.data.dataset import Dataset, Spec
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams
from experiments.engine.paths import own_file, stamp
from experiments.engine.selection import check_selection
from experiments.engine.statistics import Metric
from experiments.objectives import check_objective, example_loss, penalty
from experiments.optimizers import check_optimizer, make_optimizer
from experiments.rows import by_chunks, rows_of, shuffled
from nets.regularizers import concentration, max_norm

EVALUATION_ROWS = 1000
Views = Callable[[Callable[[jax.Array], jax.Array], jax.Array], jax.Array]


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """Accuracy (primary) and the mean loss."""
    del config
    accuracy = Metric("accuracy", chance=1 / spec.classes)
    return accuracy, Metric("loss", higher_is_better=False)


@functools.lru_cache(maxsize=8)
def _load(data: split.Data, manual_dir: str | None, written: tuple[int, ...]) -> Dataset:
    """One reading; `written` tells files that were written anew apart."""
    del written
    return split.select(
        data, datasets.load(data.dataset, data_file=data.data_file, manual_dir=manual_dir)
    )


def load(config: Any, manual_dir: str | None) -> Dataset:
    """The data set of a config, kept for the next cell that asks for it."""
    return load_data(config.data, manual_dir)


def load_data(data: split.Data, manual_dir: str | None) -> Dataset:
    """`load` of a config's `data`."""
    chosen = split.Data(
        dataset=data.dataset, data_file=data.data_file, binary=data.binary, permute=data.permute
    )
    written = stamp(own_file(data.data_file, manual_dir)) if data.data_file else ()
    return _load(chosen, manual_dir, written)


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    split.check(config.data, spec)
    check_optimizer(config.optimizer, split.training_size(config.data, spec.train_rows))
    check_objective(config.objective)
    check_selection(config.selection)


@functools.lru_cache(maxsize=128)
def prepare_rows(data: split.Data, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """`prepare` of a config's `data`."""
    return split.prepare(data, dataset, streams)


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """A replica's training and validation rows, labels and preprocessing statistics.

    They depend on the data config and the seed alone, so cells share them.
    """
    return prepare_rows(config.data, dataset, streams)


def refuse_batch_of_one(config: Any) -> None:
    """Raises `UsageError` of a batch that batch norm of units without positions cannot take."""
    if config.optimizer.batch_size == 1:
        raise UsageError(
            "--batch-size 1: by batch norm every unit of a dense layer would give its bias, "
            "whatever the input; take 2 or more, or another norm"
        )


def sample_input(config: Any, spec: Spec) -> jax.Array:
    """Zeros [1, *shape], the shape of a preprocessed example."""
    components = config.data.components
    return jnp.zeros((1, *(spec.shape if components is None else (components,))))


def outputs(config: Any, spec: Spec) -> tuple[int, int]:
    """One score for each class."""
    del config
    return 1, spec.classes


def total_steps(config: Any, spec: Spec) -> int:
    """Length of the training."""
    rows = split.training_size(config.data, spec.train_rows)
    return rows // config.optimizer.batch_size * config.optimizer.epochs


def optimizer(config: Any, total_steps: int, **parts: Any) -> optax.GradientTransformation:
    """The config's optimizer, with the max-norm projection last; `parts` as `make_optimizer`."""
    limit = config.objective.max_norm
    last = () if limit is None else (max_norm(limit),)
    return make_optimizer(config.optimizer, total_steps, *last, **parts)


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> jax.Array:
    """Positions among the replica's training rows, int32 [steps, batch].

    What does not fill a last batch is left out of this epoch. Shuffled, another part is in the
    next; in the order of the file, it is the same one.
    """
    rows, batch = data.own["train_rows"].shape[0], config.optimizer.batch_size
    if config.data.order == "file":
        return jnp.arange(rows // batch * batch, dtype=jnp.int32).reshape(-1, batch)
    return shuffled(key, epoch, rows, batch)


def make_batch(config: Any, data: Data, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Gathers and preprocesses one batch: "x" [B, *shape], "y" [B]."""
    del config, key
    own = data.own
    inputs = data.splits["train"]["x"][own["train_rows"][x]]
    return {"x": preprocess.apply(own["stats"], inputs), "y": own["labels"][x]}


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """Mean loss of a batch plus the weight penalty; metrics without the penalty.

    Where inputs are mixtures, both are averages over the two labels of each, by their shares.
    """
    logits, model_state = net.apply(
        {"params": params, **model_state}, batch["x"], train=True, rngs={"dropout": key},
        mutable=list(model_state),
    )  # fmt: skip
    objective = config.objective

    def measure_on(labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss = jnp.mean(example_loss(objective)(logits, labels))
        return loss, jnp.mean(jnp.argmax(logits, axis=-1) == labels)

    loss, right = measure_on(batch["y"])
    if "y_other" in batch:
        share, (other_loss, other_right) = batch["weight"], measure_on(batch["y_other"])
        loss = share * loss + (1 - share) * other_loss
        right = share * right + (1 - share) * other_right
    measured = {"accuracy": right, "loss": loss}
    return loss + penalty(objective, params), (model_state, measured)


def evaluate(
    config: Any,
    net: Any,
    params: Tree,
    model_state: Tree,
    data: Data,
    split: str,
    views: Views = lambda scores, x: scores(x),
) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """Exact mean accuracy and loss over a split, and which examples were right.

    Nothing, where no rows are held out for validation.

    "train" and "validation" are the replica's own rows of the training file; training labels
    are those it trained on, noise included.

    Args:
        views: (the net as a function of preprocessed inputs, inputs) -> class scores.
    """
    source, rows = rows_of(data, split)
    labels = data.own["labels"] if split == "train" else source["y"][rows]
    if not rows.shape[0]:
        return {}, None
    loss = example_loss(config.objective)

    def chunk(rows: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = preprocess.apply(data.own["stats"], source["x"][rows])
        logits = views(lambda x: net.apply({"params": params, **model_state}, x, train=False), x)
        return jnp.argmax(logits, axis=-1) == labels, loss(logits, labels)

    right, lost = by_chunks(chunk, (rows, labels), EVALUATION_ROWS)
    return {"accuracy": jnp.mean(right), "loss": jnp.mean(lost)}, right


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """What the final net is like beside its scores.

    `parameters`: how many. `weight_...`: how concentrated the weights are. `curvature`: how far
    the net is from affine, |f((a+b)/2) - (f(a)+f(b))/2| / |f(a) - f(b)| over pairs of test
    examples, if there is a pair; 0 for an affine map.
    """
    del config
    concentrated = {f"weight_{name}": value for name, value in concentration(params).items()}
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    found = {"parameters": jnp.int32(count), **concentrated}
    x = preprocess.apply(data.own["stats"], data.splits["test"]["x"][:200])
    a, b = x[: x.shape[0] // 2], x[x.shape[0] // 2 : x.shape[0] // 2 * 2]
    if not len(a):
        return found
    points = jnp.concatenate([a, b, (a + b) / 2])
    scores = net.apply({"params": params, **model_state}, points, train=False)
    fa, fb, middle = jnp.split(scores, 3)
    bend = jnp.linalg.norm(middle - (fa + fb) / 2)
    return found | {"curvature": bend / jnp.maximum(jnp.linalg.norm(fa - fb), 1e-30)}


classifier = functools.partial(
    Experiment,
    metrics=metrics,
    load=load,
    prepare=prepare,
    sample_input=sample_input,
    outputs=outputs,
    make_optimizer=optimizer,
    epoch_inputs=epoch_inputs,
    make_batch=make_batch,
    loss_fn=loss_fn,
    evaluate=evaluate,
    selection=lambda config: config.selection,
    measure=measure,
    pictures=pictures,
)
"""Makes an `Experiment` of the pieces above and of its own: name, summary, config, check, make_net.
What is given takes the place of a piece."""
