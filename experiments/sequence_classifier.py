"""Recurrent nets that classify sequences, or images read element by element."""

import dataclasses
from typing import Any, Literal

from experiments import classification
from experiments.data.dataset import Spec
from experiments.data.split import Data
from experiments.engine.errors import UsageError
from experiments.engine.selection import Selection
from experiments.objectives import Objective
from experiments.optimizers import Optimizer
from experiments.recurrent import Layers, check_layers, make_stack
from nets.sequence import SequenceNet


@dataclasses.dataclass(frozen=True)
class Config:
    """A recurrent net, what it reads, and how it is trained.

    Attributes:
        data: the data set and its preprocessing; with permute, positions in another order.
        layers: the recurrent layers.
        optimizer: the optimizer and its schedule.
        objective: the loss and the penalties.
        selection: which parameters are evaluated.
        element: what an image gives at each step: a row, or a pixel.
        reading: what the output layer sees: the last state, the mean of all, or all.
    """

    data: Data = Data()
    layers: Layers = Layers(width=(32,))
    optimizer: Optimizer = Optimizer(clip=1.0)
    objective: Objective = Objective()
    selection: Selection = Selection()
    element: Literal["row", "pixel"] = "row"
    reading: Literal["last", "mean", "all"] = "last"


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    classification.check(config, spec)
    check_layers(config.layers)
    if config.objective.max_norm is not None:
        raise UsageError("--max-norm: not with recurrent layers, whose units have weights in parts")


def make_net(config: Any, spec: Spec) -> SequenceNet:
    """The net of a config; float fields may be tracers."""
    image = len(spec.shape) > 1 and config.data.components is None
    return SequenceNet(
        make_stack(config.layers),
        outputs=spec.classes,
        reading=config.reading,
        time_axes=2 if image and config.element == "pixel" else 1,
        kernel_init=config.layers.init,
        bias_init=config.layers.bias_init,
    )


EXPERIMENT = classification.classifier(
    name="sequence_classifier",
    summary="recurrent nets that classify sequences, or images row by row or pixel by pixel",
    config=Config(),
    check=check,
    make_net=make_net,
)
