"""Forms of the forward convolution, also used for gradients by the input."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from nets.geometry import Window

WIDE_OUTPUTS = 32
"""Output channels that XLA's convolution fills a CPU with."""
COLOURS = 3
"""Input channels of an image."""


def xla_convolution(
    windows: Sequence[Window], groups: int, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """The convolution as XLA has it."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        [w.stride for w in windows],
        [w.padding for w in windows],
        rhs_dilation=[w.dilation for w in windows],
        dimension_numbers=layout(len(windows)),
        feature_group_count=groups,
    )


def layout(axes: int) -> tuple[str, str, str]:
    """Channels last, for so many spatial axes."""
    space = "0123456789"[:axes]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def neighbours(kernel: jax.Array, windows: Sequence[Window], width: int) -> int:
    """How many neighbouring outputs a CPU computes best as the channels of one (1: none).

    XLA's convolution wants 32 output channels, and 64 of an image's three colours: 64 images of
    32x32 took 6.5 ms of 3 -> 32 channels and 1.7 ms in pairs, 4.8 and 3.5 ms of 16 -> 16, 2.5 and
    0.3 ms of 1 -> 8 in fours (28x28).

    Args:
        kernel: of a convolution with stride 1.
        width: outputs along the last axis.
    """
    if len(windows) != 2 or any(w.dilation > 1 for w in windows) or windows[-1].size < 3:
        return 1
    inputs, outputs = kernel.shape[-2:]
    wanted = (2 if inputs == COLOURS else 1) * WIDE_OUTPUTS // outputs
    return max(n for n in range(1, max(1, min(wanted, 4)) + 1) if width % n == 0)


def side_by_side(
    padding: Sequence[tuple[int, int]], count: int, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """A convolution with two axes and stride 1 that computes `count` neighbours at once.

    The window is wider by `count - 1`, moves by `count`, and holds the kernel at each place.
    """
    places = [(i, count - 1 - i) for i in range(count)]
    padded = [jnp.pad(kernel, ((0, 0), place, (0, 0), (0, 0))) for place in places]
    y = jax.lax.conv_general_dilated(
        x, jnp.concatenate(padded, axis=-1), (1, count), padding, dimension_numbers=layout(2)
    )
    return y.reshape(*y.shape[:2], y.shape[2] * count, kernel.shape[-1])
