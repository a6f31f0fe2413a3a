"""Interpolation, shuffle, luma and PSNR against float64 loops; nets as published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.activations import ACTIVATIONS
from nets.initializers import INITIALIZERS
from nets.specs import parse_blocks
from nets.upscaling import Upscaler, bicubic, luma, pixel_shuffle, psnr

RANDOM = np.random.default_rng(0)


def keys(x):
    """Cubic convolution, Keys 1981 (a = -1/2)."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resized(line, size):
    """A line by a loop over outputs and inputs, float64."""
    scale = len(line) / size
    wide = max(scale, 1.0)
    found = []
    for place in range(size):
        centre = (place + 0.5) * scale - 0.5
        weights = np.array([keys((centre - i) / wide) for i in range(len(line))])
        found.append(weights @ line / weights.sum())
    return np.array(found)


@pytest.mark.parametrize("size", [(3, 5), (4, 4), (24, 30), (12, 15)])
def test_bicubic_is_cubic_convolution_of_rows_and_columns(size):
    images = RANDOM.normal(size=(2, 12, 15, 2))
    rows = np.apply_along_axis(resized, 1, images, size[0])
    want = np.apply_along_axis(resized, 2, rows, size[1])
    found = bicubic(jnp.asarray(images, jnp.float32), *size)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_maps_become_squares_of_pixels():
    maps = RANDOM.normal(size=(2, 3, 4, 9 * 2)).astype(np.float32)
    found = np.asarray(pixel_shuffle(jnp.asarray(maps), 3))
    assert found.shape == (2, 9, 12, 2)
    for y, x, channel in np.ndindex(9, 12, 2):
        of = (3 * (y % 3) + x % 3) * 2 + channel
        np.testing.assert_array_equal(found[:, y, x, channel], maps[:, y // 3, x // 3, of])
    with pytest.raises(ValueError, match="18 maps do not make squares of 2 x 2"):
        pixel_shuffle(jnp.asarray(maps), 2)


def test_luma_is_that_of_bt_601():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [12, 200, 77]]) / 255
    r, g, b = colours.T
    want = (16 + 65.481 * r + 128.553 * g + 24.966 * b) / 255
    found = luma(jnp.asarray(colours, jnp.float32).reshape(1, 2, 2, 3))
    np.testing.assert_allclose(np.ravel(found), want, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(found)[:2] * 255, [16, 235], rtol=1e-6)
    grey = jnp.ones((1, 2, 2, 1)) * 0.3
    np.testing.assert_array_equal(luma(grey), grey[..., 0])
    with pytest.raises(ValueError, match="2 channels: one, or red, green and blue"):
        luma(jnp.ones((1, 2, 2, 2)))


@pytest.mark.parametrize("border", [0, 2])
def test_psnr_is_in_decibels_of_each_image(border):
    images, truth = RANDOM.uniform(size=(2, 3, 9, 8, 1))
    inner = slice(border, -border) if border else slice(None)
    error = ((images - truth)[:, inner, inner] ** 2).mean((1, 2, 3))
    found = psnr(jnp.asarray(images, jnp.float32), jnp.asarray(truth, jnp.float32), border)
    np.testing.assert_allclose(found, 10 * np.log10(1 / error), rtol=1e-5)


def test_an_image_without_an_error_has_100_decibels():
    image = jnp.ones((1, 4, 4, 1))
    np.testing.assert_allclose(psnr(image, image), [100.0], rtol=1e-6)


PUBLISHED = {
    "espcn": (Upscaler(parse_blocks("64k5 32k3"), 3, activation=ACTIVATIONS["tanh"]), 22_729),
    "srcnn": (Upscaler(parse_blocks("64k9 32k1"), 3, "start", 5), 8_032 + 64 + 32 + 1),
}
"""SRCNN: 8,032 weights (Dong et al. 2014, arXiv 1501.00092; from memory), and biases."""


@pytest.mark.parametrize(("net", "parameters"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_nets_have_their_parameters_and_sizes(net, parameters):
    images = jnp.zeros((2, 7, 9, 1))
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters
    assert jax.eval_shape(net.apply, variables, images).shape == (2, 21, 27, 1)


@pytest.mark.parametrize("place", ["end", "start"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_net_is_its_convolutions_its_shuffle_and_its_skip(place, skip):
    net = Upscaler(parse_blocks("4k3"), 2, place, 1, skip, ACTIVATIONS["tanh"])
    images = jnp.asarray(RANDOM.normal(size=(2, 5, 4, 1)), jnp.float32)
    params = net.init(jax.random.key(1), images)["params"]
    smooth = np.asarray(bicubic(images, 10, 8), np.float64)
    seen = np.asarray(images, np.float64) if place == "end" else smooth
    first, last = (jax.tree.map(np.asarray, params[name]) for name in ("conv_1", "output"))
    padded = np.pad(seen, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = seen.shape[1:3]
    hidden = first["bias"] + sum(
        padded[:, i : i + height, j : j + width] @ first["kernel"][i, j]
        for i in range(3)
        for j in range(3)
    )
    want = np.tanh(hidden) @ last["kernel"][0, 0] + last["bias"]
    if place == "end":
        want = np.asarray(pixel_shuffle(jnp.asarray(want), 2))
    want = want + smooth if skip else want
    found = np.asarray(net.apply({"params": params}, images))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_a_skip_beside_a_net_of_zeros_is_bicubic_interpolation():
    net = Upscaler(parse_blocks("4k3"), 2, skip=True, kernel_init=INITIALIZERS["zeros"])
    images = jnp.asarray(RANDOM.uniform(size=(2, 5, 4, 1)), jnp.float32)
    variables = net.init(jax.random.key(0), images)
    np.testing.assert_array_equal(net.apply(variables, images), bicubic(images, 10, 8))


@pytest.mark.parametrize("layers", ["4k3v", "4k3s2", "4k3 4k4p1"])
def test_a_layer_that_changes_the_size_is_refused(layers):
    net = Upscaler(parse_blocks(layers), 2)
    number = len(layers.split())
    with pytest.raises(ValueError, match=f"layer {number} changes the size"):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 6, 6, 1)))


def test_products_in_half_precision_give_single_ones():
    net = Upscaler(parse_blocks("4k3"), 2, dtype=jnp.bfloat16)
    images = jnp.ones((1, 4, 4, 1))
    variables = net.init(jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jax.eval_shape(net.apply, variables, images).dtype == jnp.float32
