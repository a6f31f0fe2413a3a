"""The tasks of the experiment `memory`: what a net reads, what it should answer, its errors."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from experiments.data.dataset import Dataset
from experiments.data.memory import BLANK, GO, RECALLED, adding, copying
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from nets.losses import softmax_cross_entropy

Tree = Any
CLOSE = 0.04
"""An error of the adding task below this counts as right (Hochreiter & Schmidhuber 1997)."""


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


@functools.lru_cache(maxsize=4)
def load(task: Task) -> Dataset:
    """The sequences of a task."""
    make = adding if task.task == "adding" else copying
    return make(task.length, {"train": task.train_rows, "test": task.test_rows})


def steps(task: Task) -> int:
    """Elements of a sequence."""
    return task.length if task.task == "adding" else task.length + 2 * RECALLED


def check(task: Task) -> None:
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
