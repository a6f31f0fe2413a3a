"""A layer of frozen filters against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.whitening import FROZEN, Whitening

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6, 3)), jnp.float32)


def initial(layer: Whitening, x: Any = X) -> Any:
    return layer.init(jax.random.key(0), x)


def test_frozen_filters_and_trained_biases_over_every_patch():
    layer = Whitening(2)
    variables = initial(layer)
    kernel = np.asarray(variables[FROZEN]["kernel"], np.float64)
    assert set(variables["params"]) == {"bias"} and kernel.shape == (2, 2, 3, 24)
    biases = np.arange(24.0)
    got: Any = layer.apply({**variables, "params": {"bias": jnp.asarray(biases, jnp.float32)}}, X)
    assert got.shape == (2, 4, 5, 24)
    for row in range(4):
        for column in range(5):
            patch = X[:, row : row + 2, column : column + 2]
            want = np.einsum("bijc,ijcf->bf", np.asarray(patch, np.float64), kernel) + biases
            np.testing.assert_allclose(got[:, row, column], want, rtol=1e-5, atol=1e-5)


def test_drawn_filters_are_orthonormal_and_their_negatives():
    kernel = np.asarray(initial(Whitening(2))[FROZEN]["kernel"]).reshape(12, 24)
    np.testing.assert_array_equal(kernel[:, :12], -kernel[:, 12:])
    np.testing.assert_allclose(kernel[:, :12].T @ kernel[:, :12], np.eye(12), atol=1e-5)


def test_sequences_half_precision_and_windows_that_do_not_fit():
    layer = Whitening(3, jnp.bfloat16)
    x = jnp.zeros((2, 7, 1))
    assert layer.apply(initial(layer, x), x).dtype == jnp.bfloat16  # type: ignore[union-attr]
    assert layer.multiply_adds((7, 1)) == 5 * 3 * 6
    assert Whitening(2).multiply_adds((5, 6, 3)) == 20 * 12 * 24
    with pytest.raises(ValueError, match="3 is larger than the padded input of 2"):
        initial(layer, jnp.zeros((2, 2, 1)))
