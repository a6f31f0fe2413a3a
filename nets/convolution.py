"""Convolution as a pure function, with gradients that stay fast inside compiled loops on a CPU.

XLA runs the forward convolution of a CPU well, also inside a loop, but not the two backward ones as
JAX differentiates them (jax issue 12868). Here the gradient by the input is a convolution of the
forward layout, and the gradient by the kernel is one matrix product per place of the window, over
pieces of the batch that stay in the processor's cache. Both gradients of a 3x3 convolution of 128
images (16x16 with 32 or 64 channels, 32x32 with 16) took 16 to 47 ms on 2 cores, 781 to 3,986 ms as
JAX differentiates it inside a loop, and 22 to 85 ms outside. Elsewhere XLA's gradients are used.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nets.geometry import Window

CACHE_BYTES = 1 << 19
"""Bytes of inputs and gradients that the products of the kernel gradient work on at a time: they
and what is copied of them fit into a core's second-level cache."""
FEW_INPUTS = 16
"""Below so many inputs (the colours of an image), all positions of the window share a product."""


def convolve(
    x: Float[Array, "batch *space inputs"],
    kernel: Float[Array, "*window inputs_per_group outputs"],
    windows: tuple[Window, ...],
    groups: int = 1,
) -> Float[Array, "batch *positions outputs"]:
    """Convolution without bias; really the cross-correlation, as in every framework.

    y[b, o, c] = sum over k, i of x[b, o stride + k dilation - padding, i] kernel[k, i, c]

    Args:
        x: channels last, any number of spatial axes.
        kernel: `inputs_per_group = inputs / groups`.
        windows: one per spatial axis (`nets.geometry.windows`).
        groups: channels in as many groups; outputs see the inputs of their own group only.
    """
    y: Any = _convolve(x, kernel, windows, groups)
    return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(
    x: jax.Array, kernel: jax.Array, windows: tuple[Window, ...], groups: int
) -> jax.Array:
    return _forward(x, kernel, windows, groups)


def _forward(x: jax.Array, kernel: jax.Array, windows: Sequence[Window], groups: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        [w.stride for w in windows],
        [w.padding for w in windows],
        rhs_dilation=[w.dilation for w in windows],
        dimension_numbers=_layout(len(windows)),
        feature_group_count=groups,
    )


def _layout(axes: int) -> tuple[str, str, str]:
    space = "0123456789"[:axes]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, windows: tuple[Window, ...], groups: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _forward(x, kernel, windows, groups), (x, kernel)


