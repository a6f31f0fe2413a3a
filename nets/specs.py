"""Convolutional nets as text, `32k3 max2 d128`, and the published ones spelled in it."""

import dataclasses
import re
from types import MappingProxyType
from typing import Literal

from nets.geometry import Padding

Kind = Literal["whitening", "conv", "max", "average", "global", "lrn", "dense"]


def _vgg(first: int, later: int) -> dict[str, str]:
    """VGG with so many convolutions in the first two stages, and in each of the last three."""
    widths = zip((64, 128, 256, 512, 512), (first, first, later, later, later), strict=True)
    spec = " ".join(f"{width}k3 " * count + "max2" for width, count in widths) + " d4096 d4096"
    name = f"vgg{2 * first + 3 * later + 3}"
    return {name: spec, f"{name}_bn": spec.replace("k3 ", "k3b ")}


NETS: MappingProxyType[str, str] = MappingProxyType(
    {
        "linear": "",
        "lenet5": "6k5 avg2 16k5v avg2 d120 d84",
        "alexnet": (
            "96k11s4p2 lrn max3s2 256k5g2 lrn max3s2 384k3 384k3g2 256k3g2 max3s2 d4096 d4096"
        ),
        "alexnet_one_tower": "64k11s4p2 max3s2 192k5 max3s2 384k3 256k3 256k3 max3s2 d4096 d4096",
        "alexnet_cifar": "64k5 max3s2p1 192k5 max3s2p1 384k3 256k3 256k3 max3s2p1 d1024 d1024",
        "airbench94": "w2 64k3m2 64k3 256k3m2 256k3 256k3m2 256k3 max3",
        **_vgg(1, 2),
        **_vgg(2, 2),
        **_vgg(2, 3),
        **_vgg(2, 4),
    }
)
"""Specs of nets by name. linear, without hidden layers; and published ones: LeNet-5 (LeCun et al.
1998) as it is usually built, with all maps connected and a padded first layer for 28x28; AlexNet
(Krizhevsky et al. 2012) for 224x224 with its two groups, and in one tower (Krizhevsky 2014, arXiv
1404.5997); alexnet_cifar, the same layers with smaller windows and fewer dense units for 32x32;
airbench94 (Jordan 2024, arXiv 2404.00498), whose
norm is batch; VGG (Simonyan & Zisserman 2015,
arXiv 1409.1556, configurations A, B, D, E), vgg11 to vgg19, and vgg11_bn to vgg19_bn with batch
norm as torchvision has it: beside the bias of every convolution, and none on dense layers."""


@dataclasses.dataclass(frozen=True)
class Block:
    """One layer of a spec.

    Attributes:
        kind: what it does.
        features: filters of a convolution, units of a dense layer.
        size, stride, padding, dilation, groups, shared: of its windows.
        pool: of a convolution, side of the max-pooling of its output, before norm and activation.
        batch_norm: of a convolution, beside its bias, whatever norm the net has.
    """

    kind: Kind
    features: int = 0
    size: int = 1
    stride: int = 1
    padding: Padding = "same"
    dilation: int = 1
    groups: int = 1
    shared: bool = True
    batch_norm: bool = False
    pool: int = 1


def parse_block(text: str) -> Block:
    """Reads one layer: `64k3`, `96k11s4p2`, `32k5v`, `16k3d2g4u`, `max3s2`, `avg2`, `d120`.

    A convolution is its filters, then in this order `k` kernel, `s` stride, `p` padding or `v` for
    none (by default the output keeps the size of the input, over the stride), `d` dilation, `g`
    groups, `u` for a kernel of its own at each position, `b` for batch norm beside its bias, `m`
    max-pooling before its norm and activation. `max` and `avg` pool: size, `s` stride (by default
    the size), `p` padding. `global` averages each map, `lrn` is local response normalisation, `d` a
    dense layer, `w` whitening of patches of that side by frozen filters.

    Raises:
        ValueError: it is none of these, or has no features.
    """
    if re.match(r"[dw]?0+(k|$)", text):
        raise ValueError(f"{text!r}: a layer has at least one feature")
    if text in ("global", "lrn"):
        return Block(text)
    if found := re.fullmatch(r"([dw])(\d+)", text):
        kind, number = found.groups()
        return Block("dense", int(number)) if kind == "d" else Block("whitening", 0, int(number))
    if found := re.fullmatch(r"(max|avg)(\d+)(?:s(\d+))?(?:p(\d+))?", text):
        kind, size, stride, padding = found.groups()
        pads: Padding = int(padding) if padding else "valid"
        return Block("max" if kind == "max" else "average", 0, int(size), int(stride or size), pads)
    pattern = r"(\d+)k(\d+)(?:s(\d+))?(?:(v)|p(\d+))?(?:d(\d+))?(?:g(\d+))?(u)?(b)?(?:m([1-9]\d*))?"
    if found := re.fullmatch(pattern, text):
        *window, unshared, norm, pool = found.groups()
        features, size, stride, valid, padding, dilation, groups = window
        pads = "valid" if valid else int(padding) if padding else "same"
        numbers = (int(stride or 1), pads, int(dilation or 1), int(groups or 1))
        flags = (not unshared, bool(norm), int(pool or 1))
        return Block("conv", int(features), int(size), *numbers, *flags)
    raise ValueError(
        f"{text!r} is no layer: write a convolution as 64k3, 96k11s4p2 or 16k5v, pooling as max2 "
        "or avg3s2, a dense layer as d120, whitening as w2, or global or lrn"
    )


def parse_blocks(spec: str) -> tuple[Block, ...]:
    """Reads layers separated by spaces, or the name of a net in `NETS`.

    Raises:
        ValueError: a word is no layer, a window follows a layer without positions, or whitening is
            not the first layer.
    """
    blocks = tuple(parse_block(word) for word in NETS.get(spec.strip(), spec).split())
    flat = False
    for word, block in zip(NETS.get(spec.strip(), spec).split(), blocks, strict=True):
        if flat and block.kind != "dense":
            raise ValueError(f"{word!r} follows a layer whose output has no positions")
        if block.kind == "whitening" and block is not blocks[0]:
            raise ValueError(f"{word!r} whitens the input: it can only be the first layer")
        flat = flat or block.kind in ("dense", "global")
    return blocks
