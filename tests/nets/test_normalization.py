"""Normalisations against NumPy, and how many groups channels have."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nets.batch_norm import batch_normalised
from nets.normalization import groups_of, normalise

X = np.random.default_rng(0).normal(3, 2, size=(4, 5, 6, 8)).astype(np.float32)


class Normalised(nn.Module):
    options: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return normalise(x, name="norm", train=True, **dict(self.options))


def normalised(x: Any = X, **options: Any) -> tuple[Any, Any]:
    """The output, and the variables after it."""
    x = jnp.asarray(x)
    net = Normalised(tuple(options.items()))
    variables: Any = net.init(jax.random.key(0), x)
    output, state = net.apply(variables, x, mutable=["batch_stats"])
    return output, {**variables, **state}


GROUPS = {
    1: 1, 2: 1, 3: 1, 4: 2, 16: 8, 25: 5, 32: 16, 34: 17, 48: 24, 63: 21, 64: 32, 67: 1, 96: 32,
    100: 25, 256: 32, 512: 32,
}  # fmt: skip


FEW_POSITIONS = {
    (8, 1): 1, (10, 1): 1, (16, 1): 2, (64, 1): 8, (84, 1): 7, (120, 1): 15, (512, 1): 32,
    (64, 2): 16, (34, 5): 17,
}  # fmt: skip


@pytest.mark.parametrize(("channels", "groups"), GROUPS.items())
def test_groups_divide_the_channels_and_are_never_single_ones(channels, groups):
    assert groups_of(channels, 16) == groups
    assert channels % groups == 0 and (channels == 1 or channels // groups > 1)


@pytest.mark.parametrize(("shape", "groups"), FEW_POSITIONS.items())
def test_groups_of_few_positions_hold_eight_values_where_there_are_as_many(shape, groups):
    channels, positions = shape
    assert groups_of(channels, positions) == groups
    assert channels % groups == 0
    assert channels // groups * positions >= 8


def test_units_of_a_dense_layer_are_not_normalised_to_their_signs():
    output, _ = normalised(X[:, 0, 0], norm="group")
    assert np.unique(np.round(np.abs(output), 2)).size > 16


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
def test_means_and_variances_of_each_norm(norm, epsilon):
    axes = {"batch": (0, 1, 2), "layer": (1, 2, 3), "group": (1, 2, 4)}[norm]
    x = X.astype(np.float64).reshape(4, 5, 6, 4, 2) if norm == "group" else X.astype(np.float64)
    deviation = x - x.mean(axes, keepdims=True)
    want = deviation / np.sqrt((deviation**2).mean(axes, keepdims=True) + epsilon)
    got, _ = normalised(norm=norm, epsilon=epsilon)
    np.testing.assert_allclose(got, want.reshape(X.shape), atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_without_a_scale_only_a_shift_is_trained(norm):
    scaled, variables = normalised(norm=norm)
    plain, fewer = normalised(norm=norm, scale=False)
    assert set(variables["params"]["norm"]) == {"scale", "bias"}
    assert set(fewer["params"]["norm"]) == {"bias"}
    np.testing.assert_allclose(plain, scaled, atol=1e-6)


def test_running_statistics_keep_the_momentum_and_take_the_rest():
    _, variables = normalised(norm="batch", momentum=0.6)
    kept = variables["batch_stats"]["norm"]
    np.testing.assert_allclose(kept["mean"], 0.4 * X.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(kept["var"], 0.6 + 0.4 * X.var((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_statistics_of_half_precision_inputs_are_of_full_precision(norm):
    """A mean of 300 in bfloat16 is 2 apart from the next: deviations of 1 would be lost."""
    half = jnp.asarray(X + 300, jnp.bfloat16)
    got, _ = normalised(half, norm=norm, epsilon=1e-12, dtype=jnp.bfloat16)
    want, _ = normalised(half.astype(jnp.float32), norm=norm, epsilon=1e-12)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=0.01, atol=0.01)


def test_gradients_of_batch_norm_are_those_of_the_paper():
    """The equations after algorithm 1 of Ioffe & Szegedy 2015; epsilon counts as the variance."""
    x, axes = X.astype(np.float64), (0, 1, 2)
    random, count = np.random.default_rng(1), X[..., 0].size
    scale, bias = random.normal(size=(2, 8))
    g, epsilon = random.normal(size=X.shape), 0.1
    mean, var = x.mean(axes), x.var(axes)
    by_normalised = g * scale
    by_var = (by_normalised * (x - mean)).sum(axes) * -0.5 * (var + epsilon) ** -1.5
    by_mean = -by_normalised.sum(axes) / np.sqrt(var + epsilon)
    by_mean += by_var * (-2 * (x - mean)).mean(axes)
    by_x = by_normalised / np.sqrt(var + epsilon) + by_var * 2 * (x - mean) / count
    by_x += by_mean / count
    by_scale = (g * (x - mean) / np.sqrt(var + epsilon)).sum(axes)
    given = [jnp.asarray(a, jnp.float32) for a in (x, scale, bias, epsilon)]
    _, back = jax.vjp(lambda *args: batch_normalised(*args)[0], *given)
    mine = jax.jit(back)(jnp.asarray(g, jnp.float32))
    for got, want in zip(mine, (by_x, by_scale, g.sum(axes), by_var.sum()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_batch_norm_is_differentiable_twice_by_everything_in_both_modes():
    with jax.enable_x64(True):
        given = tuple(
            jnp.asarray(a, jnp.float64) for a in (X[:2, :2, :2], X[0, 0, 0], X[0, 0, 1], 0.1)
        )
        check_grads(batch_normalised, given, order=2, atol=1e-5, rtol=1e-5)


def test_gradients_of_half_precision_inputs_are_of_full_precision():
    half = jnp.asarray(X, jnp.bfloat16)
    ones, zeros, epsilon = jnp.ones(8), jnp.zeros(8), jnp.asarray(0.1)
    g = jnp.asarray(np.random.default_rng(1).normal(size=X.shape), jnp.float32)

    def gradient(x: jax.Array) -> jax.Array:
        _, back = jax.vjp(lambda x: batch_normalised(x, ones, zeros, epsilon)[0], x)
        return back(g)[0]

    got, want = gradient(half), gradient(half.astype(jnp.float32))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=0.01, atol=0.001)
