"""A small set of arrays of odd sizes, and the pieces of one replica that trains on it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mlp
from experiments.data.dataset import Dataset
from experiments.engine.config import replace, split
from experiments.engine.experiment import Data, Experiment
from experiments.engine.keys import Streams
from experiments.engine.step import Replica, State, Trainer

ROWS = {"train": 1411, "test": 1237}


class Pieces(NamedTuple):
    """What the functions of one replica take."""

    config: Any
    trainer: Trainer
    replica: Replica
    data: Data
    dataset: Dataset


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory) -> str:
    """Three classes in five numbers, 1,411 + 1,237 rows, hard to tell apart."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 5))
    arrays = {}
    for name, rows in ROWS.items():
        y = random.integers(0, 3, rows)
        arrays[f"y_{name}"] = y
        arrays[f"x_{name}"] = (centres[y] + random.normal(size=(rows, 5))).astype(np.float32)
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture(scope="session")
def pieces(rows_file):
    """Builds the pieces of a replica of `mlp` on the small set from changes of its config."""

    def build(seed: int = 0, **changes: Any) -> Pieces:
        small = {"dataset": "file", "data_file": rows_file, "width": (7,), "batch_size": 100}
        return make_pieces(mlp.EXPERIMENT, seed, **small | changes)

    return build


def make_pieces(experiment: Experiment, seed: int = 0, **changes: Any) -> Pieces:
    """The pieces of a replica of an experiment, its config with these changes."""
    config = replace(experiment.config, changes)
    static, floats = split(config)
    dataset = experiment.load(config, None)
    experiment.check(config, dataset.spec)
    own = experiment.prepare(config, dataset, Streams(seed))
    steps = len(own["train_rows"]) // config.optimizer.batch_size
    total = steps * config.optimizer.epochs
    trainer = Trainer(experiment, static, dataset.spec, total)
    traced = {name: jnp.float32(value) for name, value in floats.items()}
    splits = {name: dict(arrays) for name, arrays in dataset.splits.items()}
    data = Data(*jax.tree.map(jnp.asarray, (splits, own)))
    return Pieces(config, trainer, Replica(traced, jnp.int32(seed)), data, dataset)


@pytest.fixture(scope="session")
def images_file(tmp_path_factory) -> str:
    """60 + 30 noisy images of 8x8 in colour, bright in one of three places."""
    random, arrays = np.random.default_rng(0), {}
    for name, rows in {"train": 60, "test": 30}.items():
        y = random.integers(0, 3, rows)
        x = random.integers(0, 100, (rows, 8, 8, 3), dtype=np.uint8)
        for image, label in zip(x, y, strict=True):
            image[2 * label : 2 * label + 3, 2:5] += 100
        arrays |= {f"x_{name}": x, f"y_{name}": y}
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture(scope="session")
def image_pieces(images_file):
    """Builds the pieces of a replica of an experiment on the small images."""

    def build(experiment: Experiment, seed: int = 0, **changes: Any) -> Pieces:
        small = {"dataset": "file", "data_file": images_file, "batch_size": 18}
        return make_pieces(experiment, seed, **small | changes)

    return build


def step_of(pieces: Pieces) -> str:
    """The first state and the first step as they are traced."""
    trainer, replica, data = pieces.trainer, pieces.replica, pieces.data
    xs = jax.eval_shape(trainer.epoch_inputs, replica, data, jnp.int32(0))
    state = jax.eval_shape(trainer.init, replica)
    step = jax.make_jaxpr(trainer.first_step)(state, replica, data, xs)
    return f"{jax.make_jaxpr(trainer.init)(replica)}{step}"


@functools.partial(jax.jit, static_argnums=0)
def _init(trainer: Trainer, replica: Replica) -> State:
    return trainer.init(replica)


def first_state(pieces: Pieces) -> State:
    """The state before the first step."""
    return _init(pieces.trainer, pieces.replica)


def reference_scores(pieces: Pieces, params: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Class scores [n, K] of a ReLU net and labels [n] of a split, in NumPy float64."""
    own, arrays = pieces.data.own, pieces.dataset.splits
    if split == "test":
        x, y = arrays["test"]["x"], arrays["test"]["y"]
    else:
        rows = np.asarray(own[f"{split}_rows"])
        x, y = arrays["train"]["x"][rows], arrays["train"]["y"][rows]
    y = np.asarray(own["labels"]) if split == "train" else y
    rows = np.asarray(own["train_rows"])
    seen = arrays["train"]["x"][rows].astype(np.float64)
    hidden = (x - seen.mean(0)) / seen.std(0)
    names = sorted(name for name in params if name.startswith("layer_"))
    for name in [*names, "output"]:
        layer = {key: np.asarray(value, np.float64) for key, value in params[name].items()}
        hidden = hidden @ layer["kernel"] + layer["bias"]
        if name != "output":
            hidden = np.maximum(hidden, 0)
    return hidden, y


def reference_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Softmax cross-entropy per example, float64."""
    shifted = scores - scores.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
