"""Plain convolutional nets from the layers of a short spec."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.activations import ACTIVATIONS, ActivationLike, Nonlinearity, fan_out
from nets.classifier import Classifier
from nets.conv import Conv, LocalResponseNorm
from nets.dense import Dense
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, scaled
from nets.normalization import Norm, normalise
from nets.pooling import GlobalPool, Pool
from nets.regularizers import Dropout
from nets.specs import Block, Kind
from nets.whitening import Whitening

Places = Literal["every", "conv", "pool", "dense"]
Reading = Literal["whole", "each"]
DROPPED: Mapping[Places, tuple[Kind, ...]] = MappingProxyType(
    {
        "every": ("conv", "dense"),
        "conv": ("conv",),
        "dense": ("dense",),
        "pool": ("max", "average"),
    }
)
"""Kinds of layers that have dropout, by `dropout_at`."""


class ConvNet(Classifier):
    """The layers of a spec, then a linear layer of class scores, of the whole input or at each
    position of the last map.

    Convolutions and dense layers are followed by normalisation, activation and dropout, a whitening
    layer by the activation alone. Parameters are `conv_i`, `dense_i`, `norm_i`, `activation_i` (i
    counts weight layers), `output`, `whitening` and `activation_0`, which follows it. Float fields
    may be tracers. Training with dropout needs the random stream "dropout".

    Attributes:
        blocks: the layers (`parse_blocks`).
        classes: number of scores.
        channel_axis: whether the last axis of the inputs holds channels; otherwise one is added.
        activation: after every convolution and dense layer.
        norm: normalisation before each activation; batch norm takes the place of the bias. Local
            response norm follows the activation, as published, and of convolutions alone: units of
            a dense layer have no neighbours.
        dropout: rate (None: no dropout in the program).
        dropout_at: after which layers: every convolution and dense layer, those of one kind, or
            after pooling (`max` and `avg`).
        bias_per_position: unshared convolutions have a bias for each position, not each filter.
        kernel_init, init_scale, bias_init: of every layer.
        norm_scale: whether normalisation has a trained factor for each channel.
        norm_momentum: share of the old value that running batch statistics keep at each step.
        norm_epsilon: added to the variances that normalisation divides by.
        output_bias: whether the class scores have biases.
        output_scale: factor on the class scores (None: not in the program).
        reading: what the output layer sees: the `whole` last map, or `each` position on its own.
        dtype: of the computation; the parameters stay float32, and so do the scores.
    """

    blocks: tuple[Block, ...]
    classes: int
    channel_axis: bool = True
    activation: ActivationLike = ACTIVATIONS["relu"]
    norm: Norm = "none"
    dropout: float | None = None
    dropout_at: Places = "every"
    bias_per_position: bool = False
    kernel_init: InitFunction = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: BiasInit = "zeros"
    norm_scale: bool = True
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    output_bias: bool = True
    output_scale: float | None = None
    reading: Reading = "whole"
    dtype: DTypeLike | None = None

    @nn.compact
    def features_and_scores(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> tuple[Float[Array, "batch *width"], Float[Array, "batch *classes"]]:
        """The last hidden layer, flattened where it is read as a `whole`, and the class scores.

        Args:
            inputs: images `[batch, height, width, channels]`, or sequences
                `[batch, length, channels]`; without channels if there is no `channel_axis`.

        Raises:
            ValueError: `each` position is read, and the last layer has none.
        """
        hidden = inputs if self.channel_axis else inputs[..., None]
        hidden = hidden if self.dtype is None else hidden.astype(self.dtype)
        weighted = 0
        for place, block in enumerate(self.blocks, start=1):
            weighted += block.kind in ("conv", "dense")
            if block.kind in ("conv", "dense"):
                hidden = self._weighted(block, weighted, hidden, train=train)
            else:
                hidden = self._unweighted(block, place, hidden)
            if self.dropout is not None and block.kind in DROPPED[self.dropout_at]:
                hidden = Dropout(self.dropout, name=f"dropout_{place}")(hidden, train=train)
        if self.reading == "whole":
            hidden = hidden.reshape(hidden.shape[0], -1)
        elif hidden.ndim != inputs.ndim + (not self.channel_axis):
            raise ValueError("the last layer has no positions to give scores at")
        scores = self._dense(self.classes, hidden, "output", use_bias=self.output_bias)
        if self.output_scale is not None:
            scores = scores * jnp.asarray(self.output_scale, scores.dtype)
        return hidden, scores

    def _unweighted(self, block: Block, place: int, hidden: jax.Array) -> jax.Array:
        match block.kind:
            case "whitening":
                hidden = Whitening(block.size, self.dtype, name="whitening")(hidden)
                return Nonlinearity(self.activation, name="activation_0")(hidden)
            case "lrn":
                return LocalResponseNorm(name=f"lrn_{place}")(hidden)
            case "global":
                return GlobalPool(name=f"global_{place}")(hidden)
            case "max" | "average" as kind:
                pool = Pool(kind, block.size, block.stride, block.padding, name=f"pool_{place}")
                return pool(hidden)
            case _:
                raise ValueError(f"{block.kind} has weights")

    def _weighted(self, block: Block, number: int, hidden: jax.Array, *, train: bool) -> jax.Array:
        features = fan_out(self.activation, block.features)
        norm = "batch" if block.batch_norm else self.norm
        biased = norm != "batch" or block.batch_norm
        if block.kind == "dense":
            flat = hidden.reshape(hidden.shape[0], -1)
            hidden = self._dense(features, flat, f"dense_{number}", use_bias=biased)
        else:
            hidden = self._conv(block, features, f"conv_{number}", use_bias=biased)(hidden)
        if block.pool > 1:
            hidden = Pool("max", block.pool, name=f"pool_in_{number}")(hidden)
        activate = Nonlinearity(self.activation, name=f"activation_{number}")
        normed = functools.partial(
            normalise, norm=norm, name=f"norm_{number}",
            train=train, scale=self.norm_scale, momentum=self.norm_momentum,
            epsilon=self.norm_epsilon, dtype=self.dtype,
        )  # fmt: skip
        if norm != "local_response":
            return activate(normed(hidden))
        hidden = activate(hidden)
        return hidden if block.kind == "dense" else normed(hidden)

    def _conv(self, block: Block, features: int, name: str, *, use_bias: bool) -> Conv:
        per_position = self.bias_per_position and not block.shared
        return Conv(
            features,
            block.size,
            block.stride,
            block.padding,
            block.dilation,
            block.groups,
            block.shared,
            ("position" if per_position else "filter") if use_bias else "none",
            scaled(self.kernel_init, self.init_scale),
            self.bias_init,
            self.dtype,
            name=name,
        )

    def _dense(self, width: int, hidden: jax.Array, name: str, *, use_bias: bool) -> jax.Array:
        init = scaled(self.kernel_init, self.init_scale)
        return Dense(width, use_bias, init, self.bias_init, self.dtype, name=name)(hidden)
