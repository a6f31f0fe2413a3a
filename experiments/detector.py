"""The net that detects: a convolutional net, read at each position of its last map."""

import dataclasses
import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from experiments import found_objects
from experiments.engine.errors import UsageError
from experiments.engine.values import Choices
from nets.activations import ACTIVATIONS, Activation, as_activation
from nets.convnet import ConvNet
from nets.initializers import INITIALIZERS, Initializer
from nets.normalization import Norm
from nets.specs import parse_blocks


@dataclasses.dataclass(frozen=True)
class Net:
    """The net; a linear layer at each position of its last map gives scores and boxes.

    Attributes:
        layers: as convnet's, without dense layers: "16k3 max2 32k3". A cell of the last map should
            see about as much as an object is large.
        activation: after every convolution, `relu` or `leaky_relu:0.2`.
        norm: normalisation before each activation.
        dropout: rate, after every convolution.
        init: initialiser of every kernel, `he_normal` or `normal:0.01`.
        init_scale: factor on all initial kernels.
        bias_init: initialiser of every bias.
        compute_dtype: of products and activations; parameters and loss stay float32.
    """

    layers: str = "16k3 max2 32k3 max2 64k3 64k3"
    activation: Annotated[Activation, Choices(ACTIVATIONS, as_activation)] = ACTIVATIONS["relu"]
    norm: Norm = "batch"
    dropout: float | None = None
    init: Annotated[Initializer, Choices(INITIALIZERS)] = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: Literal["zeros", "fan_in_uniform"] = "zeros"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"


def make(net: Any, classes: int) -> ConvNet:
    """The net of a config; float fields may be tracers.

    Raises:
        ValueError: a word of `layers` is no layer.
    """
    return ConvNet(
        parse_blocks(net.layers),
        classes + 4,
        activation=net.activation,
        norm=net.norm,
        dropout=net.dropout,
        dropout_at="conv",
        kernel_init=net.init,
        init_scale=net.init_scale,
        bias_init=net.bias_init,
        reading="each",
        dtype=jnp.dtype(net.compute_dtype),
    )


def check(net: Net, size: tuple[int, int, int]) -> None:
    """Refuses values that cannot train.

    Args:
        size: height, width and channels of a scene.

    Raises:
        UsageError: names the flag.
    """
    if net.dropout is not None and not 0 <= net.dropout < 1:
        raise UsageError(f"--dropout {net.dropout}: must be at least 0 and below 1")
    if not 0 <= net.init_scale < float("inf"):
        raise UsageError(f"--init-scale {net.init_scale}: must not be negative")
    try:
        _trace(dataclasses.replace(net, dropout=None, init_scale=1.0), size)
    except ValueError as error:
        raise UsageError(f"--layers {net.layers!r}: {error}") from None
    if net.dropout is not None and not any(b.kind == "conv" for b in parse_blocks(net.layers)):
        raise UsageError(f"--dropout {net.dropout}: --layers has no convolution")


@functools.lru_cache(maxsize=128)
def _trace(net: Net, size: tuple[int, int, int]) -> None:
    """Traces a net. Raises `ValueError` where it cannot be, or has no cells."""
    if any(block.kind == "whitening" for block in parse_blocks(net.layers)):
        raise ValueError("a whitening layer has filters of images as they are, not of scenes")
    made = make(net, 1)
    init = functools.partial(made.init_with_output, train=False)
    outputs, _ = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, *size)))
    found_objects.stride(size[:2], outputs.shape[1:3])
