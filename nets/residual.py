"""Residual nets and the same nets without shortcuts: CIFAR and ImageNet forms, all shortcuts.

He et al. 2015 (arXiv 1512.03385) and, for the pre-activation order, He et al. 2016
(arXiv 1603.05027).
"""

import functools
from collections.abc import Callable
from types import MappingProxyType
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.activations import ACTIVATIONS, ActivationLike, Nonlinearity, fan_out
from nets.classifier import Classifier
from nets.conv import Conv
from nets.dense import Dense
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, scaled
from nets.normalization import Norm, normalise
from nets.pooling import GlobalPool, Pool
from nets.regularizers import Dropout

Shortcut = Literal["A", "B", "C", "none"]
Stem = Literal["3x3", "7x7"]
Places = Literal["every", "block", "output"]

EXPANSION = 4
"""A bottleneck's output has so many times the filters of its 3x3 convolution."""
IMAGENET_BLOCKS = MappingProxyType(
    {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
)
"""Depth -> blocks of each stage (He et al. 2015, table 1)."""
DEEP = 50
"""Depth from which the nets for ImageNet were published with bottlenecks."""


class Stage(NamedTuple):
    """Blocks on maps of one size.

    Attributes:
        blocks: how many.
        features: channels of their outputs.
    """

    blocks: int
    features: int


def cifar_stages(depth: int, width: int = 16, *, bottleneck: bool = False) -> tuple[Stage, ...]:
    """Three stages of equal blocks, `depth` weight layers with the first and the last.

    He et al. 2015, section 4.2; bottlenecks as in He et al. 2016, section 4.1.

    Args:
        depth: 6n + 2, with bottlenecks 9n + 2.
        width: filters of the first stage; each further one has twice as many.

    Raises:
        ValueError: no number of blocks gives this depth.
    """
    layers = 9 if bottleneck else 6
    blocks, rest = divmod(depth - 2, layers)
    if blocks < 1 or rest:
        known = ", ".join(str(layers * n + 2) for n in range(1, 5))
        raise ValueError(f"depth {depth}: three stages have {layers}n + 2 layers ({known}, ...)")
    return _stages((blocks,) * 3, width, bottleneck)


def imagenet_stages(depth: int, width: int = 64, *, bottleneck: bool) -> tuple[Stage, ...]:
    """Four stages with the published number of blocks (He et al. 2015, table 1).

    Args:
        depth: 18 or 34, with bottlenecks 50, 101 or 152.
        width: filters of the first stage; each further one has twice as many.

    Raises:
        ValueError: another depth.
    """
    if depth not in IMAGENET_BLOCKS:
        known = ", ".join(map(str, IMAGENET_BLOCKS))
        raise ValueError(f"depth {depth}: four stages are published with {known} layers")
    if bottleneck != (depth >= DEEP):
        kinds = ("basic blocks", "bottlenecks")
        raise ValueError(
            f"depth {depth}: this net has {kinds[not bottleneck]}; with {kinds[bottleneck]} its "
            "depth is another"
        )
    return _stages(IMAGENET_BLOCKS[depth], width, bottleneck)


def _stages(blocks: tuple[int, ...], width: int, bottleneck: bool) -> tuple[Stage, ...]:
    first = width * EXPANSION if bottleneck else width
    return tuple(Stage(count, first * 2**place) for place, count in enumerate(blocks))


class Parts(NamedTuple):
    """How a net makes the layers of its blocks.

    Attributes:
        convolve: (features, size, stride, name) -> a convolution, padded to keep the map's size
            but for the stride.
        normalise: (x, name) -> x, normalised.
        activate: (x, name, inside) -> x after the activation and its dropout; `inside`: between two
            convolutions of a block.
    """

    convolve: Callable[[int, int, int, str], Conv]
    normalise: Callable[[jax.Array, str], jax.Array]
    activate: Callable[[jax.Array, str, bool], jax.Array]


class ResidualBlock(nn.Module):
    """Two or three convolutions, and a shortcut around them.

    `activation(shortcut(x) + norm(conv(activation(norm(conv(x))))))`, or with pre-activation
    `shortcut(x) + conv(activation(norm(conv(activation(norm(x))))))`. Parameters are `conv_i`,
    `norm_i`, `activation_i` and, of a projection, `shortcut` and `shortcut_norm`.

    Attributes:
        features: channels of what is added up.
        stride: of the first convolution, as published, and of the shortcut.
        parts: how layers are made.
        bottleneck: convolutions of 1x1, 3x3 and 1x1 in place of two of 3x3, the first two with a
            quarter of the features.
        preactivation: normalisation and activation before each convolution (He et al. 2016). A
            projection then has no normalisation, and sees the activated input.
        activated: with pre-activation: the input is activated already.
        shortcut: A, the input, with zeros for channels it lacks; B, a projection where the shape
            changes; C, always a projection; none: a plain net.
    """

    features: int
    stride: int
    parts: Parts
    bottleneck: bool = False
    preactivation: bool = False
    activated: bool = False
    shortcut: Shortcut = "A"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"]
    ) -> Float[Array, "batch *positions outputs"]:
        """Maps `channels` to `features`, or to what an activation of several pieces leaves."""
        parts, hidden, source = self.parts, x, x
        sizes = self._sizes()
        for number, (features, size, stride) in enumerate(sizes, start=1):
            if self.preactivation and not (number == 1 and self.activated):
                hidden = parts.normalise(hidden, f"norm_{number}")
                hidden = parts.activate(hidden, f"activation_{number}", number > 1)
            if number == 1 and self.preactivation and self._projects(x):
                source = hidden
            hidden = parts.convolve(features, size, stride, f"conv_{number}")(hidden)
            if not self.preactivation:
                hidden = parts.normalise(hidden, f"norm_{number}")
                if number < len(sizes):
                    hidden = parts.activate(hidden, f"activation_{number}", True)
        if self.shortcut != "none":
            hidden = hidden + self._around(source)
        if self.preactivation:
            return hidden
        return parts.activate(hidden, f"activation_{len(sizes)}", False)

    def _sizes(self) -> list[tuple[int, int, int]]:
        """Features, kernel and stride of each convolution."""
        if self.bottleneck:
            inner = self.features // EXPANSION
            return [(inner, 1, self.stride), (inner, 3, 1), (self.features, 1, 1)]
        return [(self.features, 3, self.stride), (self.features, 3, 1)]

    def _projects(self, x: jax.Array) -> bool:
        changes = self.stride > 1 or x.shape[-1] != self.features
        return self.shortcut == "C" or (self.shortcut == "B" and changes)

    def _around(self, x: jax.Array) -> jax.Array:
        if self._projects(x):
            projected = self.parts.convolve(self.features, 1, self.stride, "shortcut")(x)
            if self.preactivation:
                return projected
            return self.parts.normalise(projected, "shortcut_norm")
        apart = (slice(None), *[slice(None, None, self.stride)] * (x.ndim - 2))
        missing = self.features - x.shape[-1]
        return jnp.pad(x[apart], [(0, 0)] * (x.ndim - 1) + [(0, missing)])


