"""Layers of convolutional nets against loops over every position, in float64."""

import dataclasses
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nets.conv import Conv, LocalResponseNorm
from nets.initializers import INITIALIZERS, fans
from nets.layers import layers, sharing
from nets.pooling import GlobalPool, Pool
from tests.nets import compiled

RANDOM = np.random.default_rng(0)


def inputs(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def applied(layer, x, params: Any = None) -> Any:
    return compiled.applied(layer, {"params": params or {}}, x)


def seen(shape, window):
    """Position of the output, place in the window, position of the input; padding is left out."""
    positions = (range(w.output_size(n)) for w, n in zip(window, shape, strict=True))
    for position in itertools.product(*positions):
        for place in itertools.product(*(range(w.size) for w in window)):
            at = tuple(
                p * w.stride + k * w.dilation - w.padding[0]
                for p, k, w in zip(position, place, window, strict=True)
            )
            if all(0 <= i < n for i, n in zip(at, shape, strict=True)):
                yield position, place, at


LAYERS = {
    "plain": (Conv(5, 3), (6, 7, 4)),
    "strided": (Conv(4, (3, 2), 2, (1, 0), bias="none"), (7, 6, 2)),
    "grouped": (Conv(6, 3, groups=2, dilation=2, padding=2), (7, 7, 4)),
    "sequence": (Conv(3, 5, 2, 1), (12, 2)),
    "position": (Conv(3, 3, bias="position"), (4, 5, 2)),
    "unshared": (Conv(3, 3, 2, 1, shared=False, bias="position"), (5, 6, 2)),
    "unshared sequence": (Conv(3, 3, dilation=2, shared=False), (7, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_convolutions_and_their_gradients(name):
    layer, shape = LAYERS[name]
    x = inputs(2, *shape)
    window = layer.windows(shape[:-1])
    start = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    params = {key: RANDOM.normal(size=leaf.shape).astype(np.float32)
              for key, leaf in start.items()}  # fmt: skip
    kernel = np.asarray(params["kernel"], np.float64)
    if not layer.shared:
        kernel = kernel.reshape(*kernel.shape[:-2], *(w.size for w in window), shape[-1], -1)
    run = functools.partial(applied, layer)
    g = RANDOM.normal(size=jax.eval_shape(run, x, params).shape)
    y, by_x, by_params = compiled.with_gradients(run, g, x, params)
    expected, of_x, of_kernel = np.zeros(y.shape), np.zeros(x.shape), np.zeros(kernel.shape)
    size, count = shape[-1] // layer.groups, layer.features // layer.groups
    for position, place, at in seen(shape[:-1], window):
        for group in range(layer.groups):
            reads, writes = (
                slice(group * size, (group + 1) * size),
                slice(group * count, (group + 1) * count),
            )
            index = (*(() if layer.shared else position), *place, slice(None), writes)
            to, of = (slice(None), *position, writes), (slice(None), *at, reads)
            expected[to] += np.asarray(x, np.float64)[of] @ kernel[index]
            of_x[of] += g[to] @ kernel[index].T
            of_kernel[index] += np.asarray(x, np.float64)[of].T @ g[to]
    if layer.bias != "none":
        expected += np.asarray(params["bias"], np.float64)
        axes = (0,) if layer.bias == "position" else tuple(range(g.ndim - 1))
        np.testing.assert_allclose(by_params["bias"], g.sum(axes), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_x, of_x, rtol=1e-4, atol=1e-4)
    shape = params["kernel"].shape
    np.testing.assert_allclose(by_params["kernel"], of_kernel.reshape(shape), rtol=1e-4, atol=1e-4)


def test_equal_kernels_at_all_positions_are_a_shared_one():
    x = inputs(2, 5, 6, 3)
    shared, apart = Conv(4, 3, 2, 1), Conv(4, 3, 2, 1, shared=False)
    params = compiled.initial(shared, x)["params"]
    kernel = np.asarray(params["kernel"]).reshape(1, 1, 27, 4)
    same = {"kernel": np.broadcast_to(kernel, (3, 3, 27, 4)), "bias": params["bias"]}
    mine = applied(apart, x, same)
    np.testing.assert_allclose(mine, applied(shared, x, params), rtol=1e-5, atol=1e-5)


def test_the_notes_example_of_what_sharing_saves():
    x = jnp.zeros((1, 32, 32, 3))

    def parameters(**choices):
        layer = Conv(10, 5, **choices)
        shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
        (row,) = (row for row in layers(layer, shapes, x) if row.windows)
        assert dataclasses.astuple(sharing(row)) == (760, 768_010, 778_240)
        assert row.multiply_adds == 75 * 32 * 32 * 10
        return row.parameters

    assert parameters() == 760
    assert parameters(shared=False) == 768_010
    assert parameters(shared=False, bias="position") == 778_240


def test_sizes_of_the_notes():
    x = jnp.zeros((1, 32, 32, 3))
    first, second = Conv(6, 5, padding="valid"), Conv(10, 5, padding="valid")
    shapes = []
    for layer in (first, second):
        x = jax.eval_shape(
            lambda x, layer=layer: layer.init_with_output(jax.random.key(0), x)[0], x
        )
        shapes.append(x.shape[1:])
    assert shapes == [(28, 28, 6), (24, 24, 10)]


def test_positions_draw_kernels_apart_with_the_fans_of_one():
    layer = Conv(64, 3, shared=False, kernel_init=INITIALIZERS["he_normal"])
    kernel = np.asarray(compiled.initial(layer, np.zeros((1, 4, 4, 16), "f"))["params"]["kernel"])
    assert kernel.shape == (4, 4, 144, 64)
    sizes = np.std(kernel, axis=(2, 3))
    np.testing.assert_allclose(sizes, np.sqrt(2 / fans((3, 3, 16, 64))[0]), rtol=0.05)
    assert not np.array_equal(kernel[0, 0], kernel[0, 1])


POOLS = {
    "apart": ({"size": 2}, (6, 4)),
    "apart, uneven": ({"size": (3, 2)}, (6, 4)),
    "apart, some left": ({"size": 2}, (5, 4)),
    "apart, sequence": ({"size": 2}, (6,)),
    "overlapping": ({"size": 3, "strides": 2}, (7, 7)),
    "padded": ({"size": 3, "strides": 2, "padding": 1}, (6, 5)),
    "same": ({"size": (2, 3), "strides": (2, 1), "padding": "same"}, (5, 4)),
    "sequence": ({"size": 3, "strides": 1, "padding": "same"}, (5,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("name", POOLS)
def test_pooling_and_its_gradient(kind, name):
    choices, shape = POOLS[name]
    layer = Pool(kind, **choices)
    x = np.round(inputs(2, *shape, 3))  # with ties
    window = layer.windows(shape)
    run = functools.partial(applied, layer)
    g = RANDOM.normal(size=jax.eval_shape(run, x).shape)
    y, by_x = compiled.with_gradients(run, g, x)
    values, of_x = np.asarray(x, np.float64), np.zeros(x.shape)
    expected = np.zeros(y.shape)
    places: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for position, _, at in seen(shape, window):
        places.setdefault(position, []).append(at)
    for position, found in places.items():
        here = np.stack([values[(slice(None), *at)] for at in found])
        expected[(slice(None), *position)] = here.max(0) if kind == "max" else here.mean(0)
        for i, at in enumerate(found):
            share = here.argmax(0) == i if kind == "max" else 1 / len(found)
            of_x[(slice(None), *at)] += share * g[(slice(None), *position)]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_x, of_x, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apart", "padded"])
def test_max_pooling_is_differentiable_twice_in_both_modes(name):
    choices, shape = POOLS[name]
    x = RANDOM.permutation(math.prod(shape) * 2).reshape(1, *shape, 2).astype(np.float32)
    run = functools.partial(applied, Pool("max", **choices))
    check_grads(jax.jit(lambda x: jnp.square(run(x))), (x,), order=2, eps=0.1, rtol=1e-3, atol=1e-3)


def test_a_nan_stays_in_its_windows():
    x = inputs(1, 4, 4, 1)
    x[0, 1, 2, 0] = np.nan
    for kind in ("max", "average"):
        y = np.isnan(applied(Pool(kind, 2), x))[0, ..., 0]
        np.testing.assert_array_equal(y, [[False, True], [False, False]])


@pytest.mark.slow
def test_means_of_large_windows_hold_in_half_precision():
    """A sum of ones in bfloat16 stops at 256."""
    x = jnp.ones((1, 28, 28, 2), jnp.bfloat16)
    found: Any = Pool("average", 28).apply({}, x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(found, np.float32), 1.0)


def test_local_responses_are_summed_in_single_precision():
    """Squares that add up to less than half of 2's spacing in bfloat16 still count."""
    x = jnp.full((1, 1, 5), 4, jnp.bfloat16)
    layer: Any = LocalResponseNorm(alpha=1e-2, k=2.0)
    found = layer.apply({}, x)
    assert found.dtype == jnp.bfloat16
    wanted = layer.apply({}, x.astype(jnp.float32))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted.astype(jnp.bfloat16)))


def test_global_pooling():
    x = inputs(2, 3, 4, 5)
    np.testing.assert_allclose(applied(GlobalPool(), x), np.mean(x, (1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(applied(GlobalPool("max"), x), np.max(x, (1, 2)))


def test_local_response_normalisation():
    x = inputs(2, 3, 7) * 30
    values, expected = np.asarray(x, np.float64), np.zeros(x.shape)
    for channel in range(7):
        near = values[..., max(0, channel - 2) : channel + 3]
        expected[..., channel] = values[..., channel] / (2 + 1e-4 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(applied(LocalResponseNorm(), x), expected, rtol=1e-5)


REFUSED = {
    "kernel 7 is larger than the padded input of 6": Conv(2, 7, padding=0),
    "stride 0": Conv(2, 3, 0),
    "4 channels do not divide into 3 groups": Conv(3, 3, groups=3),
    "3 features do not divide into 2 groups": Conv(3, 3, groups=2),
    "only with shared weights": Conv(4, 3, groups=2, shared=False),
    "would see nothing else": Pool("max", 2, 1, 2),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_geometry_that_cannot_work_is_refused(message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(REFUSED[message].init, jax.random.key(0), jnp.zeros((1, 6, 6, 4)))


def test_half_precision_of_the_computation_alone():
    layer, x = Conv(4, 3, dtype=jnp.bfloat16), inputs(1, 4, 4, 2)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert jax.eval_shape(layer.apply, shapes, x).dtype == jnp.bfloat16