def _convolve_backward(
    windows: tuple[Window, ...],
    groups: int,
    saved: tuple[jax.Array, jax.Array],
    g: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    on_cpu = functools.partial(cpu_gradients, windows, groups)
    elsewhere = functools.partial(xla_gradients, windows, groups)
    return jax.lax.platform_dependent(*saved, g, cpu=on_cpu, default=elsewhere)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def xla_gradients(
    windows: tuple[Window, ...], groups: int, x: jax.Array, kernel: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(lambda x, kernel: _forward(x, kernel, windows, groups), x, kernel)[1](g)


def cpu_gradients(
    windows: tuple[Window, ...], groups: int, x: jax.Array, kernel: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    by_input = input_gradient(g, kernel, windows, groups, x.shape[1:-1])
    return by_input, kernel_gradient(x, g, windows, groups)


def input_gradient(
    g: Float[Array, "batch *positions outputs"],
    kernel: Float[Array, "*window inputs_per_group outputs"],
    windows: tuple[Window, ...],
    groups: int,
    space: tuple[int, ...],
) -> Float[Array, "batch *space inputs"]:
    """The gradient by the input: a convolution with the flipped kernel, its channels swapped."""
    axes = len(windows)
    *window, inputs, outputs = kernel.shape
    split = jnp.flip(kernel, range(axes)).reshape(*window, inputs, groups, outputs // groups)
    swapped = jnp.moveaxis(split, axes, -1).swapaxes(axes, axes + 1)
    return jax.lax.conv_general_dilated(
        g,
        swapped.reshape(*window, outputs // groups, groups * inputs),
        [1] * axes,
        [_transposed_padding(w, n) for w, n in zip(windows, space, strict=True)],
        lhs_dilation=[w.stride for w in windows],
        rhs_dilation=[w.dilation for w in windows],
        dimension_numbers=_layout(axes),
        feature_group_count=groups,
    )


def _transposed_padding(window: Window, size: int) -> tuple[int, int]:
    before = window.reach - 1 - window.padding[0]
    spread = (window.output_size(size) - 1) * window.stride + 1
    return before, size + window.reach - 1 - spread - before


def kernel_gradient(
    x: Float[Array, "batch *space inputs"],
    g: Float[Array, "batch *positions outputs"],
    windows: tuple[Window, ...],
    groups: int,
) -> Float[Array, "*window inputs_per_group outputs"]:
    """The gradient by the kernel: for each position of the window, one product over the rest."""
    batch = len(x)
    piece = piece_size(batch, (x.size + g.size) // batch * x.dtype.itemsize)
    product = functools.partial(_window_products, windows=windows, groups=groups)
    if piece == batch:
        total = product(x, g)
    else:

        def add(i: jax.Array, total: jax.Array) -> jax.Array:
            x_piece, g_piece = (jax.lax.dynamic_slice_in_dim(a, i * piece, piece) for a in (x, g))
            return total + product(x_piece, g_piece)

        shape = jax.eval_shape(product, x, g)
        total = jax.lax.fori_loop(0, batch // piece, add, jnp.zeros(shape.shape, shape.dtype))
    total = total.reshape(g.shape[-1], *(w.size for w in windows), x.shape[-1] // groups)
    return jnp.moveaxis(total, 0, -1)


def piece_size(batch: int, example_bytes: int) -> int:
    """Examples at a time: the largest divisor of the batch that fits."""
    fits = max(1, CACHE_BYTES // example_bytes)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fits)


def _window_products(
    x: jax.Array, g: jax.Array, *, windows: tuple[Window, ...], groups: int
) -> jax.Array:
    """[groups, outputs / groups, window * inputs / groups] of one piece of the batch."""
    inputs, outputs = x.shape[-1] // groups, g.shape[-1] // groups
    room = [_room(w, n) for w, n in zip(windows, x.shape[1:-1], strict=True)]
    padded = jnp.pad(x, [(0, 0), *room, (0, 0)])
    rows = [
        view(padded, windows, offsets, g.shape[1:-1]).reshape(-1, groups, inputs)
        for offsets in itertools.product(*(range(w.size) for w in windows))
    ]
    if inputs < FEW_INPUTS:
        rows = [jnp.concatenate(rows, axis=-1)]
    # A transposed operand slows a product down: the gradient is turned once, before all of them.
    turned = jax.lax.optimization_barrier(jnp.moveaxis(g.reshape(-1, groups, outputs), 0, -1))
    if groups == 1:
        return jnp.concatenate([turned[0] @ each[:, 0] for each in rows], axis=-1)[None]
    return jnp.concatenate([jnp.einsum("gol,lgi->goi", turned, each) for each in rows], axis=-1)


def _room(window: Window, size: int) -> tuple[int, int]:
    """Places before and after an axis that its windows touch."""
    before = window.padding[0]
    last = (window.output_size(size) - 1) * window.stride + window.reach
    return before, max(0, last - size - before)


def view(
    padded: jax.Array, windows: Sequence[Window], offsets: Sequence[int], positions: Sequence[int]
) -> jax.Array:
    """What the places `offsets` of all windows see: [batch, *positions, channels]."""
    slices = [
        slice(k * w.dilation, k * w.dilation + (n - 1) * w.stride + 1, w.stride)
        for w, k, n in zip(windows, offsets, positions, strict=True)
    ]
    return padded[(slice(None), *slices)]
