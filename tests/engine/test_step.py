"""The update step against NumPy, its cut into calls, and what a diverged replica keeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.engine.config import split
from experiments.engine.experiment import Data
from experiments.engine.jobs import make_job
from experiments.engine.keys import Streams, key_of
from experiments.engine.step import RUNNING, Model, Replica, State, Trainer, update
from experiments.engine.study import make_study
from experiments.engine.train import host_arrays
from tests.engine.toy import TOY, Config, load

DATASET = load(None, None)


def trainer_and_inputs(config=Config(), seed=0, fix=()):
    static, floats = split(config)
    trainer = Trainer(TOY, static, DATASET.spec, 10, fix)
    own = TOY.prepare(config, DATASET, Streams(seed, fix))
    traced = {name: jnp.float32(value) for name, value in floats.items()}
    splits = {name: dict(arrays) for name, arrays in DATASET.splits.items()}
    data = Data(*jax.tree.map(jnp.asarray, (splits, own)))
    return trainer, Replica(traced, jnp.int32(seed)), data


@pytest.fixture(scope="module")
def functions():
    """The toy's functions, compiled once for every test."""
    trainer, *_ = trainer_and_inputs()
    return {name: jax.jit(getattr(trainer, name)) for name in ("init", "epoch_inputs", "train")}


def none():
    """Sums of the training metrics before the first step."""
    return {"loss": jnp.float32(0)}


def weights(state):
    dense = state.params["Dense_0"]
    return np.concatenate([np.asarray(dense["kernel"])[:, 0], np.asarray(dense["bias"])])


def test_five_steps_against_numpy(functions):
    config = Config(rate=0.03)
    _, replica, data = trainer_and_inputs(config)
    state = functions["init"](replica)
    xs = functions["epoch_inputs"](replica, data, 0)
    w, velocity = weights(state).astype(np.float64), np.zeros(4)
    final, sums = functions["train"](state, none(), replica, data, xs, 0, 5)
    lost = 0.0
    for rows in np.asarray(xs):
        x = np.c_[DATASET.splits["train"]["x"][rows], np.ones(8)].astype(np.float64)
        off = x @ w - DATASET.splits["train"]["y"][rows]
        lost += np.mean(off**2)
        velocity = 0.5 * velocity + 2 * x.T @ off / 8
        w = w - 0.03 * velocity
    np.testing.assert_allclose(weights(final), w, rtol=1e-4, atol=1e-6)
    assert float(sums["loss"]) == pytest.approx(lost, rel=1e-5)
    assert int(final.step) == 5 and int(final.diverged) == RUNNING


def test_the_cut_into_calls_changes_no_bit(functions):
    _, replica, data = trainer_and_inputs(Config(rate=0.05, noise=0.3))
    start = functions["init"](replica)
    xs = functions["epoch_inputs"](replica, data, 0)
    whole = functions["train"](start, none(), replica, data, xs, 0, 5)
    carry = start, none()
    for first, last in [(0, 1), (1, 4), (4, 5)]:
        carry = functions["train"](*carry, replica, data, xs, first, last)
    jax.tree.map(np.testing.assert_array_equal, carry, whole)
    assert float(whole[1]["loss"]) > 0


def test_noise_and_order_come_from_the_seed_and_the_step_alone(functions):
    trained = []
    for seed, noise, rate in [(0, 0.3, 0.05), (0, 0.3, 0.05), (1, 0.3, 0.05), (0, 0.4, 0.05)]:
        _, replica, data = trainer_and_inputs(Config(rate=rate, noise=noise), seed)
        xs = functions["epoch_inputs"](replica, data, 3)
        trained.append(
            functions["train"](functions["init"](replica), none(), replica, data, xs, 0, 2)[0]
        )
    same, again, seed, noise = map(weights, trained)
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, seed) and not np.array_equal(same, noise)


def test_each_step_draws_other_noise(functions):
    """With a rate of 0 the parameters stand still, so only the noise of a step is left."""
    _, replica, data = trainer_and_inputs(Config(rate=0.0, noise=1.0))
    state = functions["init"](replica)
    xs = jnp.broadcast_to(functions["epoch_inputs"](replica, data, 0)[:1], (5, 8))
    losses = []
    for step in range(4):
        state, sums = functions["train"](state, none(), replica, data, xs, step, step + 1)
        losses.append(float(sums["loss"]))
    assert len(set(losses)) == 4


