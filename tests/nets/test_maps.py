"""Filters and feature maps of nets, against the layers' own arithmetic in NumPy."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from nets.activations import ACTIVATIONS
from nets.conv import Conv
from nets.convnet import ConvNet
from nets.layers import layers
from nets.maps import central_kernel, feature_maps
from nets.pooling import Pool
from nets.specs import parse_blocks

RNG = np.random.default_rng(0)


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """[height, width, channels] by [3, 3, channels, filters], zeros around it, in float64."""
    height, width, _ = x.shape
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    places = [(i, j) for i in range(3) for j in range(3)]
    seen = [padded[i : i + height, j : j + width] @ kernel[i, j] for i, j in places]
    return np.sum(seen, axis=0)


def variables_of(net, inputs, **options):
    """Parameters and positive statistics of a net, drawn by NumPy so that nothing is compiled."""
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, **options), inputs)

    def drawn(path, leaf):
        statistic = path[0].key == "batch_stats"
        values = (
            RNG.uniform(0.5, 1.5, leaf.shape) if statistic else 0.2 * RNG.normal(size=leaf.shape)
        )
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(drawn, shapes)


def test_maps_of_a_net_are_those_of_numpy():
    """Batch norm with statistics, max-out over pairs, dropout off; no axis of channels."""
    net = ConvNet(
        parse_blocks("4k3 max2 3k3 d5"), 3, False, ACTIVATIONS["maxout"], "batch", dropout=0.5
    )
    image = RNG.normal(size=(1, 6, 8)).astype(np.float32)
    variables = variables_of(net, image, train=False)
    paths = [("conv_1",), ("pool_2",), ("conv_2",)]
    found = feature_maps(net, variables, image, paths)

    def unit(name: str, x: np.ndarray) -> np.ndarray:
        params, stats = variables["params"], variables["batch_stats"]
        mine, seen = (jax.tree.map(np.asarray, tree[f"norm_{name}"]) for tree in (params, stats))
        y = convolved(x, np.asarray(params[f"conv_{name}"]["kernel"]))
        y = (y - seen["mean"]) / np.sqrt(seen["var"] + 1e-5) * mine["scale"] + mine["bias"]
        return y.reshape(*y.shape[:2], 2, -1).max(axis=2)

    first = unit("1", np.asarray(image)[0, ..., None])
    pooled = first.reshape(3, 2, 4, 2, 4).max(axis=(1, 3))
    for path, expected in zip(paths, (first, pooled, unit("2", pooled)), strict=True):
        np.testing.assert_allclose(found[path][0], expected, rtol=1e-5, atol=1e-6)


class Block(nn.Module):
    """Two convolutions and a shortcut with one, all with Flax's own modules and functions."""

    @nn.compact
    def __call__(self, x):
        aside = nn.Conv(2, (1, 1), name="shortcut")(x)
        y = nn.relu(nn.Conv(2, (3, 3), name="conv_1")(x))
        return nn.relu(nn.Conv(2, (3, 3), name="conv_2")(y) + aside)


class Residual(nn.Module):
    """A convolution, a block, and two parallel convolutions of what it gives."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.relu(nn.Conv(3, (3, 3), name="stem")(x))
        x = Block(name="block")(x)
        a, b = nn.Conv(2, (3, 3), name="left")(x), nn.Conv(2, (3, 3), name="right")(x)
        return nn.Dense(3, name="output")(nn.relu(a + b).mean(axis=(1, 2)))


def test_maps_are_followed_through_functions_and_sums():
    net, image = Residual(), RNG.normal(size=(1, 5, 6, 2)).astype(np.float32)
    variables = variables_of(net, image, train=False)
    names = ["stem", "block/conv_1", "block/conv_2", "left", "right"]
    paths = [tuple(name.split("/")) for name in names]
    found = dict(zip(names, feature_maps(net, variables, image, paths).values(), strict=True))

    def conv(params, x):
        return convolved(x, np.asarray(params["kernel"])) + np.asarray(params["bias"])

    params = variables["params"]
    stem = np.maximum(conv(params["stem"], np.asarray(image)[0]), 0)
    shortcut = params["block"]["shortcut"]
    aside = stem @ shortcut["kernel"][0, 0] + shortcut["bias"]
    first = np.maximum(conv(params["block"]["conv_1"], stem), 0)
    second = np.maximum(conv(params["block"]["conv_2"], first) + aside, 0)
    branches = [conv(params[name], second) for name in ("left", "right")]
    for name, expected in zip(names, (stem, first, second, *branches), strict=True):
        np.testing.assert_allclose(found[name][0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (Conv(4, (3, 2), padding="valid", bias="none"), (5, 6, 3)),
        (Conv(4, (3, 2), padding="valid", bias="none", shared=False), (5, 6, 3)),
        (nn.ConvLocal(4, (3, 2), padding="VALID", use_bias=False), (5, 6, 3)),
        (Conv(4, 5, padding="valid", bias="none", shared=False), (9, 2)),
    ],
)
def test_the_central_kernel_gives_the_central_output(module, inputs):
    x = RNG.normal(size=(1, *inputs)).astype(np.float32)
    variables = variables_of(module, x)
    (layer,) = layers(module, variables, x)
    kernel = central_kernel(layer, variables["params"])
    assert kernel is not None
    *window, channels, _ = kernel.shape
    assert channels == inputs[-1]
    output = np.asarray(jax.jit(module.apply)(variables, x))[0]
    centre = tuple(size // 2 for size in output.shape[:-1])
    seen = tuple(slice(c, c + size) for c, size in zip(centre, window, strict=True))
    expected = np.tensordot(np.asarray(x)[0][seen], kernel, kernel.ndim - 1)
    np.testing.assert_allclose(output[centre], expected, rtol=1e-5)


def test_what_has_no_kernel_in_a_known_order_has_none():
    x = np.ones((1, 6, 6, 2), np.float32)
    (pool,) = layers(Pool("max", 2), {}, x)
    assert central_kernel(pool, {}) is None
    conv = Conv(2, 3)
    variables = variables_of(conv, x)
    (layer,) = layers(conv, variables, x)
    strange = {"kernel": np.ones((2, 2, 3, 3))}
    assert central_kernel(layer, strange) is None
