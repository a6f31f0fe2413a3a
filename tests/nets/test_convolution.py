"""Convolution and both of its gradients against loops over every position, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets import convolution
from nets.convolution import convolve
from nets.geometry import windows
from nets.parallel import piece_size
from tests.nets import compiled

CASES = {
    "plain": ((6, 5), 3, 1, "same", 1, 4, 6, 1),
    "strided": ((9, 8), 3, 2, 1, 1, 4, 6, 1),
    "leftover": ((8, 8), 3, 3, "valid", 1, 2, 3, 1),
    "grouped": ((7, 6), 3, 1, 1, 1, 4, 6, 2),
    "dilated": ((9, 7), (3, 2), 1, 2, (2, 3), 3, 2, 1),
    "all at once": ((11, 9), (3, 2), (2, 3), ((1, 2), (0, 1)), (1, 2), 6, 4, 2),
    "depthwise": ((5, 5), 3, 1, "same", 1, 4, 8, 4),
    "pointwise": ((6, 6), 1, 2, "valid", 1, 4, 4, 1),
    "padding wider than the window": ((4,), 1, 1, 2, 1, 2, 2, 1),
    "sequence": ((10,), 5, 2, 1, 1, 1, 3, 1),
    "volume": ((4, 3, 5), 2, 1, "same", 1, 2, 3, 1),
    "many inputs": ((5, 4), 3, 1, 1, 1, 18, 5, 1),
    "many outputs": ((5, 4), 3, 1, 1, 1, 2, 9, 1),
    "wider than the input": ((2, 3), 7, 1, "same", 1, 3, 2, 1),
    "padded far": ((3, 4), 2, 1, ((4, 0), (1, 3)), 2, 3, 3, 1),
    "wide and leftover": ((8, 7), 3, 3, ((0, 0), (1, 0)), 1, 2, 33, 1),
    "wide and dilated": ((9, 7), (3, 2), (1, 2), 2, (2, 3), 3, 32, 1),
    "padded before only": ((8,), 3, 1, ((5, 0),), 1, 1, 8, 1),
    "strided and padded before only": ((8,), 3, 2, ((7, 0),), 1, 1, 8, 1),
    "padded far on both axes": ((6, 5), 3, 1, ((6, 1), (4, 6)), 1, 3, 16, 1),
    "tiles": ((6, 4), 3, 1, "same", 1, 32, 32, 1),
    "tiles without padding": ((6, 8), 3, 1, "valid", 1, 32, 34, 1),
    "tiles padded far": ((4, 6), 3, 1, ((3, 1), (0, 2)), 1, 33, 32, 1),
    "tiles padded before only": ((6, 4), 3, 1, ((5, 0), (1, 4)), 1, 32, 32, 1),
}  # fmt: skip
"""shape, size, stride, padding, dilation, inputs, outputs, groups."""


def made(name, batch=3):
    shape, size, stride, padding, dilation, inputs, outputs, groups = CASES[name]
    window = windows(shape, size, stride, padding, dilation)
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, *shape, inputs))
    kernel = random.normal(size=(*(w.size for w in window), inputs // groups, outputs))
    positions = [w.output_size(n) for w, n in zip(window, shape, strict=True)]
    g = random.normal(size=(batch, *positions, outputs))
    return x, kernel, g, window, groups


def looped(x, kernel, g, window, groups):
    """Outputs and both gradients, one product of numbers after another."""
    y, by_input, by_kernel = np.zeros_like(g), np.zeros_like(x), np.zeros_like(kernel)
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    for place in itertools.product(*(range(n) for n in g.shape[1:-1])):
        for offset in itertools.product(*(range(w.size) for w in window)):
            seen = tuple(
                p * w.stride + k * w.dilation - w.padding[0]
                for p, k, w in zip(place, offset, window, strict=True)
            )
            if not all(0 <= i < n for i, n in zip(seen, x.shape[1:-1], strict=True)):
                continue
            for group in range(groups):
                reads = slice(group * inputs, (group + 1) * inputs)
                writes = slice(group * outputs, (group + 1) * outputs)
                weights = kernel[(*offset, slice(None), writes)]
                at, to = (slice(None), *seen, reads), (slice(None), *place, writes)
                y[to] += x[at] @ weights
                by_input[at] += g[to] @ weights.T
                by_kernel[(*offset, slice(None), writes)] += x[at].T @ g[to]
    return y, by_input, by_kernel


def computed(x, kernel, g, window, groups):
    x, kernel = (np.asarray(a, np.float32) for a in (x, kernel))
    return compiled.with_gradients(lambda x, k: convolve(x, k, window, groups), g, x, kernel)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_a_loop(name):
    case = made(name)
    jnp.full(1 << 20, 1e30).block_until_ready()  # what is read beyond an array shows
    for mine, theirs in zip(computed(*case), looped(*case), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["plain", "grouped", "strided", "tiles"])
@pytest.mark.parametrize("limits", [{"CACHE_BYTES": 4}, {"CACHE_BYTES": 4, "CONVOLVED_BYTES": 0}])
def test_gradients_in_pieces_of_the_batch(name, limits, monkeypatch):
    """Of so many examples; where even one is too large to be convolved, by products."""
    case = made(name, batch=6)
    x, _, g, *_ = case
    example = (x.size + g.size) * 4 // len(x)
    assert piece_size(6, example, convolution.CACHE_BYTES) == 6
    for limit, examples in limits.items():
        monkeypatch.setattr(convolution, limit, examples * example)
    for mine, theirs in zip(computed(*case), looped(*case), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_an_example_worked_by_hand():
    """7x7x3, two 3x3x3 filters, stride 2, padding 1: 4x4x2; without padding 3x3x2."""
    image = np.zeros((7, 7, 3))
    image[3, 3] = (1, 2, 3)
    filters = np.zeros((3, 3, 3, 2))
    filters[1, 1, :, 0] = 1  # the centre, all colours
    filters[0, 0, 2, 1] = 10  # the corner before it, the last colour
    x, kernel = np.asarray(image[None], np.float32), np.asarray(filters, np.float32)
    run = jax.jit(convolve, static_argnums=2)
    padded = np.asarray(run(x, kernel, windows((7, 7), 3, 2, 1)))[0]
    assert padded.shape == (4, 4, 2)
    expected = np.zeros((4, 4, 2))
    expected[2, 2, 1] = 30  # the window that begins at (3, 3)
    np.testing.assert_array_equal(padded, expected)
    bare = np.asarray(run(x, kernel, windows((7, 7), 3, 2, "valid")))[0]
    expected = np.zeros((3, 3, 2))
    expected[1, 1, 0] = 6  # the window whose centre is (3, 3)
    np.testing.assert_array_equal(bare, expected)


@pytest.mark.parametrize("name", ["grouped", "strided"])
def test_replicas_side_by_side_and_inside_a_loop(name):
    x, kernel, g, window, groups = made(name)
    kernels = np.stack([kernel, -2 * kernel]).astype(np.float32)
    x, g = jnp.asarray(x, jnp.float32), jnp.asarray(g, jnp.float32)

    def gradients(kernel):
        _, backward = jax.vjp(lambda x, k: convolve(x, k, window, groups), x, kernel)
        return backward(g)

    side_by_side = jax.jit(jax.vmap(gradients))(kernels)
    in_a_loop = jax.jit(lambda kernels: jax.lax.map(gradients, kernels))(kernels)
    by_itself = jax.jit(gradients)
    for i in range(2):
        for mine, looped, alone in zip(side_by_side, in_a_loop, by_itself(kernels[i]), strict=True):
            np.testing.assert_allclose(np.asarray(mine)[i], alone, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(np.asarray(looped)[i], alone, rtol=1e-5, atol=1e-5)


def test_the_gradients_away_from_a_cpu_are_the_same():
    x, kernel, g, window, groups = made("all at once")
    arrays = [np.asarray(a, np.float32) for a in (x, kernel, g)]
    ours = jax.jit(convolution.cpu_gradients, static_argnums=(0, 1))(window, groups, *arrays)
    theirs = jax.jit(convolution.xla_gradients, static_argnums=(0, 1))(window, groups, *arrays)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "expected"), [(1, 4000), (3, 2000)])
@pytest.mark.parametrize("pieces", [1, 1000])
def test_half_precision_adds_up_in_single(size, expected, pieces, monkeypatch):
    """Of 1,000 ones: in bfloat16, a sum would stop growing at 256."""
    window = windows((4,), size, 1, "valid")
    x, kernel = jnp.ones((1000, 4, 1), jnp.bfloat16), jnp.ones((size, 1, 1), jnp.bfloat16)
    g = jnp.ones((1000, 5 - size, 1), jnp.bfloat16)
    for limit in ("CACHE_BYTES", "CONVOLVED_BYTES"):
        monkeypatch.setattr(convolution, limit, 16 * 1000 // pieces)
    _, by_kernel = compiled.with_gradients(lambda k: convolve(x, k, window, 1), g, kernel)
    np.testing.assert_array_equal(by_kernel, jnp.full((size, 1, 1), expected, jnp.bfloat16))


def test_half_precision_stays_half():
    x, kernel, g, window, groups = made("plain")
    x, kernel, g = (jnp.asarray(a, jnp.bfloat16) for a in (x, kernel, g))
    found = compiled.with_gradients(lambda x, k: convolve(x, k, window, groups), g, x, kernel)
    assert {leaf.dtype for leaf in found} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("shape", [(4, 3, 16, 4), (1, 1, 5, 2), (2, 1, 7, 2), (2, 2, 8, 3)])
def test_where_no_window_sees_an_input_its_gradient_is_zero(shape):
    size, reach, stride, padding = shape
    window = windows((size, size), reach, stride, padding)
    x, kernel = np.ones((2, size, size, 3), "f"), np.ones((reach, reach, 3, 4), "f")
    g = np.ones((2, *(w.output_size(size) for w in window), 4), "f")
    ours = jax.jit(convolution.cpu_gradients, static_argnums=(0, 1))(window, 1, x, kernel, g)
    theirs = jax.jit(convolution.xla_gradients, static_argnums=(0, 1))(window, 1, x, kernel, g)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
