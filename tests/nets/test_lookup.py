"""Embeddings against plain indexing, looked up before or after the first layer's product."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.cells import GRU, LSTM
from nets.lookup import Embedding, Rows, look_up
from nets.recurrent import RecurrentStack

TOKENS = jnp.asarray([[0, 2, 2], [4, 0, 1]])


def test_rows_and_gradients_are_those_of_indexing():
    table = jax.random.normal(jax.random.key(0), (5, 3))
    weights = jnp.arange(18.0).reshape(2, 3, 3)
    np.testing.assert_array_equal(look_up(table, TOKENS), table[TOKENS])
    ours = jax.grad(lambda t: jnp.vdot(look_up(t, TOKENS), weights))(table)
    plain = jax.grad(lambda t: jnp.vdot(t[TOKENS], weights))(table)
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


@pytest.mark.parametrize("features", [2, 6])
def test_in_half_precision_a_frequent_token_learns_from_all_its_places(features):
    """1,000 ones, by either form: in bfloat16, a sum would stop growing at 256."""
    table = jnp.zeros((4, features), jnp.bfloat16)
    tokens = jnp.zeros((10, 100), jnp.int32)
    found = jax.grad(lambda t: jnp.sum(look_up(t, tokens), dtype=jnp.float32))(table)
    assert found.dtype == jnp.bfloat16
    assert found[0].tolist() == [1000] * features


def test_only_a_small_vocabulary_is_looked_up_later():
    found: dict[int, Any] = {}
    for features in (3, 6):
        net = Embedding(5, features)
        found[features], variables = net.init_with_output(jax.random.key(0), TOKENS)
        params: Any = variables["params"]
        assert params["embedding"].shape == (5, features)
    assert found[3].shape == (2, 3, 3) and isinstance(found[6], Rows)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [LSTM(layer_norm=True), GRU()], ids=["layer_norm", "gru"])
def test_a_layer_gives_the_same_before_and_after_the_look_up(cell):
    table = jax.random.normal(jax.random.key(0), (5, 6))
    net = RecurrentStack(cell, (4,), bidirectional=True)
    variables = net.init(jax.random.key(1), table[TOKENS], train=False)

    def loss(table, variables, later):
        x = Rows(TOKENS, table) if later else table[TOKENS]
        return jnp.sum(jnp.sin(net.apply(variables, x, train=False)[0]))

    both = [
        jax.value_and_grad(functools.partial(loss, later=later), (0, 1))(table, variables)
        for later in (True, False)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), *both)