def test_epochs_shuffle_the_same_rows_differently(functions):
    _, replica, data = trainer_and_inputs()
    first, second, again = (
        np.asarray(functions["epoch_inputs"](replica, data, epoch)) for epoch in (0, 1, 0)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert sorted(first.ravel()) == sorted(second.ravel()) == sorted(data.own["train_rows"])


def test_an_epoch_is_told_its_number_and_the_key_of_all_epochs():
    trainer, replica, data = trainer_and_inputs(seed=3)
    told = dataclasses.replace(
        TOY, epoch_inputs=lambda config, data, key, epoch: (jax.random.key_data(key), epoch)
    )
    draw = jax.jit(dataclasses.replace(trainer, experiment=told).epoch_inputs)
    for number in (0, 7):
        key, epoch = draw(replica, data, number)
        assert int(epoch) == number
        np.testing.assert_array_equal(key, jax.random.key_data(key_of(jnp.int32(3), "order")))


def test_streams_are_shared_by_cells_and_pinned_one_by_one():
    """Initial weights, data order and rows: by seed, not by cell; `fix` pins the one named."""

    def drawn(config, seed, fix=()):
        trainer, replica, data = trainer_and_inputs(config, seed, fix)
        study = make_study(TOY, config, seeds=9, fix=fix)
        rows = host_arrays(study, DATASET, make_job(study, "report", 0, {}, seed))["train_rows"]
        np.testing.assert_array_equal(rows, data.own["train_rows"])
        everything = data._replace(own={"train_rows": jnp.arange(40)})
        return {
            "init": weights(trainer.init(replica)).tolist(),
            "order": np.asarray(trainer.epoch_inputs(replica, everything, jnp.int32(0))).tolist(),
            "split": rows.tolist(),
        }

    one = drawn(Config(), 0)
    assert drawn(Config(rate=0.5, decay=0.1, power="quartic"), 0) == one
    assert all(drawn(Config(), 1)[name] != one[name] for name in one)
    for fixed in one:
        pinned = drawn(Config(), 1, (fixed,))
        assert [name for name in one if pinned[name] == one[name]] == [fixed]
        assert {name: pinned[name] for name in one if name != fixed} == {
            name: value for name, value in drawn(Config(), 1).items() if name != fixed
        }


def slope_loss(config, net, params, model_state, batch, key):
    """A plane with the batch's slope, which `spoil` makes NaN."""
    loss = jnp.sum(params["w"]) * batch["slope"] + batch["spoil"]
    return loss, ({"count": model_state["count"] + 1}, {"loss": loss})


@pytest.mark.parametrize("how", ["loss", "gradient", "update"])
def test_a_diverged_replica_keeps_its_last_finite_parameters(how):
    """Step 2 is spoilt; steps 3 and 4 are fine again, but the replica stays where it was."""
    experiment = dataclasses.replace(TOY, loss_fn=slope_loss)
    model = Model(None, None, optax.sgd(0.1))
    slopes, spoilt = np.ones(5, np.float32), np.zeros(5, np.float32)
    if how == "loss":
        spoilt[2] = np.nan
    else:
        slopes[2] = np.inf if how == "gradient" else 3.4e38
    params = {"w": jnp.array([1.0, 2.0, 3.0], jnp.float32)}
    zero = jnp.zeros((), jnp.int32)
    first = State(zero, params, model.optimizer.init(params), {"count": zero}, zero + RUNNING)
    if how == "update":
        model = Model(None, None, optax.sgd(1e3))

    @jax.jit
    def step(state, batch):
        return update(experiment, model, state, batch, jax.random.key(0))

    states = [first]
    for slope, spoil in zip(slopes, spoilt, strict=True):
        states.append(step(states[-1], {"slope": slope, "spoil": spoil})[0])
    assert [int(state.diverged) for state in states] == [-1, -1, -1, 2, 2, 2]
    assert [int(state.step) for state in states] == list(range(6))
    assert [int(state.model_state["count"]) for state in states] == [0, 1, 2, 2, 2, 2]
    for state in states[3:]:
        np.testing.assert_array_equal(state.params["w"], states[2].params["w"])
    assert not np.array_equal(states[2].params["w"], states[1].params["w"])
