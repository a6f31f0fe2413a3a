"""Multilayer perceptrons: from the linear classifier to deep nets of any width and activation."""

import dataclasses
from typing import Annotated, Any, Literal

import jax.numpy as jnp

from experiments import classification
from experiments.data.dataset import Spec
from experiments.data.split import Data
from experiments.engine.errors import UsageError
from experiments.engine.selection import Selection
from experiments.engine.values import Choices, spell
from experiments.objectives import Objective
from experiments.optimizers import Optimizer
from nets.activations import ACTIVATIONS, Activation, as_activation
from nets.initializers import INITIALIZERS, Initializer
from nets.mlp import MLP


@dataclasses.dataclass(frozen=True)
class Config:
    """A multilayer perceptron and how it is trained.

    Attributes:
        data: the data set and its preprocessing.
        optimizer: the optimizer and its schedule.
        objective: the loss and the penalties.
        selection: which parameters are evaluated.
        width: units of each hidden layer, `100,100`; `()` is the linear classifier.
        activation: of every hidden layer, `relu` or `leaky_relu:0.2`.
        norm: normalisation before each activation.
        dropout: rate after each activation.
        input_dropout: rate on the input.
        input_noise: standard deviation of Gaussian noise on the input.
        input_noise_schedule: constant, or linear decay to zero over the training.
        skip: add a hidden layer's input to its output where the widths match.
        init: initialiser of every kernel, `he_normal` or `normal:0.01`.
        init_scale: factor on all initial kernels.
        bias_init: initialiser of every bias.
        compute_dtype: of matrix products and activations; parameters and loss stay float32.
    """

    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    objective: Objective = Objective()
    selection: Selection = Selection()
    width: tuple[int, ...] = (512, 512)
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["relu"]
    norm: Literal["none", "batch", "layer"] = "none"
    dropout: float | None = None
    input_dropout: float | None = None
    input_noise: float | None = None
    input_noise_schedule: Literal["constant", "linear"] = "constant"
    skip: bool = False
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    classification.check(config, spec)
    if any(width < 1 for width in config.width):
        raise UsageError(f"--width {spell(config.width)}: every layer needs at least one unit")
    if config.norm == "batch" and config.width:
        classification.refuse_batch_of_one(config)
    for flag, rate in {
        "--dropout": config.dropout,
        "--input-dropout": config.input_dropout,
    }.items():
        if rate is not None and not 0 <= rate < 1:
            raise UsageError(f"{flag} {rate}: must be at least 0 and below 1")
    for flag, scale in {
        "--input-noise": config.input_noise,
        "--init-scale": config.init_scale,
    }.items():
        if scale is not None and not 0 <= scale < float("inf"):
            raise UsageError(f"{flag} {scale}: must not be negative")


def make_net(config: Any, spec: Spec) -> MLP:
    """The net of a config; float fields may be tracers."""
    falls = config.input_noise_schedule == "linear"
    return MLP(
        widths=config.width,
        classes=spec.classes,
        activation=config.activation,
        norm=config.norm,
        dropout=config.dropout,
        input_dropout=config.input_dropout,
        input_noise=config.input_noise,
        input_noise_steps=classification.total_steps(config, spec) if falls else None,
        skip=config.skip,
        kernel_init=config.init,
        init_scale=config.init_scale,
        bias_init=config.bias_init,
        dtype=jnp.dtype(config.compute_dtype),
    )


EXPERIMENT = classification.classifier(
    name="mlp",
    summary="multilayer perceptrons, from the linear classifier up",
    config=Config(),
    check=check,
    make_net=make_net,
)
