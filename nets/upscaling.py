"""Super-resolution: bicubic interpolation, pixel shuffle, nets that upscale, and their error."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from nets.activations import ACTIVATIONS, ActivationLike, Nonlinearity, fan_out
from nets.conv import Conv
from nets.initializers import INITIALIZERS, BiasInit, InitFunction, scaled
from nets.specs import Block

Place = Literal["end", "start"]

LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""Weights of red, green and blue in the luma of ITU-R BT.601, and what is added to it."""
LUMA_FLOOR = 16 / 255
LEAST_ERROR = 1e-10
"""Squared errors below it count as this: 100 dB."""


def luma(images: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width"]:
    """What super-resolution is measured on: Y of YCbCr by ITU-R BT.601, 16/255 to 235/255.

    Args:
        images: red, green and blue in [0, 1], or one channel, which is returned as it is.

    Raises:
        ValueError: other channels.
    """
    if images.shape[-1] == 1:
        return images[..., 0]
    if images.shape[-1] != 3:
        raise ValueError(f"{images.shape[-1]} channels: one, or red, green and blue")
    weights = jnp.asarray(LUMA, images.dtype)
    return LUMA_FLOOR + jnp.dot(images, weights, precision="highest")


def bicubic(
    images: Float[Array, "batch height width channels"], height: int, width: int
) -> Float[Array, "batch rows columns channels"]:
    """Resized by cubic convolution with a = -1/2 (Keys 1981), widened where it shrinks.

    As MATLAB's `imresize` away from the edges, where the weights of what lies inside are made to
    sum to one; `imresize` mirrors there.
    """
    shape = (images.shape[0], height, width, images.shape[-1])
    return jax.image.resize(images, shape, "cubic", antialias=True)


def pixel_shuffle(
    maps: Float[Array, "batch height width maps"], factor: int
) -> Float[Array, "batch rows columns channels"]:
    """`factor`^2 maps become one that is `factor` times as high and wide (Shi et al. 2016, arXiv
    1609.05158): map (`factor` * i + j) * channels + c has the pixels (i, j) of every
    square in channel c.

    Raises:
        ValueError: the maps are no multiple of `factor`^2.
    """
    batch, height, width, channels = maps.shape
    if channels % factor**2:
        raise ValueError(f"{channels} maps do not make squares of {factor} x {factor}")
    squares = maps.reshape(batch, height, width, factor, factor, -1)
    return jnp.swapaxes(squares, 2, 3).reshape(batch, height * factor, width * factor, -1)


def psnr(
    images: Float[Array, "batch height width channels"],
    truth: Float[Array, "batch height width channels"],
    border: int = 0,
) -> Float[Array, " batch"]:
    """Peak signal-to-noise ratio of each image, dB: -10 log10 of the mean squared error.

    Args:
        images: values of which the largest possible is 1.
        truth: what they should be.
        border: pixels at each edge that do not count.
    """
    inner = slice(border, -border or None)
    error = jnp.square(images - truth)[:, inner, inner]
    return -10 * jnp.log10(jnp.maximum(jnp.mean(error, axis=(1, 2, 3)), LEAST_ERROR))


class Upscaler(nn.Module):
    """Convolutions that upscale an image of one channel by a whole number.

    Parameters are `conv_i`, `activation_i` and `output`. Float fields may be tracers.

    Attributes:
        blocks: the hidden layers, convolutions that keep the size (`nets.specs.parse_blocks`).
        factor: how many times as high and wide.
        place: at the end by `pixel_shuffle` (ESPCN: Shi et al. 2016, arXiv 1609.05158); at the
            start by `bicubic`, so that every layer works on the large image (SRCNN: Dong et al.
            2014, arXiv 1501.00092).
        last_size: kernel of the last convolution.
        skip: the net's output is added to the image upscaled by `bicubic` (Kim et al. 2016, arXiv
            1511.04587).
        activation: after every hidden convolution.
        kernel_init, init_scale, bias_init: of every layer.
        dtype: of the computation; parameters and outputs are float32.
    """

    blocks: tuple[Block, ...]
    factor: int
    place: Place = "end"
    last_size: int = 3
    skip: bool = False
    activation: ActivationLike = ACTIVATIONS["relu"]
    kernel_init: InitFunction = INITIALIZERS["he_normal"]
    init_scale: float = 1.0
    bias_init: BiasInit = "zeros"
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width 1"], *, train: bool = False
    ) -> Float[Array, "batch rows columns 1"]:
        """The images, upscaled.

        Raises:
            ValueError: windows that do not fit, or a layer that changes the size.
        """
        del train
        size = (images.shape[1] * self.factor, images.shape[2] * self.factor)
        smooth = bicubic(images, *size) if self.skip or self.place == "start" else images
        hidden = images if self.place == "end" else smooth
        hidden = hidden if self.dtype is None else hidden.astype(self.dtype)
        for number, block in enumerate(self.blocks, start=1):
            shape = hidden.shape[1:3]
            hidden = self._conv(block, f"conv_{number}")(hidden)
            if hidden.shape[1:3] != shape:
                raise ValueError(f"layer {number} changes the size: every layer has to keep it")
            hidden = Nonlinearity(self.activation, name=f"activation_{number}")(hidden)
        maps = self.factor**2 if self.place == "end" else 1
        hidden = self._conv(Block("conv", maps, self.last_size), "output")(hidden)
        hidden = hidden.astype(images.dtype)
        found = pixel_shuffle(hidden, self.factor) if self.place == "end" else hidden
        return found + smooth if self.skip else found

    def _conv(self, block: Block, name: str) -> Conv:
        hidden = name != "output"
        features = fan_out(self.activation, block.features) if hidden else block.features
        return Conv(
            features,
            block.size,
            block.stride,
            block.padding,
            block.dilation,
            block.groups,
            kernel_init=scaled(self.kernel_init, self.init_scale),
            bias_init=self.bias_init,
            dtype=self.dtype,
            name=name,
        )
