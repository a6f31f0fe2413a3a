"""Convolution as a pure function, with gradients that stay fast inside compiled loops on a CPU.

XLA runs the forward convolution of a CPU well, also inside a loop, but not the two backward ones as
JAX differentiates them (jax issue 12868). Here both are convolutions of the forward layout, the one
by the kernel over pieces of the batch that stay in the processor's cache. Both gradients of a 3x3
convolution of 128 images (16x16 with 32 or 64 channels, 32x32 with 16) took 13 to 43 ms on 2 cores
while the one by the kernel was a matrix product for each place of the window, 793 to 4,013 ms as
JAX differentiates it inside a loop, and 21 to 86 ms outside. On a core of another CPU, the gradient
by the kernel of 64 images (3x3, 32x32 with 3 to 16 channels, with 16 to 16, 16x16 with 32, 8x8 with
64) took 1.1, 4.3, 3.3 and 2.7 ms, by products 4.3, 7.9, 4.7 and 3.4. Convolutions with few output
channels compute neighbouring outputs at once, 3x3 ones with many go by tiles (`nets.winograd`).
Elsewhere than on a CPU XLA's own forms are used.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nets.forward_convolution import (
    WIDE_OUTPUTS,
    layout,
    neighbours,
    side_by_side,
    xla_convolution,
)
from nets.geometry import Window
from nets.parallel import piece_size, sum_over_batch
from nets.winograd import by_tiles, suits

CACHE_BYTES = 1 << 19
"""Of inputs and gradients that the kernel gradient works on at a time: they and what is copied of
them fit into a core's second-level cache."""
CONVOLVED_BYTES = 3 << 19
"""Of the largest example that it convolves; larger ones are as fast in products."""


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


def _forward(
    x: jax.Array, kernel: jax.Array, windows: tuple[Window, ...], groups: int
) -> jax.Array:
    elsewhere = functools.partial(xla_convolution, windows, groups)
    sizes = [w.output_size(n) for w, n in zip(windows, x.shape[1:-1], strict=True)]
    on_cpu = cpu_form(kernel, windows, groups, [w.padding for w in windows], sizes)
    if on_cpu is None:
        return elsewhere(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)


def cpu_form(
    kernel: jax.Array,
    windows: Sequence[Window],
    groups: int,
    padding: Sequence[tuple[int, int]],
    sizes: Sequence[int],
) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """A CPU's better form of a convolution of inputs and kernel, if there is one.

    Args:
        kernel, groups: of the convolution.
        windows, padding, sizes: of each spatial axis the window, the zeros around the inputs (which
            need not be the window's), and how many outputs there are.
    """
    if groups > 1 or any(w.stride > 1 for w in windows):
        return None
    if suits(kernel, windows, sizes):
        return functools.partial(by_tiles, padding)
    count = neighbours(kernel, windows, sizes[-1])
    return functools.partial(side_by_side, padding, count) if count > 1 else None


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
    """Gradients by input and kernel as JAX differentiates the convolution."""
    return jax.vjp(functools.partial(xla_convolution, windows, groups), x, kernel)[1](g)


