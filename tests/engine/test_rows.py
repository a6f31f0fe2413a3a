"""Steps that update the rows they use: as if the whole table had a gradient, without one."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.engine.experiment import Experiment
from experiments.engine.step import Model, State, update
from tests.engine import toy

WORDS, FEATURES, STEPS = 9, 2, 4


def loss_of(config, net, params, model_state, batch, key):
    """The same loss of whole tables and of rows that were looked up."""
    del net, key
    table = params["table"]
    rows = table if table.ndim == 3 else table[batch["rows"]]
    loss = jnp.sum((rows * params["scale"][None, None] - batch["y"]) ** 2)
    return loss * config, (model_state, {"loss": loss})


def experiment(sparse):
    changes: dict[str, Any] = {"loss_fn": loss_of}
    if sparse:
        changes["rows"] = lambda config, batch: {"table": batch["rows"]}
    return dataclasses.replace(toy.TOY, **changes)


def batch():
    """Five places, one row twice."""
    rows = jnp.asarray([[0, 3, 3], [8, 1, 0]])
    return {"rows": rows, "y": jnp.arange(12.0).reshape(2, 3, FEATURES) / 10}


def start():
    params = {"table": jnp.ones((WORDS, FEATURES)), "scale": jnp.full(FEATURES, 0.5)}
    optimizer = optax.scale_by_schedule(lambda step: -0.01 / (1 + step))
    zero = jnp.int32(0)
    return optimizer, State(zero, params, optimizer.init(params), {}, zero - 1)


def trained(sparse: Experiment, factors=(1.0,) * STEPS):
    optimizer, state = start()
    for factor in factors:
        model = Model(jnp.float32(factor), None, optimizer)
        state, _ = update(sparse, model, state, batch(), jax.random.key(0))
    return state


def test_used_rows_are_updated_as_by_the_whole_gradient():
    rows, whole = trained(experiment(True)), trained(experiment(False))
    for name in ("table", "scale"):
        np.testing.assert_allclose(rows.params[name], whole.params[name], rtol=1e-6)
    np.testing.assert_array_equal(rows.params["table"][jnp.asarray([2, 4, 5, 6, 7])], 1.0)
    assert set(rows.params) == set(whole.params)


def test_a_diverged_replica_keeps_its_rows():
    frozen = trained(experiment(True), (1.0, np.inf, 1.0, 1.0))
    once = trained(experiment(True), (1.0,))
    assert frozen.diverged == 1 and frozen.step == 4
    jax.tree.map(np.testing.assert_array_equal, frozen.params, once.params)


def test_nothing_of_the_size_of_the_table_is_computed():
    optimizer, state = start()
    model = Model(jnp.float32(1), None, optimizer)
    step = jax.make_jaxpr(lambda s: update(experiment(True), model, s, batch(), jax.random.key(0)))
    sized = [
        equation.primitive.name
        for equation in step(state).jaxpr.eqns
        for out in equation.outvars
        if getattr(out.aval, "shape", ()) == (WORDS, FEATURES)
    ]
    assert sized == ["scatter-add"]
