"""Muon's matrices and the look-ahead average, against their definitions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.transformations import lookahead, muon, stop_after
from tests.experiments.updating import (
    GRADIENTS,
    ORTHOGONALISED,
    START,
    draw,
    named,
    orthogonal,
    single,
)


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """The authors' loop of matrix products, in float64."""
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def first_updates(gradient):
    optimizer = muon(0.95, 0.999)
    return jax.jit(optimizer.update)(gradient, optimizer.init(gradient))[0]


@pytest.mark.parametrize("shape", [(64, 64), (30, 200), (300, 20), (3, 3, 16, 32), (1, 5)])
def test_the_singular_values_of_an_update_lie_in_the_published_band(shape):
    """S' ~ Uniform(0.5, 1.5), say the authors; five quintics take [0.002, 1] to [0.68, 1.21]."""
    gradient = np.random.default_rng(0).normal(size=shape)
    update = first_updates({"layer": {"kernel": jnp.asarray(gradient, jnp.float32)}})
    got = np.asarray(update["layer"]["kernel"], np.float64).reshape(-1, shape[-1])
    rows, columns = got.shape
    unscaled = got / (0.2 * np.sqrt(max(rows, columns)))
    want = newton_schulz(gradient.reshape(rows, columns))
    np.testing.assert_allclose(unscaled, want, atol=1e-5)
    np.testing.assert_allclose(got.reshape(shape), orthogonal(gradient), atol=1e-5)
    before = np.linalg.svd(gradient.reshape(rows, columns), compute_uv=False)
    after = np.linalg.svd(unscaled, compute_uv=False)
    assert after.max() < 1.21
    assert after[before / np.linalg.norm(before) > 0.002].min() > 0.68


def test_only_the_hidden_kernels_are_orthogonalised():
    """Adam's first step is the sign of the gradient; that of a matrix is as large as AdamW's."""
    for name, update in named(first_updates(single(GRADIENTS[0]))).items():
        sign = np.sign(named(GRADIENTS[0])[name])
        if name in ORTHOGONALISED:
            assert 0.1 < np.sqrt(np.mean(update**2)) < 0.3
        else:
            np.testing.assert_allclose(update, sign, rtol=1e-4, err_msg=name)


def test_a_zero_gradient_moves_nothing():
    zero = jax.tree.map(jnp.zeros_like, single(START))
    for update in named(first_updates(zero)).values():
        np.testing.assert_array_equal(update, 0)


def test_a_net_without_hidden_kernels_is_left_to_adam():
    gradient = {"output": {"kernel": jnp.ones((3, 2)), "bias": -jnp.ones(2)}}
    for name, update in named(first_updates(gradient)).items():
        np.testing.assert_allclose(update, named(gradient)[name], rtol=1e-5)


def looked_ahead(steps: np.ndarray, start: np.ndarray, period: int) -> list[np.ndarray]:
    """airbench94's loop: the weights after every step."""
    weights, slow, seen = start.copy(), start.copy(), []
    total = len(steps)
    for t, step in enumerate(steps, start=1):
        weights = weights + step
        if t % period == 0:
            decay = 0.95**period * (t / total) ** 3
            slow = slow + (1 - decay) * (weights - slow)
            weights = slow.copy()
        if t == total:
            weights = slow.copy()
        seen.append(weights)
    return seen


@pytest.mark.parametrize(("period", "total"), [(5, 23), (5, 20), (1, 6), (7, 7), (4, 5)])
def test_lookahead_against_a_loop(period, total):
    random = np.random.default_rng(1)
    start, steps = random.normal(size=(3, 2)), random.normal(size=(total, 3, 2))
    transformation = lookahead(period, total)
    params: Any = jnp.asarray(start, jnp.float32)
    state = transformation.init(params)
    update = jax.jit(transformation.update)
    want = looked_ahead(steps, start, period)
    for t in range(total):
        step = jnp.asarray(steps[t], jnp.float32)
        updates, state = update(step, state, params)
        if (t + 1) % period and t + 1 < total:
            np.testing.assert_array_equal(updates, step)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, want[t], rtol=1e-5, atol=1e-5)


def test_lookahead_needs_the_parameters():
    transformation = lookahead(5, 10)
    params = single(draw(0))
    with pytest.raises(ValueError, match="lookahead needs the parameters"):
        transformation.update(params, transformation.init(params))


def test_chosen_parameters_stop_after_their_steps_and_no_others():
    transformation = stop_after(2, lambda path, leaf: "bias" in jax.tree_util.keystr(path))
    state: Any = transformation.init(single(START))
    for step in range(4):
        updates, state = jax.jit(transformation.update)(single(GRADIENTS[step]), state)
        for name, update in named(updates).items():
            stopped = name.endswith("bias") and step >= 2
            want = 0 * update if stopped else named(single(GRADIENTS[step]))[name]
            np.testing.assert_array_equal(update, want, err_msg=name)
