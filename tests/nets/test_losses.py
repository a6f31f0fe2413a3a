"""Losses and their gradients against float64 loops written from the definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets import losses

LOGITS = jnp.asarray(3 * np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
LABELS = jnp.array([0, 3, 2, 1, 1, 0])
WIDE = np.asarray(LOGITS, np.float64)
MARGIN, SMOOTHING = 0.7, 0.15


def weston_watkins(scores, label, margin):
    wrong = [j for j in range(len(scores)) if j != label]
    return sum(max(0.0, margin + scores[j] - scores[label]) for j in wrong)


def crammer_singer(scores, label, margin):
    wrong = [j for j in range(len(scores)) if j != label]
    return max(max(0.0, margin + scores[j] - scores[label]) for j in wrong)


def squared_hinge(scores, label, margin):
    signs = [1 if j == label else -1 for j in range(len(scores))]
    return sum(max(0.0, margin - t * s) ** 2 for t, s in zip(signs, scores, strict=True))


def cross_entropy(scores, label, smoothing):
    total = math.log(math.fsum(math.exp(s - max(scores)) for s in scores)) + max(scores)
    classes = len(scores)
    targets = [smoothing / classes + (1 - smoothing) * (j == label) for j in range(classes)]
    return -sum(t * (s - total) for t, s in zip(targets, scores, strict=True))


def binary_cross_entropies(scores, label):
    signed = [s if j == label else -s for j, s in enumerate(scores)]
    return sum(math.log1p(math.exp(-s)) if s > 0 else -s + math.log1p(math.exp(s)) for s in signed)


def squared(scores, label):
    return sum((s - (j == label)) ** 2 for j, s in enumerate(scores))


CASES = {
    "multiclass_hinge": (losses.multiclass_hinge, weston_watkins, (MARGIN,)),
    "crammer_singer_hinge": (losses.crammer_singer_hinge, crammer_singer, (MARGIN,)),
    "one_vs_rest_squared_hinge": (losses.one_vs_rest_squared_hinge, squared_hinge, (MARGIN,)),
    "softmax_cross_entropy": (losses.softmax_cross_entropy, cross_entropy, (SMOOTHING,)),
    "sigmoid_cross_entropy": (losses.sigmoid_cross_entropy, binary_cross_entropies, ()),
    "one_hot_squared_error": (losses.one_hot_squared_error, squared, ()),
}


@jax.jit
def values_and_gradients(logits, labels, margin, smoothing):
    """Every loss and its gradient, in one program whose margin and smoothing are traced."""
    traced = {MARGIN: margin, SMOOTHING: smoothing}

    def both(loss, numbers):
        def call(scores):
            return loss(scores, labels, *(traced[number] for number in numbers))

        values, pullback = jax.vjp(call, logits)
        return values, pullback(jnp.ones_like(values))[0]

    return {name: both(loss, numbers) for name, (loss, _, numbers) in CASES.items()}


def difference_quotients(reference, scores, label, numbers, step=1e-6):
    shifts = step * np.eye(len(scores))
    ahead = [reference(list(scores + shift), label, *numbers) for shift in shifts]
    behind = [reference(list(scores - shift), label, *numbers) for shift in shifts]
    return (np.array(ahead) - np.array(behind)) / (2 * step)


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name):
    _, reference, numbers = CASES[name]
    values, gradients = values_and_gradients(LOGITS, LABELS, MARGIN, SMOOTHING)[name]
    assert values.shape == (6,)
    for row, (scores, label) in enumerate(zip(WIDE, np.asarray(LABELS), strict=True)):
        expected = reference(list(scores), label, *numbers)
        np.testing.assert_allclose(values[row], expected, rtol=2e-6, atol=1e-6)
        slopes = difference_quotients(reference, scores, label, numbers)
        np.testing.assert_allclose(gradients[row], slopes, rtol=1e-5, atol=1e-6)


def test_extreme_scores_stay_finite():
    scores = np.array([[1e4, -1e4, 0.0, 5.0]] * 6, np.float32)
    results = values_and_gradients(scores, LABELS, MARGIN, SMOOTHING)
    for name, (_, reference, numbers) in CASES.items():
        values, gradients = results[name]
        assert np.isfinite(gradients).all(), name
        wide = [float(score) for score in scores[0]]
        expected = [reference(wide, label, *numbers) for label in np.asarray(LABELS)]
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_defaults():
    margin_one = losses.multiclass_hinge(LOGITS, LABELS, 1.0)
    np.testing.assert_array_equal(losses.multiclass_hinge(LOGITS, LABELS), margin_one)
    plain = losses.softmax_cross_entropy(LOGITS, LABELS)
    expected = [cross_entropy(list(s), y, 0.0) for s, y in zip(WIDE, LABELS, strict=True)]
    np.testing.assert_allclose(plain, expected, rtol=2e-6)


def test_uniform_scores_cost_the_logarithm_of_the_classes():
    zero = jnp.zeros((1, 10))
    label = jnp.zeros(1, int)
    assert losses.softmax_cross_entropy(zero, label)[0] == pytest.approx(math.log(10))
    assert losses.multiclass_hinge(zero, label)[0] == pytest.approx(9)


def test_real_valued_targets():
    targets = np.random.default_rng(1).normal(size=LOGITS.shape).astype(np.float32)
    expected = ((WIDE - targets) ** 2).sum(axis=1)
    np.testing.assert_allclose(
        losses.squared_error(LOGITS, jnp.asarray(targets)), expected, rtol=1e-6
    )


def test_any_leading_axes_and_half_precision():
    for name, (loss, _, numbers) in CASES.items():
        flat = loss(LOGITS, LABELS, *numbers)
        folded = loss(LOGITS.reshape(2, 3, 4), LABELS.reshape(2, 3), *numbers)
        np.testing.assert_array_equal(folded, flat.reshape(2, 3), err_msg=name)
        half = loss(LOGITS.astype(jnp.bfloat16), LABELS, *numbers)
        assert half.dtype == jnp.float32, name
        np.testing.assert_allclose(half, flat, rtol=0.03, atol=0.05, err_msg=name)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_is_that_of_its_equation(gamma):
    random = np.random.default_rng(3)
    logits, targets = random.normal(size=(5, 4)) * 3, random.random((5, 4)) < 0.4
    truth = np.where(targets, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits)))
    weight = np.where(targets, 0.3, 0.7)
    want = np.sum(-weight * (1 - truth) ** gamma * np.log(truth), axis=-1)
    scores = jnp.asarray(logits, jnp.float32)
    found = losses.focal_loss(scores, jnp.asarray(targets), gamma, 0.3)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_the_focal_loss_of_extreme_scores_stays_finite_with_its_gradient():
    logits, targets = jnp.array([[200.0, -200.0, 200.0]]), jnp.array([[True, True, False]])
    for gamma in (0.0, 2.0):
        value, gradient = jax.value_and_grad(
            lambda x, gamma=gamma: losses.focal_loss(x, targets, gamma)[0]
        )(logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient[0], [0, -0.25, 0.75], atol=1e-6)
