"""What is where? A convolutional net that finds the objects of a scene, in one pass."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments import classification, detector, found_objects, scenes
from experiments import images as image_sets
from experiments.data import split
from experiments.data.dataset import Dataset, Spec
from experiments.detection_pictures import SHOWN, scene_picture
from experiments.engine.experiment import Data, Experiment, Tree
from experiments.engine.keys import Streams, new_key
from experiments.engine.pictures import Picture
from experiments.engine.selection import Selection, check_selection
from experiments.engine.statistics import Metric
from experiments.found_objects import Reading
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer
from experiments.rows import by_chunks, rows_of
from nets.convnet import ConvNet
from nets.precision import THRESHOLDS

EVALUATION_ROWS = 100
TEST_SEED = 0
"""Of the scenes of an evaluation, the same for every replica."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A net that detects, and how it is trained.

    Attributes:
        data: what is to be found, and in what.
        net: the net.
        reading: how boxes are read from the net's outputs, and what the loss is.
        optimizer: the optimizer and its schedule.
        selection: which parameters are evaluated.
    """

    data: scenes.Scenes = scenes.Scenes()
    net: detector.Net = detector.Net()
    reading: Reading = Reading()
    optimizer: Optimizer = Optimizer(batch_size=16, learning_rate=1e-2, epochs=30)
    selection: Selection = Selection()


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """COCO's mean average precision (primary), that at an IoU of 0.5 and of 0.75, and the loss."""
    del config, spec
    precisions = (Metric(name, chance=0.0) for name in ("map", "map_50", "map_75"))
    return *precisions, Metric("loss", higher_is_better=False)


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    scenes.check(config.data, spec)
    found_objects.check(config.reading)
    check_optimizer(
        config.optimizer, split.training_size(image_sets.rows(config.data), spec.train_rows)
    )
    check_selection(config.selection)
    detector.check(config.net, scenes.size(config.data, spec))


def make_net(config: Any, spec: Spec) -> ConvNet:
    """The net of a config; float fields may be tracers."""
    return detector.make(config.net, spec.classes)


def sample_input(config: Any, spec: Spec) -> jax.Array:
    """Zeros [1, height, width, channels] of a scene."""
    return jnp.zeros((1, *scenes.size(config.data, spec)))


def prepare(config: Any, dataset: Dataset, streams: Streams) -> dict[str, Any]:
    """A replica's training and validation rows."""
    return classification.prepare_rows(image_sets.rows(config.data), dataset, streams)


def epoch_inputs(config: Any, data: Data, key: jax.Array, epoch: jax.Array) -> jax.Array:
    """Positions among the replica's training rows, int32 [steps, batch, things]."""
    rows, batch = data.own["train_rows"].shape[0], config.optimizer.batch_size
    order = scenes.mixed(jax.random.fold_in(key, epoch), rows, config.data.things())
    return order[: rows // batch * batch].reshape(-1, batch, order.shape[-1])


def make_batch(config: Any, data: Data, x: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Scenes, laid out anew in every step (`scenes.compose`)."""
    arrays, rows = rows_of(data, "train")
    layout = scenes.layouts(config.data, key, len(x), arrays["x"].shape[1:3])
    return _composed(config, data, arrays, rows[x], layout)


def _composed(
    config: Any, data: Data, arrays: Mapping[str, jax.Array], rows: jax.Array, layout: Any
) -> dict[str, jax.Array]:
    labels = arrays["y"][rows[:, : config.data.objects]]
    return scenes.compose(config.data, data.own["stats"], arrays["x"][rows], labels, layout)


def loss_fn(
    config: Any, net: Any, params: Tree, model_state: Tree, batch: Tree, key: jax.Array
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
    """The loss of a batch, for each cell that answers for an object."""
    outputs, model_state = net.apply(
        {"params": params, **model_state}, batch["x"], train=True, rngs={"dropout": key},
        mutable=list(model_state),
    )  # fmt: skip
    lost, cells = found_objects.losses(config.reading, outputs, batch)
    loss = jnp.sum(lost) / jnp.maximum(jnp.sum(cells), 1)
    return loss, (model_state, {"loss": loss})


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], None]:
    """Exact precision and loss over as many scenes as a split has images, laid out the same for
    all nets; nothing of a split without rows."""
    if not rows_of(data, split)[1].shape[0]:
        return {}, None
    arrays, rows, layout = _laid_out(config, data, split)

    def looked_at(rows: jax.Array, *layout: jax.Array) -> tuple[Any, ...]:
        batch = _composed(config, data, arrays, rows, scenes.Layout(*layout))
        outputs = net.apply({"params": params, **model_state}, batch["x"], train=False)
        found, right = found_objects.judged(config.reading, outputs, batch)
        lost = found_objects.losses(config.reading, outputs, batch)
        return (found, right, batch["labels"], batch["present"]), lost

    seen, (lost, cells) = by_chunks(looked_at, (rows, *layout), EVALUATION_ROWS)
    precision = found_objects.precision(*seen, classes=net.classes - 4)
    measured = {
        "map": jnp.nanmean(precision),
        "map_50": jnp.nanmean(precision[:, THRESHOLDS.index(0.5)]),
        "map_75": jnp.nanmean(precision[:, THRESHOLDS.index(0.75)]),
        "loss": jnp.sum(lost) / jnp.maximum(jnp.sum(cells), 1),
    }
    return measured, None


def _laid_out(
    config: Any, data: Data, split: str
) -> tuple[Mapping[str, jax.Array], jax.Array, scenes.Layout]:
    """The scenes a split is evaluated on: arrays of images, the rows that take part, and where."""
    arrays, rows = rows_of(data, split)
    keys = [jax.random.fold_in(new_key(TEST_SEED), i) for i in range(2)]
    mixed = scenes.mixed(keys[0], len(rows), config.data.things())
    layout = scenes.layouts(config.data, keys[1], len(rows), arrays["x"].shape[1:3])
    return arrays, jnp.asarray(rows)[mixed], layout


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """`parameters`: how many."""
    del config, net, model_state, data
    return {"parameters": jnp.int32(sum(leaf.size for leaf in jax.tree.leaves(params)))}


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """`found`: the first test scenes with what is there, and with what the net finds."""
    here = jax.tree.map(jnp.asarray, Data({"test": data.splits["test"]}, data.own))

    def look(variables: Tree, data: Data) -> Any:
        arrays, *shown = _laid_out(config, data, "test")
        rows, layout = jax.tree.map(lambda leaf: leaf[:SHOWN], shown)
        batch = _composed(config, data, arrays, rows, layout)
        outputs = net.apply(variables, batch["x"], train=False)
        return batch, *found_objects.judged(config.reading, outputs, batch)

    seen = jax.jit(look)({"params": params, **model_state}, here)
    return {"found": scene_picture(*seen)}


EXPERIMENT = Experiment(
    name="detection",
    summary="nets that find the objects of a scene: boxes, classes, mean average precision",
    config=Config(),
    metrics=metrics,
    load=lambda config, manual_dir: image_sets.load(config.data, manual_dir),
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
    measure=measure,
    pictures=pictures,
)
