"""The training all sides of the benchmark do, and how a side is called."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Problem:
    """Replicas of one MLP with ReLU, trained by Adam on random uint8 "images".

    Every step gathers a batch of shuffled rows, brings it to [0, 1], standardises it, and makes
    one update of the mean softmax cross-entropy.

    Attributes:
        width: units of both hidden layers.
        replicas: nets to train, each with its own initial weights and data order.
        inputs, classes, batch: sizes of one step.
        rows: training rows, of all replicas; an epoch has rows // batch steps.
    """

    width: int
    replicas: int = 32
    inputs: int = 784
    classes: int = 10
    batch: int = 128
    rows: int = 8192

    @property
    def steps(self) -> int:
        """Steps of an epoch of one replica."""
        return self.rows // self.batch

    @property
    def flops_per_step(self) -> int:
        """FLOPs of the matrix products of one step, 6 a weight and example.

        The first layer has 4: nobody needs its gradient by the input, and no side computes it.
        """
        first, second, last = self.inputs * self.width, self.width**2, self.width * self.classes
        return self.batch * (4 * first + 6 * (second + last))


class Arrays(NamedTuple):
    """Data as a side holds them.

    Attributes:
        x: uint8 [rows, inputs].
        y: int32 [rows].
        mean, scale: float32 [inputs]; a batch is (x / 255 - mean) * scale.
    """

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


class Start(NamedTuple):
    """Where one replica begins, so that all sides can begin there.

    Attributes:
        layers: (kernel [inputs, outputs], bias [outputs]) of each layer.
        arrays: its data.
        order: rows of each step, int [steps, batch].
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    arrays: Arrays
    order: np.ndarray


class Side(NamedTuple):
    """One way to train a problem, ready to go.

    Attributes:
        epoch: trains every replica for one epoch, to the end of the last step.
        setup_seconds: compiling, apart from everything timed.
        note: what it chose (plan, threads).
    """

    epoch: Callable[[], Any]
    setup_seconds: float
    note: str


def random_rows(inputs: int, classes: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of noise, uint8 `[rows, inputs]`, and labels that a linear classifier could learn."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (rows, inputs), dtype=np.uint8)
    scores = (x / 255 - 0.5) @ random.normal(size=(inputs, classes))
    return x, scores.argmax(1).astype(np.int32)


def standardised(problem: Problem) -> Arrays:
    """The problem's training rows with their own mean and scale."""
    x, y = random_rows(problem.inputs, problem.classes, problem.rows)
    mean, sd = (x / 255).mean(0), (x / 255).std(0)
    return Arrays(x, y, mean.astype(np.float32), (1 / sd).astype(np.float32))
