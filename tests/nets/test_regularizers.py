"""Penalties, max-norm, dropout and noise against NumPy and their exact distributions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nets.regularizers import (
    Dropout,
    GaussianNoise,
    concentration,
    elastic,
    kernels,
    l1,
    l2,
    max_norm,
)
from tests.nets import compiled

RNG = np.random.default_rng(0)
PARAMS = {
    "layer_1": {
        "kernel": RNG.normal(size=(4, 3)).astype(np.float32),
        "bias": RNG.normal(size=3).astype(np.float32),
    },
    "conv": {"kernel": RNG.normal(size=(3, 3, 2, 5)).astype(np.float32)},
    "norm_1": {"scale": np.ones(3, np.float32)},
}
RANDOM_STEP = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), PARAMS)
KERNELS = np.concatenate([PARAMS["layer_1"]["kernel"].ravel(), PARAMS["conv"]["kernel"].ravel()])


def test_penalties_of_kernels():
    wide = KERNELS.astype(np.float64)
    assert jax.jit(l1)(PARAMS) == pytest.approx(np.abs(wide).sum(), rel=1e-6)
    assert jax.jit(l2)(PARAMS) == pytest.approx((wide**2).sum(), rel=1e-6)
    expected = 0.3 * np.abs(wide).sum() + 0.2 * (wide**2).sum()
    assert jax.jit(elastic)(PARAMS, 0.3, 0.2) == pytest.approx(expected, rel=1e-6)


def test_penalty_gradients_touch_kernels_only():
    gradient = jax.jit(jax.grad(elastic))(PARAMS, 0.3, 0.2)
    gradient = jax.tree.map(np.asarray, gradient)
    for layer in ("layer_1", "conv"):
        weights = PARAMS[layer]["kernel"]
        expected = 0.3 * np.sign(weights) + 2 * 0.2 * weights
        np.testing.assert_allclose(gradient[layer]["kernel"], expected, rtol=1e-6)
    assert not gradient["layer_1"]["bias"].any() and not gradient["norm_1"]["scale"].any()


def test_which_weights_is_the_callers_choice():
    everything = jax.jit(l1, static_argnums=1)(PARAMS, lambda path, leaf: True)
    expected = sum(np.abs(leaf.astype(np.float64)).sum() for leaf in jax.tree.leaves(PARAMS))
    assert everything == pytest.approx(expected, rel=1e-6)
    of_images = jax.jit(l2, static_argnums=1)(PARAMS, lambda path, leaf: leaf.ndim == 4)
    assert of_images == pytest.approx(
        (PARAMS["conv"]["kernel"].astype(np.float64) ** 2).sum(), rel=1e-6
    )
    assert l1({}) == 0 and l2({"bias": jnp.ones(2)}) == 0


def test_kernels_is_by_last_name():
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(PARAMS)]
    chosen = [jax.tree_util.keystr(path) for path in paths if kernels(path, None)]
    assert chosen == ["['conv']['kernel']", "['layer_1']['kernel']"]
    assert not kernels((), None)


def incoming_norms(kernel):
    wide = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
    return np.linalg.norm(wide, axis=0)


@functools.partial(jax.jit, static_argnums=0)
def constrained(limit, updates, params) -> Any:
    return max_norm(limit).update(updates, optax.EmptyState(), params)[0]


def test_max_norm_after_the_step():
    limit, rate = 1.7, 0.5
    optimizer = optax.chain(optax.sgd(rate), max_norm(limit))

    @jax.jit
    def step(params, gradients):
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        return updates, optax.apply_updates(params, updates)

    updates, new = step(PARAMS, RANDOM_STEP)
    free = jax.tree.map(lambda weights, slope: weights - rate * slope, PARAMS, RANDOM_STEP)
    touched = []
    for layer in ("layer_1", "conv"):
        wanted = free[layer]["kernel"]
        norms = incoming_norms(wanted)
        touched += list(norms > limit)
        expected = wanted * np.minimum(1, limit / norms)
        np.testing.assert_allclose(new[layer]["kernel"], expected, rtol=1e-5, atol=1e-6)
        assert np.all(incoming_norms(new[layer]["kernel"]) <= limit * (1 + 1e-6))
    assert any(touched) and not all(touched)
    np.testing.assert_array_equal(
        updates["layer_1"]["bias"], -rate * RANDOM_STEP["layer_1"]["bias"]
    )


def test_max_norm_leaves_short_units_alone_to_the_bit():
    step = np.array([[1e-3, 0.1], [0.0, -0.3]], np.float32)
    params = np.array([[0.3, 3.0], [0.123, 4.0]], np.float32)
    updates = np.asarray(constrained(1.0, {"kernel": step}, {"kernel": params})["kernel"])
    np.testing.assert_array_equal(updates[:, 0], step[:, 0])
    assert np.all(updates[:, 1] != step[:, 1])


@pytest.mark.parametrize("size", [1e2, 1e7, 1e20, 1e36])
def test_max_norm_after_steps_of_any_size(size):
    weights = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    step = (size * np.random.default_rng(1).normal(size=(20, 3))).astype(np.float32)
    for before, change in ((weights, step), (1e-3 * weights, step), (step, 0 * step)):
        found = constrained(2.0, {"kernel": change}, {"kernel": before})["kernel"]
        after = before.astype(np.float64) + np.asarray(found)
        expected = before.astype(np.float64) + change
        expected *= 2 / np.linalg.norm(expected, axis=0)
        tolerance = 1e-6 * np.abs(before).max()
        np.testing.assert_allclose(after, expected, rtol=2e-6, atol=tolerance)


def test_max_norm_of_zero_weights_and_of_a_zero_limit():
    zero = {"kernel": jnp.zeros((3, 2))}
    for limit in (0.0, 1.0):
        updates = constrained(limit, zero, zero)
        assert not np.any(updates["kernel"])
    step = {"kernel": jnp.ones((3, 2))}
    updates = constrained(0.0, step, zero)
    assert not np.any(updates["kernel"])


def test_max_norm_with_a_traced_limit_and_without_params():
    def clipped(limit):
        step = {"kernel": jnp.full((4, 1), 2.0)}
        zero = {"kernel": jnp.zeros((4, 1))}
        updates: Any = max_norm(limit).update(step, optax.EmptyState(), zero)[0]
        return updates["kernel"]

    norms = np.linalg.norm(jax.jit(jax.vmap(clipped))(np.array([1.0, 3.0, 9.0])), axis=(1, 2))
    np.testing.assert_allclose(norms, [1, 3, 4], rtol=1e-6)
    with pytest.raises(ValueError, match="needs the parameters"):
        max_norm(1.0).update({}, optax.EmptyState())


def test_concentration_of_known_vectors():
    """Equal, single and all-zero weights, which fix the scale, and a random vector."""
    measure = jax.jit(concentration)
    equal = measure({"kernel": np.array([[1.0, -1.0], [1.0, 1.0]])})
    single = measure({"kernel": np.array([[0.0, -7.0], [0.0, 0.0]])})
    nothing = measure({"kernel": np.zeros((2, 2))})
    assert equal == {"hoyer": pytest.approx(0, abs=1e-6), "effective_number": pytest.approx(4)}
    assert single == {"hoyer": pytest.approx(1), "effective_number": pytest.approx(1)}
    assert nothing == {"hoyer": 0, "effective_number": 0}
    assert concentration({}) == {"hoyer": 0, "effective_number": 0}
    wide, root = KERNELS.astype(np.float64), np.sqrt(KERNELS.size)
    measured = measure(PARAMS)
    ratio = np.abs(wide).sum() / np.linalg.norm(wide)
    assert measured["hoyer"] == pytest.approx((root - ratio) / (root - 1), rel=1e-5)
    number = (wide**2).sum() ** 2 / (wide**4).sum()
    assert measured["effective_number"] == pytest.approx(number, rel=1e-5)


def test_concentration_does_not_depend_on_scale_and_shows_nan():
    measure = jax.jit(concentration)
    tiny = measure(jax.tree.map(lambda leaf: leaf * 1e-15, PARAMS))
    huge = measure(jax.tree.map(lambda leaf: leaf * 1e15, PARAMS))
    for name, value in measure(PARAMS).items():
        assert tiny[name] == pytest.approx(float(value), rel=1e-5)
        assert huge[name] == pytest.approx(float(value), rel=1e-5)
    broken = measure({"kernel": np.array([np.nan, 1.0])})
    assert all(np.isnan(value) for value in broken.values())


@jax.jit
@jax.vmap
def drop(rate, seed):
    """Dropout of 101 x 99 inputs (an odd number of them) with a traced rate."""
    rngs = {"dropout": jax.random.key(seed)}
    return Dropout(rate).apply({}, 1.0 + jnp.arange(9999.0).reshape(101, 99), train=True, rngs=rngs)


INPUTS = 1.0 + np.arange(9999.0).reshape(101, 99)
RATES = np.array([0.0, 0.1, 0.5, 0.9], np.float32)


@pytest.fixture(scope="module")
def dropped():
    return np.asarray(drop(RATES, np.arange(4)))


def test_dropout_at_rate_zero_is_the_identity(dropped):
    np.testing.assert_array_equal(dropped[0], INPUTS)


@pytest.mark.parametrize("row", [1, 2, 3])
def test_dropout_rate_scale_and_independence(dropped, row):
    outputs, rate = dropped[row], float(RATES[row])
    gone = outputs == 0
    error = 4 * np.sqrt(rate * (1 - rate) / gone.size)
    assert abs(gone.mean() - rate) < error
    kept = outputs[~gone] / INPUTS[~gone]
    np.testing.assert_allclose(kept, 1 / (1 - np.round(rate * 65536) / 65536), rtol=1e-6)
    # Four inputs, 2,500 apart, share 64 bits: they and neighbours must not drop together.
    flat = gone.ravel()
    for lag in (1, 2, 99, 2500, 5000, 7500):
        products = (flat[:-lag] - rate) * (flat[lag:] - rate)
        assert abs(products.mean()) < 4 * rate * (1 - rate) / np.sqrt(products.size), lag


def test_dropout_keeps_the_expectation():
    """Also at a rate far from a multiple of 1 / 65,536, where rounding would bias it."""
    rate = 1 - 1.5 / 65536
    outputs = np.asarray(drop(np.full(64, rate, np.float32), np.arange(64))) / INPUTS
    kept = outputs != 0
    chance = 1 - np.round(rate * 65536) / 65536
    np.testing.assert_allclose(outputs[kept], 1 / chance, rtol=1e-6)
    expected = chance * kept.size
    assert abs(kept.sum() - expected) < 4 * np.sqrt(expected)


def test_dropout_at_the_ends():
    """A million inputs, so that a mistake at one value in 65,536 shows."""

    @jax.jit
    @jax.vmap
    def ends(rate):
        rngs = {"dropout": jax.random.key(0)}
        return Dropout(rate).apply({}, jnp.ones(2**20), train=True, rngs=rngs)

    nothing, everything, beyond = np.asarray(ends(jnp.array([0.0, 1.0, 2.0])))
    assert np.all(nothing == 1)
    assert set(np.unique(everything)) == {0.0, 65_536.0}
    np.testing.assert_array_equal(everything, beyond)


def test_dropout_differs_between_keys_and_repeats_for_one_key():
    first, same, other = drop(np.full(3, 0.5, np.float32), np.array([7, 7, 8]))
    np.testing.assert_array_equal(first, same)
    agreement = np.mean((np.asarray(first) == 0) == (np.asarray(other) == 0))
    assert abs(agreement - 0.5) < 0.03


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7,), (16,), (6, 1), (8, 3), (24, 2, 3, 5)])
def test_dropout_of_every_shape(shape):
    def masks(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return Dropout(0.5).apply({}, jnp.ones(shape), train=True, rngs=rngs)

    kept = np.asarray(jax.jit(jax.vmap(masks))(np.arange(400))) != 0
    assert kept.shape == (400, *shape)
    assert np.all(np.abs(kept.mean(axis=0) - 0.5) < 4.5 * 0.5 / 20)
    flat = kept.reshape(400, -1) - 0.5  # no two places go together over the seeds
    together = np.triu(flat.T @ flat / 400, 1)
    assert np.all(np.abs(together) < 5.5 * 0.25 / 20)


def test_dropout_passes_gradients_through_what_it_keeps():
    def total(x):
        rngs = {"dropout": jax.random.key(0)}
        return jnp.sum(jnp.asarray(Dropout(0.5).apply({}, x, train=True, rngs=rngs)))

    x = jnp.ones((8, 5))
    np.testing.assert_array_equal(np.unique(jax.jit(jax.grad(total))(x)), [0.0, 2.0])


@pytest.mark.parametrize("module", [Dropout(0.5), GaussianNoise(0.5)], ids=["dropout", "noise"])
def test_evaluation_is_the_identity_and_needs_no_key(module):
    x = jnp.arange(6.0)
    np.testing.assert_array_equal(module.apply({}, x, train=False), x)
    half = x.astype(jnp.bfloat16)
    rngs = {"dropout": jax.random.key(0)}
    assert module.apply({}, half, train=True, rngs=rngs).dtype == jnp.bfloat16


def test_noise_in_half_precision_is_drawn_in_single_precision():
    """Normal numbers drawn in bfloat16 have 128 values, none beyond 2.9, and a mean of -0.01."""
    x, rngs = jnp.zeros((500, 400), jnp.bfloat16), {"dropout": jax.random.key(0)}
    noise = np.asarray(GaussianNoise(1.0).apply({}, x, train=True, rngs=rngs), np.float64)
    assert abs(noise.mean()) < 3 / np.sqrt(noise.size) + 1e-4
    assert np.abs(noise).max() > 4 and len(np.unique(noise)) > 1000


def test_gaussian_noise():
    @jax.jit
    @jax.vmap
    def add(sd):
        rngs = {"dropout": jax.random.key(1)}
        return GaussianNoise(sd).apply({}, jnp.full((100, 100), 3.0), train=True, rngs=rngs)

    noise = np.asarray(add(jnp.array([0.0, 0.5, 1.0])), np.float64) - 3
    assert not noise[0].any()
    np.testing.assert_allclose(noise[1] * 2, noise[2], atol=1e-6)
    assert abs(noise[2].mean()) < 0.04
    assert noise[2].std() == pytest.approx(1, abs=0.03)
    assert np.mean(noise[2] ** 4) == pytest.approx(3, abs=0.4)


def test_noise_that_falls_linearly_to_zero():
    """Step k of 4 has sd 2 (1 - k / 4); evaluation and the beginning count no step."""
    module, x = GaussianNoise(2.0, steps=4), jnp.zeros((200, 200))
    first = jax.jit(functools.partial(module.init, train=True))
    state = first({"dropout": jax.random.key(1)}, x)
    assert int(state["schedule"]["steps"]) == 0
    np.testing.assert_array_equal(module.apply(state, x, train=False), x)
    spreads = []
    for step in range(6):
        rngs = {"dropout": jax.random.fold_in(jax.random.key(0), step)}
        noise, state = compiled.applied(module, state, x, train=True, rngs=rngs, mutable="schedule")
        spreads.append(float(np.std(np.asarray(noise))))
    np.testing.assert_allclose(spreads, [2, 1.5, 1, 0.5, 0, 0], rtol=0.02)
    assert int(state["schedule"]["steps"]) == 6


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.45])
def test_dropout_in_half_precision_keeps_the_expectation(rate):
    x = np.random.default_rng(0).uniform(1, 2, size=(1000, 400))
    x = jnp.asarray(x, jnp.bfloat16)
    key = {"dropout": jax.random.key(0)}
    y = jax.jit(lambda x: Dropout(rate).apply({}, x, train=True, rngs=key))(x)
    kept = np.asarray(y.astype(jnp.float32), np.float64)
    factor = (kept[kept > 0] / np.asarray(x.astype(jnp.float32), np.float64)[kept > 0]).mean()
    assert y.dtype == jnp.bfloat16
    assert factor * (1 - round(rate * 65_536) / 65_536) == pytest.approx(1, abs=1e-4)
