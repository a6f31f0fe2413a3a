"""Plain convolutional nets from a short spec, and the published ones spelled in it."""

import dataclasses
import re
from types import MappingProxyType
from typing import Literal

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.activations import ACTIVATIONS, ActivationLike, Nonlinearity, fan_out
from nets.classifier import Classifier, dense
from nets.conv import Conv, GlobalPool, LocalResponseNorm, Pool
from nets.geometry import Padding
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, scaled
from nets.normalization import Norm, normalise
from nets.regularizers import Dropout

Kind = Literal["conv", "max", "average", "global", "lrn", "dense"]
Places = Literal["every", "conv", "pool", "dense"]


def _vgg(first: int, later: int) -> str:
    """VGG with so many convolutions in the first two stages, and in each of the last three."""
    widths = zip((64, 128, 256, 512, 512), (first, first, later, later, later), strict=True)
    return " ".join(f"{width}k3 " * count + "max2" for width, count in widths) + " d4096 d4096"


NETS: MappingProxyType[str, str] = MappingProxyType(
    {
        "lenet5": "6k5 avg2 16k5v avg2 d120 d84",
        "alexnet": (
            "96k11s4p2 lrn max3s2 256k5g2 lrn max3s2 384k3 384k3g2 256k3g2 max3s2 d4096 d4096"
        ),
        "alexnet_one_tower": "64k11s4p2 max3s2 192k5 max3s2 384k3 256k3 256k3 max3s2 d4096 d4096",
        "alexnet_cifar": "64k5 max3s2p1 192k5 max3s2p1 384k3 256k3 256k3 max3s2p1 d1024 d1024",
        "vgg11": _vgg(1, 2),
        "vgg13": _vgg(2, 2),
        "vgg16": _vgg(2, 3),
        "vgg19": _vgg(2, 4),
    }
)
"""Specs of published nets. LeNet-5 (LeCun et al. 1998) as it is usually built, with all maps
connected and a padded first layer for 28x28; AlexNet (Krizhevsky et al. 2012) for 224x224 with its
two groups, and in one tower (Krizhevsky 2014, arXiv 1404.5997); alexnet_cifar, the same layers with
smaller windows and fewer dense units for 32x32; VGG (Simonyan & Zisserman 2015,
arXiv 1409.1556, configurations A, B, D, E)."""


@dataclasses.dataclass(frozen=True)
class Block:
    """One layer of a spec.

    Attributes:
        kind: what it does.
        features: filters of a convolution, units of a dense layer.
        size, stride, padding, dilation, groups, shared: of its windows.
    """

    kind: Kind
    features: int = 0
    size: int = 1
    stride: int = 1
    padding: Padding = "same"
    dilation: int = 1
    groups: int = 1
    shared: bool = True


def parse_block(text: str) -> Block:
    """Reads one layer: `64k3`, `96k11s4p2`, `32k5v`, `16k3d2g4u`, `max3s2`, `avg2`, `d120`.

    A convolution is its filters, then in this order `k` kernel, `s` stride, `p` padding or `v` for
    none (by default the output keeps the size of the input, over the stride), `d` dilation, `g`
    groups, `u` for a kernel of its own at each position. `max` and `avg` pool: size, `s` stride (by
    default the size), `p` padding. `global` averages each map, `lrn` is local response
    normalisation, `d` a dense layer.

    Raises:
        ValueError: it is none of these, or has no features.
    """
    if re.match(r"d?0+(k|$)", text):
        raise ValueError(f"{text!r}: a layer has at least one feature")
    if text in ("global", "lrn"):
        return Block(text)
    if found := re.fullmatch(r"d(\d+)", text):
        return Block("dense", int(found[1]))
    if found := re.fullmatch(r"(max|avg)(\d+)(?:s(\d+))?(?:p(\d+))?", text):
        kind, size, stride, padding = found.groups()
        pads: Padding = int(padding) if padding else "valid"
        return Block("max" if kind == "max" else "average", 0, int(size), int(stride or size), pads)
    pattern = r"(\d+)k(\d+)(?:s(\d+))?(?:(v)|p(\d+))?(?:d(\d+))?(?:g(\d+))?(u)?"
    if found := re.fullmatch(pattern, text):
        features, size, stride, valid, padding, dilation, groups, unshared = found.groups()
        pads = "valid" if valid else int(padding) if padding else "same"
        numbers = (int(stride or 1), pads, int(dilation or 1), int(groups or 1))
        return Block("conv", int(features), int(size), *numbers, not unshared)
    raise ValueError(
        f"{text!r} is no layer: write a convolution as 64k3, 96k11s4p2 or 16k5v, pooling as max2 "
        "or avg3s2, a dense layer as d120, or global or lrn"
    )