def cpu_gradients(
    windows: tuple[Window, ...], groups: int, x: jax.Array, kernel: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The same gradients in the forms that are fast on a CPU."""
    by_input = input_gradient(g, kernel, windows, groups, x.shape[1:-1])
    by_kernel = functools.partial(kernel_gradient, windows=windows, groups=groups)
    return by_input, sum_over_batch(by_kernel, x, g)


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
    turned = swapped.reshape(*window, outputs // groups, groups * inputs)
    padding = [_transposed_padding(w, n) for w, n in zip(windows, space, strict=True)]
    dilation = [w.stride for w in windows]
    spread = [(n - 1) * step + 1 for n, step in zip(g.shape[1:-1], dilation, strict=True)]
    cut = [min(a, 0) + min(b, 0) for a, b in padding]
    if any(n + less <= 0 for n, less in zip(spread, cut, strict=True)):
        return jnp.zeros((len(g), *space, groups * inputs), g.dtype)  # no window sees an input
    if min(map(min, padding)) < 0:
        # XLA's convolution on a CPU reads beyond its input if it is cut before and padded after.
        inner = [
            (min(a, 0), min(b, 0), step - 1) for (a, b), step in zip(padding, dilation, strict=True)
        ]
        g = jax.lax.pad(g, jnp.zeros((), g.dtype), [(0, 0, 0), *inner, (0, 0, 0)])
        padding = [(max(a, 0), max(b, 0)) for a, b in padding]
        dilation = [1] * axes
    if form := cpu_form(turned, windows, groups, padding, space):
        return form(g, turned)
    return jax.lax.conv_general_dilated(
        g,
        turned,
        [1] * axes,
        padding,
        lhs_dilation=dilation,
        rhs_dilation=[w.dilation for w in windows],
        dimension_numbers=layout(axes),
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
    """The gradient by the kernel, added up over pieces of the batch."""
    batch = len(x)
    example = (x.size + g.size) // batch * x.dtype.itemsize
    piece = piece_size(batch, example, CACHE_BYTES)
    slides = groups == 1 and any(w.size > 1 for w in windows)
    part = functools.partial(_by_products, windows=windows, groups=groups)
    if slides and example <= CONVOLVED_BYTES:
        part = functools.partial(_by_convolution, windows=windows)
    if piece == batch:
        return part(x, g).astype(g.dtype)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        x_piece, g_piece = (jax.lax.dynamic_slice_in_dim(a, i * piece, piece) for a in (x, g))
        return total + part(x_piece, g_piece)

    shape = jax.eval_shape(part, x, g)
    zeros = jnp.zeros(shape.shape, shape.dtype)
    return jax.lax.fori_loop(0, batch // piece, add, zeros).astype(g.dtype)


def _by_convolution(x: jax.Array, g: jax.Array, *, windows: tuple[Window, ...]) -> jax.Array:
    """A convolution of channels as examples with examples as channels; float32 or wider.

    Both are turned by themselves: the layouts that JAX's gradient asks XLA for are slow ones.
    """
    sides = _seen(x, windows)
    if g.shape[-1] < WIDE_OUTPUTS:  # XLA's other code for these is slow with padding
        around = [(0, 0, 0), *((*side, 0) for side in sides), (0, 0, 0)]
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), around)
        sides = [(0, 0)] * len(windows)
    x, g = jax.lax.optimization_barrier((jnp.moveaxis(x, (-1, 0), (0, -1)), jnp.moveaxis(g, 0, -2)))
    found = jax.lax.conv_general_dilated(
        x,
        g,
        [w.dilation for w in windows],
        sides,
        rhs_dilation=[w.stride for w in windows],
        dimension_numbers=layout(len(windows)),
        preferred_element_type=jnp.promote_types(g.dtype, jnp.float32),
    )
    return jnp.moveaxis(found, 0, -2)


def _seen(x: jax.Array, windows: Sequence[Window]) -> list[tuple[int, int]]:
    """Padding of each spatial axis up to the last input that a window sees."""
    sides = []
    for n, w in zip(x.shape[1:-1], windows, strict=True):
        end = (w.output_size(n) - 1) * w.stride + w.reach
        sides.append((w.padding[0], end - n - w.padding[0]))
    return sides


def _by_products(
    x: jax.Array, g: jax.Array, *, windows: tuple[Window, ...], groups: int
) -> jax.Array:
    """A product for each place of the window; float32 or wider."""
    inputs, outputs = x.shape[-1] // groups, g.shape[-1] // groups
    # A transposed operand slows a product down: the gradient is turned once, before all of them.
    turned = jax.lax.optimization_barrier(jnp.moveaxis(g.reshape(-1, groups, outputs), 0, -1))
    wide = jnp.promote_types(g.dtype, jnp.float32)
    product = functools.partial(jnp.einsum, "gol,lgi->igo", preferred_element_type=wide)
    rows = [each.reshape(-1, groups, inputs) for each in views(x, windows)]
    found = jnp.stack([product(turned, each) for each in rows])
    return found.reshape(*(w.size for w in windows), inputs, groups * outputs)


def views(
    x: Float[Array, "batch *space channels"], windows: Sequence[Window], fill: float = 0.0
) -> list[Float[Array, "batch *positions channels"]]:
    """What each place of the windows sees at all their positions, place by place.

    Args:
        x: channels last.
        windows: one per spatial axis.
        fill: what the padding holds.
    """
    pads = [(0, 0, 0), *((*w.padding, 0) for w in windows), (0, 0, 0)]
    padded = jax.lax.pad(x, jnp.asarray(fill, x.dtype), pads)
    last = [(w.output_size(n) - 1) * w.stride for w, n in zip(windows, x.shape[1:-1], strict=True)]
    found = []
    for place in itertools.product(*(range(w.size) for w in windows)):
        starts = [k * w.dilation for k, w in zip(place, windows, strict=True)]
        slices = [
            slice(start, start + end + 1, w.stride)
            for start, end, w in zip(starts, last, windows, strict=True)
        ]
        found.append(padded[(slice(None), *slices)])
    return found
