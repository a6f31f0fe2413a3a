"""Dense layers and biases against Flax's and against sums in float64."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from nets.activations import ACTIVATIONS, Nonlinearity
from nets.cells import GRU, LSTM
from nets.conv import Conv
from nets.dense import Dense
from nets.initializers import INITIALIZERS
from nets.recurrent import Recurrent
from nets.spread import spread

MANY = 3000
LEARNED = re.compile("bias|peephole|slope|beta")


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_dense_layer_is_flax_s(use_bias):
    init = INITIALIZERS["lecun_normal"]
    layer = Dense(3, use_bias, init)
    flax = nn.Dense(3, use_bias, kernel_init=init)
    x = jax.random.normal(jax.random.key(1), (2, 5, 4))
    variables = layer.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, flax.init(jax.random.key(0), x))
    np.testing.assert_array_equal(layer.apply(variables, x), flax.apply(variables, x))


def test_biases_may_depend_on_the_inputs():
    drawn: Any = Dense(400, bias_init="fan_in_uniform").init(jax.random.key(0), jnp.zeros((1, 16)))
    bias = drawn["params"]["bias"]
    assert 0.24 < jnp.max(jnp.abs(bias)) <= 0.25 and jnp.abs(jnp.mean(bias)) < 0.03


def test_values_stand_along_the_last_axes():
    y, bias = jnp.zeros((2, 3, 4)), jnp.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(y + spread(bias, y), jnp.stack([bias, bias]))
    np.testing.assert_array_equal((y + spread(bias[0], y))[1], jnp.stack([bias[0]] * 3))
    assert spread(bias, y.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def gradients(module, x):
    """Of the sum of all outputs, by the parameters, in bfloat16 and in float32."""
    options: Any = {"train": False} if isinstance(module, Recurrent) else {}
    variables = module.init(jax.random.key(0), x, **options)

    def total(params, dtype):
        half = module.clone(dtype=dtype) if hasattr(module, "dtype") else module
        y = half.apply({"params": params}, x.astype(dtype), **options)
        y = y[0] if isinstance(y, tuple) else y
        return jnp.sum(y.astype(jnp.float32))

    by = jax.grad(total)
    return [by(variables["params"], dtype) for dtype in (jnp.bfloat16, jnp.float32)]


BIASED = {
    "dense": (Dense(2), (MANY, 3)),
    "conv": (Conv(2, 3), (30, 10, 10, 3)),
    "prelu": (Nonlinearity(ACTIVATIONS["prelu"]), (MANY, 3)),
    "swish": (Nonlinearity(ACTIVATIONS["swish"]), (MANY, 3)),
    "lstm": (Recurrent(LSTM(peepholes=True), 2), (MANY // 10, 10, 3)),
    "long lstm": (Recurrent(LSTM(peepholes=True), 2), (1, MANY, 3)),
    "gru": (Recurrent(GRU(), 2), (1, MANY, 3)),
}


def biases(tree: Any) -> dict[str, Any]:
    flat: Any = traverse_util.flatten_dict(tree, sep="/")
    return {name: leaf for name, leaf in flat.items() if LEARNED.search(name)}


@pytest.mark.slow
@pytest.mark.parametrize("name", BIASED)
def test_in_half_precision_what_is_learned_still_learns_from_all_examples(name):
    """Thousands of gradients of like sign: a sum of them in bfloat16 stops growing."""
    module, shape = BIASED[name]
    x = 0.1 * jax.random.normal(jax.random.key(1), shape)
    half, whole = gradients(module, x)
    assert biases(whole)
    for key, want in biases(whole).items():
        off = jnp.linalg.norm(biases(half)[key] - want) / jnp.linalg.norm(want)
        assert off < 0.02, (key, off)