def parse_blocks(spec: str) -> tuple[Block, ...]:
    """Reads layers separated by spaces, or the name of a net in `NETS`.

    Raises:
        ValueError: a word is no layer, or a window follows a layer without positions.
    """
    blocks = tuple(parse_block(word) for word in NETS.get(spec.strip(), spec).split())
    flat = False
    for word, block in zip(NETS.get(spec.strip(), spec).split(), blocks, strict=True):
        if flat and block.kind != "dense":
            raise ValueError(f"{word!r} follows a layer whose output has no positions")
        flat = flat or block.kind in ("dense", "global")
    return blocks


class ConvNet(Classifier):
    """The layers of a spec, then a linear layer of class scores.

    Convolutions and dense layers are followed by normalisation, activation and dropout. Parameters
    are `conv_i`, `dense_i`, `norm_i`, `activation_i` (i counts weight layers) and `output`. Float
    fields may be tracers. Training with dropout needs the random stream "dropout".

    Attributes:
        blocks: the layers (`parse_blocks`).
        classes: number of scores.
        channel_axis: whether the last axis of the inputs holds channels; otherwise one is added.
        activation: after every convolution and dense layer.
        norm: normalisation before each activation; batch norm takes the place of the bias.
        dropout: rate (None: no dropout in the program).
        dropout_at: after which layers: every convolution and dense layer, those of one kind, or
            after pooling (`max` and `avg`).
        bias_per_position: unshared convolutions have a bias for each position, not each filter.
        kernel_init, init_scale, bias_init: of every layer.
        norm_momentum: share of the old value that running batch statistics keep at each step.
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
    norm_momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def features_and_scores(
        self, inputs: Float[Array, "batch *shape"], *, train: bool
    ) -> tuple[Float[Array, "batch width"], Float[Array, "batch classes"]]:
        """The last hidden layer, flattened, and the class scores.

        Args:
            inputs: images `[batch, height, width, channels]`, or sequences
                `[batch, length, channels]`; without channels if there is no `channel_axis`.
        """
        hidden = inputs if self.channel_axis else inputs[..., None]
        hidden = hidden if self.dtype is None else hidden.astype(self.dtype)
        weighted = 0
        for place, block in enumerate(self.blocks, start=1):
            weighted += block.kind in ("conv", "dense")
            if block.kind in ("conv", "dense"):
                hidden = self._weighted(block, weighted, hidden, train=train)
            else:
                hidden = self._pooled(block, place, hidden)
            if self.dropout is not None and self._drops(block.kind):
                hidden = Dropout(self.dropout, name=f"dropout_{place}")(hidden, train=train)
        hidden = hidden.reshape(hidden.shape[0], -1)
        return hidden, self._dense(self.classes, hidden, "output", use_bias=True)

    def _drops(self, kind: Kind) -> bool:
        places: dict[Places, tuple[Kind, ...]] = {
            "every": ("conv", "dense"),
            "conv": ("conv",),
            "dense": ("dense",),
            "pool": ("max", "average"),
        }
        return kind in places[self.dropout_at]

    def _pooled(self, block: Block, place: int, hidden: jax.Array) -> jax.Array:
        match block.kind:
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
        biased = self.norm != "batch"
        if block.kind == "dense":
            flat = hidden.reshape(hidden.shape[0], -1)
            hidden = self._dense(features, flat, f"dense_{number}", use_bias=biased)
        else:
            hidden = self._conv(block, features, f"conv_{number}", use_bias=biased)(hidden)
        hidden = normalise(
            hidden, self.norm, f"norm_{number}",
            train=train, momentum=self.norm_momentum, dtype=self.dtype,
        )  # fmt: skip
        return Nonlinearity(self.activation, name=f"activation_{number}")(hidden)

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
        return dense(
            hidden, width, name,
            use_bias=use_bias, kernel_init=scaled(self.kernel_init, self.init_scale),
            bias_init=self.bias_init, dtype=self.dtype,
        )  # fmt: skip
