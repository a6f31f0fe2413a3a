"""The convolutional nets all sides of the benchmark train."""

import dataclasses
from typing import Any

import numpy as np

from experiments.benchmarks.problem import Arrays, random_rows

LEARNING_RATE, MOMENTUM = 0.01, 0.9


@dataclasses.dataclass(frozen=True)
class ImageProblem:
    """Replicas of one convolutional net, trained by SGD with momentum on random uint8 images.

    Every step gathers a batch of shuffled rows, brings it to [0, 1], standardises it by channel,
    and makes one update of the mean softmax cross-entropy.

    Attributes:
        title: what the net is called.
        layers: of a plain net (`nets.convnet`): 3x3 convolutions and 2x2 max pooling.
        depth, width: of a residual net for CIFAR, where `layers` is empty; it has batch norm.
        replicas: nets to train, each with its own initial weights and data order.
        apart: Ablax trains each replica as a run of its own, not all of them as one study.
        size, channels, classes, batch: sizes of one step.
        rows: training rows, of all replicas; an epoch has rows // batch steps.
    """

    title: str
    layers: str = ""
    depth: int = 20
    width: int = 16
    replicas: int = 1
    apart: bool = False
    size: int = 32
    channels: int = 3
    classes: int = 10
    batch: int = 128
    rows: int = 1024

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image."""
        return self.size, self.size, self.channels

    @property
    def images(self) -> int:
        """Training images of one epoch, of all replicas."""
        return self.replicas * (self.rows // self.batch) * self.batch


PLAIN = ImageProblem(
    "3x(2 conv3x3) 32/64/128, max pooling", "32k3 32k3 max2 64k3 64k3 max2 128k3 128k3 max2"
)
RESIDUAL = ImageProblem("ResNet-20")
SEEDS = ImageProblem("8 seeds of conv3x3 16/32, max pooling", "16k3 max2 32k3 max2", replicas=8)


def random_images(problem: ImageProblem, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, uint8 `[rows, height, width, channels]`, and labels."""
    x, y = random_rows(int(np.prod(problem.shape)), problem.classes, rows)
    return x.reshape(rows, *problem.shape), y


def standardised(problem: ImageProblem) -> Arrays:
    """The problem's training rows with the mean and scale of each channel."""
    x, y = random_images(problem, problem.rows)
    pixels: Any = (x / 255).reshape(-1, problem.channels)
    mean, scale = pixels.mean(0), 1 / pixels.std(0)
    return Arrays(x, y, mean.astype(np.float32), scale.astype(np.float32))