class ResNet(Classifier):
    """A stem, stages of residual blocks, the mean over positions, and a linear layer.

    Each stage after the first begins with a stride of 2. Parameters are `stem`, `stem_norm`,
    `stem_activation`, `block_s_b` (stage, block), with pre-activation also `norm` and `activation`
    after the last block, and `output`. Float fields may be tracers. Training with dropout needs
    the random stream "dropout".

    Attributes:
        stages: of blocks (`cifar_stages`, `imagenet_stages`).
        classes: number of scores.
        channel_axis: whether the last axis of the inputs holds channels; otherwise one is added.
        stem: a 3x3 convolution; or one of 7x7 with stride 2, then max pooling of 3 with stride 2.
        bottleneck, preactivation, shortcut: of every block (`ResidualBlock`).
        activation: of the stem and in every block.
        norm: normalisation at each convolution; batch norm takes the place of the bias.
        dropout: rate (None: no dropout in the program).
        dropout_at: after every activation; only between the convolutions of a block (Zagoruyko &
            Komodakis 2016, arXiv 1605.07146); or only before the output layer.
        kernel_init, init_scale, bias_init: of every layer.
        norm_momentum: share of the old value that running batch statistics keep at each step.
        dtype: of the computation; the parameters stay float32, and so do the scores.
    """

    stages: tuple[Stage, ...]
    classes: int
    channel_axis: bool = True
    stem: Stem = "3x3"
    bottleneck: bool = False
    preactivation: bool = False
    shortcut: Shortcut = "A"
    activation: ActivationLike = ACTIVATIONS["relu"]
    norm: Norm = "batch"
    dropout: float | None = None
    dropout_at: Places = "every"
    kernel_init: InitFunction = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: BiasInit = "zeros"
    norm_momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def features_and_scores(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> tuple[Float[Array, "batch width"], Float[Array, "batch classes"]]:
        """The mean of each of the last features over positions, and the class scores.

        Args:
            inputs: images `[batch, height, width, channels]`, or sequences
                `[batch, length, channels]`; without channels if there is no `channel_axis`.
        """
        hidden = inputs if self.channel_axis else inputs[..., None]
        hidden = hidden if self.dtype is None else hidden.astype(self.dtype)
        parts = self._parts(train=train)
        hidden = self._stem(parts, hidden)
        for stage, (blocks, features) in enumerate(self.stages, start=1):
            for number in range(1, blocks + 1):
                first = number == 1
                block = ResidualBlock(
                    fan_out(self.activation, features),
                    2 if first and stage > 1 else 1,
                    parts,
                    self.bottleneck,
                    self.preactivation,
                    first and stage == 1,
                    self.shortcut,
                    name=f"block_{stage}_{number}",
                )
                hidden = block(hidden)
        if self.preactivation:
            hidden = parts.activate(parts.normalise(hidden, "norm"), "activation", False)
        hidden = GlobalPool(name="pool")(hidden)
        if self.dropout is not None and self.dropout_at == "output":
            hidden = Dropout(self.dropout, name="dropout")(hidden, train=train)
        options = scaled(self.kernel_init, self.init_scale), self.bias_init, self.dtype
        return hidden, Dense(self.classes, True, *options, name="output")(hidden)

    def _stem(self, parts: Parts, hidden: jax.Array) -> jax.Array:
        features = fan_out(self.activation, self._stem_features())
        size, stride = (3, 1) if self.stem == "3x3" else (7, 2)
        hidden = parts.convolve(features, size, stride, "stem")(hidden)
        hidden = parts.normalise(hidden, "stem_norm")
        hidden = parts.activate(hidden, "stem_activation", False)
        return hidden if self.stem == "3x3" else Pool("max", 3, 2, 1, name="stem_pool")(hidden)

    def _stem_features(self) -> int:
        first = self.stages[0].features
        return first // EXPANSION if self.bottleneck else first

    def _parts(self, *, train: bool) -> Parts:
        def convolve(features: int, size: int, stride: int, name: str) -> Conv:
            return Conv(
                features, size, stride, size // 2,
                bias="none" if self.norm == "batch" else "filter",
                kernel_init=scaled(self.kernel_init, self.init_scale), bias_init=self.bias_init,
                dtype=self.dtype, name=name,
            )  # fmt: skip

        def activate(x: jax.Array, name: str, inside: bool) -> jax.Array:
            x = Nonlinearity(self.activation, name=name)(x)
            here = self.dropout_at == "every" or (self.dropout_at == "block" and inside)
            if self.dropout is None or not here:
                return x
            place = name.replace("activation", "dropout")
            return Dropout(self.dropout, name=place)(x, train=train)

        norm = functools.partial(
            normalise, norm=self.norm, train=train, momentum=self.norm_momentum, dtype=self.dtype
        )
        return Parts(convolve, lambda x, name: norm(x, name=name), activate)
