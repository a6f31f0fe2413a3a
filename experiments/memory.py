"""What does a recurrent net remember, and for how long? The adding and the copy task."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from experiments import memory_reach
from experiments import memory_tasks as tasks
from experiments.data.dataset import Dataset, Spec
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams
from experiments.engine.selection import Selection, check_selection
from experiments.engine.statistics import Metric
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer
from experiments.recurrent import Layers, check_layers, make_stack
from experiments.rows import by_chunks, rows_of, shuffled
from nets.sequence import SequenceNet

EVALUATION_ROWS = 500


@dataclasses.dataclass(frozen=True)
class Config:
    """A recurrent net and how it is trained.

    Attributes:
        data: the task.
        layers: the recurrent layers.
        optimizer: the optimizer and its schedule.
        selection: which parameters are evaluated.
    """

    data: tasks.Task = tasks.Task()
    layers: Layers = Layers(width=(64,))
    optimizer: Optimizer = Optimizer(
        learning_rate=1e-2, batch_size=50, clip=1.0, schedule="constant", epochs=5
    )
    selection: Selection = Selection()


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """The loss (primary): squared error, or nats a step; and the share of right answers."""
    del config, spec
    return Metric("loss", higher_is_better=False), Metric("accuracy", chance=0.0)


def load(config: Any, manual_dir: str | None) -> Dataset:
    """The sequences of a task."""
    del manual_dir
    tasks.check(config.data)
    return tasks.load(dataclasses.replace(config.data, validation=0.0))


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
    """One batch (`memory_tasks.sequences`)."""
    del key
    return tasks.sequences(config.data, data.splits["train"], data.own["train_rows"][x])


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """Mean loss of a batch."""
    outputs, model_state = net.apply(
        {"params": params, **model_state}, batch["x"], train=True, rngs={"dropout": key},
        mutable=list(model_state),
    )  # fmt: skip
    loss, right = tasks.errors(config.data, outputs, batch["y"])
    measured = {"loss": jnp.mean(loss), "accuracy": jnp.mean(right)}
    return measured["loss"], (model_state, measured)


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], None]:
    """Exact mean loss and share of right answers over a split; nothing of one without rows."""
    arrays, rows = rows_of(data, split)
    if not rows.shape[0]:
        return {}, None

    def measured(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = tasks.sequences(config.data, arrays, rows)
        outputs = net.apply({"params": params, **model_state}, batch["x"], train=False)
        return tasks.errors(config.data, outputs, batch["y"])

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
    measure=memory_reach.measure,
    remark=memory_reach.remark,
    pictures=memory_reach.pictures,
)
