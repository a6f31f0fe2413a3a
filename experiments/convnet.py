"""Convolutional nets on images and sequences: from one filter to AlexNet and VGG."""

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
from nets.convnet import ConvNet
from nets.initializers import INITIALIZERS, Initializer
from nets.normalization import Norm
from nets.specs import Block, parse_blocks

SEQUENCES = "25k5s2p1 25k3s2p1 25k3s2p1"
IMAGES = "32k3 32k3 max2 64k3 64k3 max2 d128"


@dataclasses.dataclass(frozen=True)
class Config:
    """A convolutional net and how it is trained.

    Attributes:
        data: the data set and its preprocessing.
        augmentation: how training inputs are changed.
        optimizer: the optimizer and its schedule.
        objective: the loss and the penalties.
        selection: which parameters are evaluated.
        layers: "32k3 32k3 max2 d128", or lenet5, alexnet, alexnet_one_tower, alexnet_cifar, vgg11,
            vgg13, vgg16, vgg19, or one of these four with batch norm, vgg11_bn; auto: three
            convolutions for sequences, four and a dense layer for images.
        activation: after every convolution and dense layer, `relu` or `leaky_relu:0.2`.
        norm: normalisation before each activation; local_response after it, of convolutions alone.
        dropout: rate.
        dropout_at: after which layers: every convolution and dense layer, or those of one kind.
        bias_per_position: convolutions without weight sharing have a bias for each position.
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
    layers: str = "auto"
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["relu"]
    norm: Norm = "none"
    dropout: float | None = None
    dropout_at: Literal["every", "conv", "pool", "dense"] = "every"
    bias_per_position: bool = False
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    try:
        blocks = _blocks(config, spec)
        convolutional.check(config, spec, make_net)
    except ValueError as error:
        raise UsageError(f"--layers {config.layers!r}: {error}") from None
    if config.objective.max_norm is not None and not all(block.shared for block in blocks):
        raise UsageError("--max-norm: not with layers without weight sharing (u)")


def _blocks(config: Any, spec: Spec) -> tuple[Block, ...]:
    automatic = SEQUENCES if len(spec.shape) == 1 else IMAGES
    return parse_blocks(automatic if config.layers == "auto" else config.layers)


def make_net(config: Any, spec: Spec) -> ConvNet:
    """The net of a config; float fields may be tracers.

    Raises:
        ValueError: a word of `layers` is no layer.
    """
    return ConvNet(
        blocks=_blocks(config, spec),
        classes=spec.classes,
        channel_axis=len(spec.shape) > 2,
        activation=config.activation,
        norm=config.norm,
        dropout=config.dropout,
        dropout_at=config.dropout_at,
        bias_per_position=config.bias_per_position,
        kernel_init=config.init,
        init_scale=config.init_scale,
        bias_init=config.bias_init,
        dtype=jnp.dtype(config.compute_dtype),
    )


EXPERIMENT = convolutional.classifier(
    name="convnet",
    summary="convolutional nets from a short spec, on images and sequences",
    config=Config(),
    check=check,
    make_net=make_net,
)
