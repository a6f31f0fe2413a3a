"""Whitening filters against an eigendecomposition by hand, and what they make of patches."""

import numpy as np
import pytest

from experiments.data.patches import BLOCK, whitening_filters


def smooth_images(rows: int = 40) -> np.ndarray:
    """[rows, 7, 8, 3] whose neighbouring pixels and channels are alike."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(rows, 9, 10, 3))
    smooth = np.sum([noise[:, i : i + 7, j : j + 8] for i in range(3) for j in range(3)], axis=0)
    return (smooth + smooth.mean(-1, keepdims=True)).astype(np.float32)


def patches(x: np.ndarray, size: int) -> np.ndarray:
    """All patches of images as rows, by plain loops, float64."""
    _, height, width, _ = x.shape
    found = [
        x[:, i : i + size, j : j + size].reshape(len(x), -1)
        for i in range(height - size + 1)
        for j in range(width - size + 1)
    ]
    return np.concatenate(found).astype(np.float64)


@pytest.mark.parametrize(("size", "epsilon"), [(2, 5e-4), (3, 0.1)])
def test_outputs_over_all_patches_are_uncorrelated_and_of_mean_square_one(size, epsilon):
    x = smooth_images()
    kernel = whitening_filters(x, size, epsilon)
    rows = patches(x, size)
    n = rows.shape[1]
    assert kernel.shape == (size, size, 3, 2 * n) and kernel.dtype == np.float32
    outputs = rows @ kernel.reshape(n, 2 * n).astype(np.float64)
    np.testing.assert_array_equal(outputs[:, n:], -outputs[:, :n])
    variances = np.linalg.svd(rows, compute_uv=False) ** 2 / len(rows)  # largest first
    moments = outputs[:, :n].T @ outputs[:, :n] / len(rows)
    np.testing.assert_allclose(moments, np.diag(variances / (variances + epsilon)), atol=1e-4)
    if epsilon < 1e-3:
        np.testing.assert_allclose(moments, np.eye(n), atol=0.01)


def test_each_filter_is_an_eigenvector_with_its_largest_entry_positive():
    x = smooth_images()
    rows = patches(x, 2)
    second = rows.T @ rows / len(rows)
    kernel = whitening_filters(x, 2, 0.1).reshape(12, 24)[:, :12].astype(np.float64)
    lengths = np.linalg.norm(kernel, axis=0)
    values = 1 / lengths**2 - 0.1
    np.testing.assert_allclose(second @ kernel, kernel * values, atol=1e-4)
    assert (np.diff(values) <= 0).all()
    assert (kernel[np.abs(kernel).argmax(0), np.arange(12)] > 0).all()


def test_blocks_of_rows_add_up_and_sequences_have_one_axis():
    x = np.random.default_rng(1).normal(size=(BLOCK + 30, 6, 1))
    whole = np.concatenate([x[:, i : i + 2, 0] for i in range(5)])
    values = np.linalg.eigvalsh(whole.T @ whole / len(whole))[::-1]
    kernel = whitening_filters(x, 2, 1e-3)
    assert kernel.shape == (2, 1, 4)
    np.testing.assert_allclose(
        np.linalg.norm(kernel[:, 0, :2], axis=0), 1 / np.sqrt(values + 1e-3), rtol=1e-5
    )


def test_inputs_without_variance_give_finite_filters():
    assert np.isfinite(whitening_filters(np.zeros((3, 4, 4, 1)), 2, 1e-3)).all()
