"""Residual nets on images and sequences, and the same nets without shortcuts."""

import dataclasses
from typing import Annotated, Any, Literal

import jax.numpy as jnp

from experiments import convolutional
from experiments.data.augment import Augmentation
from experiments.data.dataset import Spec
from experiments.data.split import Data
from experiments.engine.errors import UsageError
from experiments.engine.selection import Selection
from experiments.engine.values import Choices
from experiments.objectives import Objective
from experiments.optimizers import Optimizer
from nets.activations import ACTIVATIONS, Activation, as_activation
from nets.initializers import INITIALIZERS, Initializer
from nets.normalization import Norm
from nets.residual import DEEP, ResNet, Stage, cifar_stages, imagenet_stages


@dataclasses.dataclass(frozen=True)
class Config:
    """A residual net and how it is trained.

    Attributes:
        data: the data set and its preprocessing.
        augmentation: how training inputs are changed.
        optimizer: the optimizer and its schedule.
        objective: the loss and the penalties.
        selection: which parameters are evaluated.
        form: three stages from 16 filters on (cifar), or four from 64 on (imagenet).
        depth: weight layers off the shortcuts: 6n + 2, with bottlenecks 9n + 2; in the imagenet
            form 18, 34, 50, 101 or 152.
        width: filters of the first stage; none: as published.
        stem: a 3x3 convolution, or 7x7 with stride 2 and then pooling; auto: by form.
        block: two 3x3 convolutions (basic), or 1x1, 3x3 and 1x1 (bottleneck); auto: basic, but
            bottleneck for imagenet nets of 50 layers or more.
        preactivation: normalisation and activation before each convolution.
        shortcut: A, the input and zeros for new channels; B, a projection where the shape changes;
            C, always a projection; none, a plain net; auto: A, in the imagenet form B.
        activation: of the stem and in every block, `relu` or `leaky_relu:0.2`.
        norm: normalisation at each convolution; group: 32 groups, or as many as have two
            channels and eight values at least.
        dropout: rate.
        dropout_at: after every activation, inside blocks, or before the output layer.
        init: initialiser of every kernel, `he_normal` or `normal:0.01`.
        init_scale: factor on all initial kernels.
        bias_init: initialiser of every bias.
        compute_dtype: of products and activations; parameters and loss stay float32.
    """

    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    objective: Objective = Objective()
    selection: Selection = Selection()
    form: Literal["cifar", "imagenet"] = "cifar"
    depth: int = 20
    width: int | None = None
    stem: Literal["auto", "3x3", "7x7"] = "auto"
    block: Literal["auto", "basic", "bottleneck"] = "auto"
    preactivation: bool = False
    shortcut: Literal["auto", "A", "B", "C", "none"] = "auto"
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["relu"]
    norm: Norm = "batch"
    dropout: float | None = None
    dropout_at: Literal["every", "block", "output"] = "every"
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    if config.width is not None and config.width < 1:
        raise UsageError(f"--width {config.width}: at least 1 filter")
    try:
        _stages(config)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    try:
        convolutional.check(config, spec, make_net)
    except ValueError as error:
        raise UsageError(f"inputs {spec.shape} are too small for this net: {error}") from None


def _stages(config: Any) -> tuple[Stage, ...]:
    make, width = (cifar_stages, 16) if config.form == "cifar" else (imagenet_stages, 64)
    bottleneck = _is_bottleneck(config)
    return make(config.depth, config.width or width, bottleneck=bottleneck)


def _is_bottleneck(config: Any) -> bool:
    if config.block == "auto":
        return config.form == "imagenet" and config.depth >= DEEP
    return config.block == "bottleneck"


def make_net(config: Any, spec: Spec) -> ResNet:
    """The net of a config; float fields may be tracers.

    Raises:
        ValueError: the form has no net of this depth.
    """
    cifar = config.form == "cifar"
    return ResNet(
        stages=_stages(config),
        classes=spec.classes,
        channel_axis=len(spec.shape) > 2,
        stem=("3x3" if cifar else "7x7") if config.stem == "auto" else config.stem,
        bottleneck=_is_bottleneck(config),
        preactivation=config.preactivation,
        shortcut=("A" if cifar else "B") if config.shortcut == "auto" else config.shortcut,
        activation=config.activation,
        norm=config.norm,
        dropout=config.dropout,
        dropout_at=config.dropout_at,
        kernel_init=config.init,
        init_scale=config.init_scale,
        bias_init=config.bias_init,
        dtype=jnp.dtype(config.compute_dtype),
    )


EXPERIMENT = convolutional.classifier(
    name="resnet",
    summary="residual nets of any depth, and plain ones without shortcuts",
    config=Config(),
    check=check,
    make_net=make_net,
)
