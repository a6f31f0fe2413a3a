"""Neighbours, votes, average precision and the linear SVM against float64 loops and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from sklearn.metrics import average_precision_score

from nets import probes

RANDOM = np.random.default_rng(0)
DATABASE = RANDOM.normal(size=(41, 5)) + 3
QUERIES = RANDOM.normal(size=(13, 5)) + 3
CLASSES = 3


def distances(query, distance):
    """From one query to each row of the database, float64."""
    if distance == "euclidean":
        return np.sqrt(((DATABASE - query) ** 2).sum(1))
    lengths = np.linalg.norm(DATABASE, axis=1) * np.linalg.norm(query)
    return 1 - DATABASE @ query / lengths


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_neighbours_are_the_nearest_rows_in_order(distance):
    found = probes.nearest(jnp.asarray(QUERIES), jnp.asarray(DATABASE), 7, distance)
    want = [np.argsort(distances(query, distance))[:7] for query in QUERIES]
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_row_that_asks_can_be_left_out(distance):
    rows, own = jnp.asarray(DATABASE), jnp.arange(len(DATABASE))
    with_itself = probes.nearest(rows, rows, 4, distance)
    np.testing.assert_array_equal(with_itself[:, 0], own)
    others = probes.nearest(rows, rows, 3, distance, leave_out=own)
    np.testing.assert_array_equal(others, with_itself[:, 1:])


def test_distances_far_from_zero_are_told_apart():
    database = jnp.array([[1e4], [1e4 + 0.25], [1e4 + 1.0]])
    found = probes.nearest(jnp.array([[1e4 + 0.2]]), database, 3)
    np.testing.assert_array_equal(found, [[1, 0, 2]])


def test_of_equally_near_rows_the_earlier_comes_first_and_zeros_are_far():
    database = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    found = probes.nearest(jnp.array([[1.0, 0.0]]), database, 5, "cosine")
    np.testing.assert_array_equal(found, [[1, 2, 0, 3, 4]])


def test_the_most_frequent_label_wins_and_of_equals_that_of_the_nearest():
    labels = jnp.array([[2, 1, 1, 0, 0], [0, 2, 2, 1, 0], [1, 2, 2, 2, 1], [2, 0, 1, 0, 1]])
    np.testing.assert_array_equal(probes.vote(labels, CLASSES), [1, 0, 2, 0])
    np.testing.assert_array_equal(probes.vote(labels[:, :2], CLASSES), [2, 0, 1, 2])


def test_average_precision_of_all_answers_is_scikit_learns():
    relevant = RANDOM.integers(0, 2, (6, 20)).astype(np.float32)
    relevant[5] = 0
    total = relevant.sum(1).astype(np.int32)
    found = probes.average_precision(jnp.asarray(relevant), jnp.asarray(total))
    order = -np.arange(20)
    want = [average_precision_score(row, order) if row.any() else 0.0 for row in relevant]
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_average_precision_of_the_first_answers_by_hand():
    relevant = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    found = probes.average_precision(relevant, jnp.array([2, 9, 50]))
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2, (1 / 2) / 3, 1.0], rtol=1e-6)


def classified(rows=300, width=6):
    """Three classes that overlap, on scales and places of their own, and a feature that is 7."""
    labels = RANDOM.integers(0, CLASSES, rows)
    features = RANDOM.normal(size=(CLASSES, width))[labels] + RANDOM.normal(size=(rows, width))
    features = features * 10.0 ** np.arange(width - 3, -3, -1) + 5
    return np.hstack([features, np.full((rows, 1), 7.0)]).astype(np.float32), labels


def objective(kernel, bias, features, labels, strength):
    """What a linear SVM minimises, on standardised features, float64, and its gradients."""
    features = features.astype(np.float64)
    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    signs = np.where(labels[:, None] == np.arange(CLASSES), 1.0, -1.0)
    short = np.maximum(0, 1 - signs * (scaled @ kernel + bias))
    slopes = -2 * short * signs / len(labels)
    value = (short**2).sum(1).mean() + strength / 2 * (kernel**2).sum()
    return value, scaled.T @ slopes + strength * kernel, slopes.sum(0)


@pytest.mark.parametrize("strength", [1e-4, 1e-1])
def test_the_linear_svm_is_the_minimum_that_scipy_finds(strength):
    features, labels = classified()
    width = features.shape[1]

    def flat(values):
        kernel, bias = values[:-CLASSES].reshape(width, CLASSES), values[-CLASSES:]
        value, by_kernel, by_bias = objective(kernel, bias, features, labels, strength)
        return value, np.concatenate([by_kernel.ravel(), by_bias])

    start = np.zeros((width + 1) * CLASSES)
    best = optimize.minimize(flat, start, jac=True, tol=1e-12, options={"maxiter": 9999})
    svm = FIT(jnp.asarray(features), jnp.asarray(labels), strength)
    kernel, bias = (np.asarray(a, np.float64) for a in (svm.kernel, svm.bias))
    assert objective(kernel, bias, features, labels, strength)[0] < best.fun * (1 + 1e-5)
    np.testing.assert_allclose(kernel.ravel(), best.x[:-CLASSES], atol=5e-3)
    np.testing.assert_allclose(bias, best.x[-CLASSES:], atol=5e-3)
    scaled = (features - np.asarray(svm.mean)) / np.asarray(svm.spread)
    np.testing.assert_allclose(svm(jnp.asarray(features)), scaled @ kernel + bias, atol=1e-4)


FIT = jax.jit(lambda x, y, strength: probes.linear_svm(x, y, CLASSES, strength))


def test_svms_side_by_side_are_those_fitted_alone():
    features, labels = classified()
    x, y = jnp.asarray(features), jnp.asarray(labels)
    strengths = jnp.array([1e-4, 1e-1])
    together = jax.jit(jax.vmap(FIT, in_axes=(None, None, 0)))(x, y, strengths)
    for i, strength in enumerate(strengths):
        alone = FIT(x, y, strength)
        np.testing.assert_allclose(together.kernel[i], alone.kernel, atol=2e-3)


def test_features_of_half_precision_are_widened():
    features, labels = classified()
    halved = jnp.asarray(features, jnp.bfloat16)
    assert probes.linear_svm(halved, jnp.asarray(labels), CLASSES, 0.1, steps=1)(halved).dtype == (
        jnp.float32
    )
    wide = halved.astype(jnp.float32)
    found, want = probes.nearest(halved, halved, 3), probes.nearest(wide, wide, 3)
    np.testing.assert_array_equal(found, want)


def test_features_that_are_not_finite_end_the_fit():
    features, labels = classified()
    svm = FIT(jnp.full_like(jnp.asarray(features), jnp.nan), jnp.asarray(labels), 0.1)
    assert np.isnan(svm.kernel).all()
