"""What does a recurrent net remember, and for how long? The adding and the copy task."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from experiments.data.dataset import Dataset, Spec
from experiments.data.memory import BLANK, GO, RECALLED, adding, copying
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams
from experiments.engine.selection import Selection, check_selection
from experiments.engine.statistics import Metric
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer
from experiments.recurrent import Layers, check_layers, make_stack
from experiments.rows import by_chunks, shuffled
from nets.losses import softmax_cross_entropy
from nets.sequence import SequenceNet

CLOSE = 0.04
"""An error of the adding task below this counts as right (Hochreiter & Schmidhuber 1997)."""
EVALUATION_ROWS = 500


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be remembered.

    Attributes:
        task: adding, or copy.
        length: steps of an adding sequence; steps between the symbols and their recall.
        train_rows: training sequences, validation included.
        test_rows: test sequences.
        validation: fraction of the training sequences held out for validation.
    """

    task: Literal["adding", "copy"] = "adding"
    length: int = 100
    train_rows: int = 20_000
    test_rows: int = 2_000
    validation: Static[float] = 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    """A recurrent net and how it is trained.

    Attributes:
        data: the task.
        layers: the recurrent layers.
        optimizer: the optimizer and its schedule.
        selection: which parameters are evaluated.
    """

    data: Task = Task()
    layers: Layers = Layers()
    optimizer: Optimizer = Optimizer(batch_size=50, clip=1.0, schedule="constant", epochs=10)
    selection: Selection = Selection()


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """The loss (primary): squared error, or nats a step; and the share of right answers."""
    del config, spec
    return Metric("loss", higher_is_better=False), Metric("accuracy", chance=0.0)


@functools.lru_cache(maxsize=4)
def _load(task: Task) -> Dataset:
    make = adding if task.task == "adding" else copying
    return make(task.length, {"train": task.train_rows, "test": task.test_rows})


def load(config: Any, manual_dir: str | None) -> Dataset:
    """The sequences of a task."""
    del manual_dir
    check_task(config.data)
    return _load(dataclasses.replace(config.data, validation=0.0))


def check_task(task: Task) -> None:
    """Refuses a task that cannot be made. Raises `UsageError`."""
    least = 2 if task.task == "adding" else 1
    if task.length < least:
        raise UsageError(f"--length {task.length}: at least {least}")
    if task.test_rows < 1:
        raise UsageError(f"--test-rows {task.test_rows}: at least 1")
    held_out = round(task.validation * task.train_rows) if 0 <= task.validation < 1 else -1
    if held_out < 0 or task.train_rows - held_out < 1 or (task.validation and not held_out):
        raise UsageError(
            f"--validation {task.validation:g} of --train-rows {task.train_rows}: must leave rows "
            "for both, e.g. 0.05 of 20000"
        )


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    del spec
    check_optimizer(config.optimizer, _training_rows(config))
    check_layers(config.layers)
    check_selection(config.selection)
    if config.layers.bidirectional and config.data.task == "copy":
        raise UsageError("--bidirectional: the other direction has the symbols at hand; not a test")


def _training_rows(config: Any) -> int:
    return config.data.train_rows - round(config.data.validation * config.data.train_rows)


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """A replica's training and validation rows."""
    order = streams("split").permutation(len(dataset.splits["train"]["x"])).astype("int32")
    held_out = round(config.data.validation * len(order))
    return {"train_rows": order[held_out:], "validation_rows": order[:held_out]}


def make_net(config: Any, spec: Spec) -> SequenceNet:
    """The net of a config; float fields may be tracers."""
    adds = config.data.task == "adding"
    return SequenceNet(
        make_stack(config.layers),
        outputs=1 if adds else spec.classes,
        reading="last" if adds else "each",
        kernel_init=config.layers.init,
        bias_init=config.layers.bias_init,
    )


def sample_input(config: Any, spec: Spec) -> jax.Array:
    """Zeros [1, steps, features]."""
    features = 2 if config.data.task == "adding" else spec.vocabulary
    return jnp.zeros((1, spec.shape[0], features))


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> jax.Array:
    """Shuffled positions among the replica's training rows, int32 [steps, batch]."""
    rows = data.own["train_rows"].shape[0]
    return shuffled(key, epoch, rows, config.optimizer.batch_size)


def make_batch(config: Any, data: Data, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """One batch (`sequences`)."""
    del key
    return sequences(config.data, data.splits["train"], data.own["train_rows"][x])


def sequences(task: Task, split: Tree, rows: jax.Array) -> dict[str, jax.Array]:
    """What the net reads, "x" [B, steps, features], and answers.

    "y" is [B], the sums of the adding task, or [B, steps], the signs of the copy task, which are
    read one-hot.
    """
    x, y = split["x"][rows], split["y"][rows]
    if task.task == "adding":
        marked = jax.nn.one_hot(split["marks"][rows], task.length).sum(axis=1)
        return {"x": jnp.stack([x, marked], axis=-1), "y": y}
    symbols = x.astype(jnp.int32)

    def filled(sign: int, steps: int) -> jax.Array:
        return jnp.full((len(rows), steps), sign, jnp.int32)

    waiting = [filled(BLANK, task.length - 1), filled(GO, 1), filled(BLANK, RECALLED)]
    read = jnp.concatenate([symbols, *waiting], axis=1)
    said = jnp.concatenate([filled(BLANK, task.length + RECALLED), symbols], axis=1)
    return {"x": jax.nn.one_hot(read, GO + 1), "y": said}


def errors(task: Task, outputs: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Loss and share of right answers of each sequence, [B] each: (sum of the adding task within
    0.04; recalled symbols that are most likely)."""
    if task.task == "adding":
        error = outputs[:, 0] - y
        return jnp.square(error), jnp.abs(error) < CLOSE
    loss = jnp.mean(softmax_cross_entropy(outputs, y), axis=1)
    right = jnp.argmax(outputs, axis=-1) == y
    return loss, jnp.mean(right[:, -RECALLED:], axis=1)


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """Mean loss of a batch."""
    outputs = net.apply(
        {"params": params, **model_state}, batch["x"], train=True, rngs={"dropout": key}
    )
    loss, right = errors(config.data, outputs, batch["y"])
    measured = {"loss": jnp.mean(loss), "accuracy": jnp.mean(right)}
    return measured["loss"], (model_state, measured)


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], None]:
    """Exact mean loss and share of right answers over a split; nothing of one without rows."""
    arrays = data.splits["test" if split == "test" else "train"]
    if split == "test":
        rows = jnp.arange(arrays["y"].shape[0], dtype=jnp.int32)
    else:
        rows = data.own[f"{split}_rows"]
    if not rows.shape[0]:
        return {}, None

    def measured(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = sequences(config.data, arrays, rows)
        outputs = net.apply({"params": params, **model_state}, batch["x"], train=False)
        return errors(config.data, outputs, batch["y"])

    loss, right = by_chunks(measured, (rows,), EVALUATION_ROWS)
    return {"loss": jnp.mean(loss), "accuracy": jnp.mean(right)}, None


EXPERIMENT = Experiment(
    name="memory",
    summary="what recurrent nets remember: the adding and the copy task",
    config=Config(),
    metrics=metrics,
    load=load,
    check=check,
    prepare=prepare,
    make_net=make_net,
    sample_input=sample_input,
    make_optimizer=lambda config, steps: make_optimizer(config.optimizer, steps),
    epoch_inputs=epoch_inputs,
    make_batch=make_batch,
    loss_fn=loss_fn,
    evaluate=evaluate,
    selection=lambda config: config.selection,
)
