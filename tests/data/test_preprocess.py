from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from experiments.data import mnist1d, preprocess
from experiments.data.preprocess import EPSILON, Kind

KINDS = get_args(Kind)
WHITENING = ("pca", "zca")


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return mnist1d.load().splits["train"]["x"]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """5,000 uint8 images of 3x4 with correlated pixels; pixel (0, 0) is always 7."""
    random = np.random.default_rng(1)
    x = 128 + 30 * random.normal(size=(5000, 12)) @ random.normal(size=(12, 12)) / 3
    x = np.clip(x, 0, 255).astype(np.uint8).reshape(-1, 3, 4)
    x[:, 0, 0] = 7
    return x


def apply(kind: Kind, fitted_on: np.ndarray, x: np.ndarray) -> np.ndarray:
    stats = preprocess.fit(kind, fitted_on)
    with jax.numpy_rank_promotion("raise"):
        return np.asarray(jax.jit(preprocess.apply)(stats, x))


@pytest.mark.parametrize("kind", KINDS)
def test_shape_type_and_structure_are_the_same_for_all_rows(kind, rows, images):
    for x in (rows, images):
        assert apply(kind, x, x[:6]).shape == x[:6].shape
        assert apply(kind, x, x[:6]).dtype == np.float32
        one, two = preprocess.fit(kind, x[:50]), preprocess.fit(kind, x[50:])
        assert jax.tree.structure(one) == jax.tree.structure(two)
        assert all(v.dtype == np.float32 and v.shape == two[k].shape for k, v in one.items())


def test_none_only_brings_images_to_the_unit_interval(rows, images):
    np.testing.assert_array_equal(apply("none", rows, rows), rows)
    np.testing.assert_allclose(apply("none", images, images), images / 255, rtol=1e-6)


def test_centre_subtracts_the_mean_image(images):
    expected = images / 255 - images.mean(0, keepdims=True) / 255
    np.testing.assert_allclose(apply("centre", images, images), expected, atol=1e-6)


def test_standardise_equals_scikit_learns(rows, images):
    for x in (rows, images):
        flat = x.reshape(len(x), -1).astype(np.float64)
        expected = StandardScaler().fit_transform(flat).reshape(x.shape)
        np.testing.assert_allclose(apply("standardise", x, x), expected, atol=2e-5)


def test_constant_features_are_only_centred(images):
    x = images[:2].copy()
    x[1, 0, 0] = 58  # unseen while fitting: (58 - 7) / 255
    out = apply("standardise", images, x)[:, 0, 0]
    np.testing.assert_allclose(out, [0.0, 0.2], atol=1e-6)
    floats = np.full((10_000, 1), 0.1, np.float32)  # its mean is not exactly 0.1
    assert preprocess.fit("standardise", floats)["scale"] == 1


@pytest.mark.parametrize("shape", [(30,), (5, 6), (2, 5, 3)])
@pytest.mark.parametrize("kind", ["centre_channel", "standardise_channel"])
def test_channels_have_one_mean_and_sd_over_rows_and_positions(kind, shape):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (5000, *shape)).astype(np.float64)
    x = (x * np.linspace(0.2, 1, shape[-1]) if len(shape) == 3 else x).astype(np.uint8)
    channels = shape[-1] if len(shape) == 3 else 1
    expected = (x / 255).reshape(-1, channels)
    expected = expected - expected.mean(0, keepdims=True)
    if kind == "standardise_channel":
        expected = StandardScaler().fit_transform(expected)
    np.testing.assert_allclose(apply(kind, x, x), expected.reshape(x.shape), atol=2e-6)
    statistics = preprocess.fit(kind, x)
    assert {v.shape for v in statistics.values()} == {(*(1 for _ in shape[1:]), channels)}


def test_constant_channels_are_only_centred():
    """Not those whose features are constant at different values."""
    x = np.zeros((9, 2, 1, 3), np.uint8)
    x[..., 0], x[..., 1], x[:, 1, :, 2] = 7, 51, 255
    scale = preprocess.fit("standardise_channel", x)["scale"]
    np.testing.assert_array_equal(scale, np.reshape([1, 1, 2], (1, 1, 3)))
    unseen = x[:1].copy()
    unseen[..., 1] = 102
    out = apply("standardise_channel", x, unseen)
    np.testing.assert_allclose(out[0, :, 0], [[0, 0.2, -1], [0, 0.2, 1]], atol=1e-6)


@pytest.mark.parametrize("kind", WHITENING)
def test_a_smaller_epsilon_whitens_more(kind, rows):
    values = np.linalg.eigvalsh(np.cov(rows.astype(np.float64).T, bias=True))[::-1]
    for epsilon in (1e-1, 1e-3):
        stats = preprocess.fit(kind, rows, epsilon=epsilon)
        out = np.asarray(preprocess.apply(stats, rows)).astype(np.float64)
        found = np.linalg.eigvalsh(np.cov(out.T, bias=True))[::-1]
        np.testing.assert_allclose(found, values / (values + epsilon * values[0]), atol=2e-6)


@pytest.mark.parametrize("kind", WHITENING)
def test_scaling_and_shifting_before_whitening_changes_nothing(kind, images):
    scaled = (images.astype(np.float32) - 127.5) / 128
    np.testing.assert_allclose(apply(kind, scaled, scaled), apply(kind, images, images), atol=2e-4)


@pytest.mark.parametrize("kind", WHITENING)
def test_whitening_gives_identity_covariance(kind, rows):
    out = apply(kind, rows, rows).astype(np.float64)
    values = np.linalg.eigvalsh(np.cov(rows.astype(np.float64).T, bias=True))[::-1]
    shrunk = values / (values + EPSILON * values[0])  # what the eps leaves of each variance
    covariance = np.cov(out.T, bias=True)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(covariance)[::-1], np.sort(shrunk)[::-1], atol=2e-6
    )
    np.testing.assert_allclose(covariance, np.eye(40), atol=1.01 * (1 - shrunk.min()) + 2e-6)
    np.testing.assert_allclose(out.mean(0), 0, atol=2e-6)


def test_pca_equals_scikit_learns_up_to_sign(rows):
    x = rows[:, :12].astype(np.float64)
    expected = PCA(whiten=True, svd_solver="full").fit_transform(x) * np.sqrt(4000 / 3999)
    out = apply("pca", rows[:, :12], rows[:, :12])
    signs = np.sign((out * expected).sum(0))
    values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    shrink = np.sqrt(values / (values + EPSILON * values[0]))
    np.testing.assert_allclose(out, expected * signs[None] * shrink[None], atol=5e-5)


def test_zca_is_the_symmetric_root(rows):
    matrix = preprocess.fit("zca", rows)["matrix"].astype(np.float64)
    covariance = np.cov(rows.astype(np.float64).T, bias=True)
    damped = covariance + EPSILON * np.linalg.eigvalsh(covariance)[-1] * np.eye(40)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    np.testing.assert_allclose(matrix @ damped @ matrix, np.eye(40), atol=1e-5)


@pytest.mark.parametrize("kind", WHITENING)
def test_whitening_leaves_directions_without_variance_near_zero(kind, images):
    out = apply(kind, images, images)
    assert np.isfinite(out).all()
    assert np.abs(preprocess.fit(kind, images)["matrix"]).max() < 1e4
    assert apply(kind, images[:1].repeat(9, 0), images[:9]).shape == images[:9].shape


def test_blocks_do_not_change_statistics(rows, monkeypatch):
    whole = {kind: preprocess.fit(kind, rows) for kind in KINDS}
    monkeypatch.setattr(preprocess, "BLOCK", 700)
    for kind in KINDS:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            preprocess.fit(kind, rows),
            whole[kind],
        )


def test_apply_under_vmap_uses_each_replicas_own_statistics(rows):
    fitted = [preprocess.fit("zca", rows[start::2]) for start in (0, 1)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fitted)
    batch = jnp.stack([rows[:8], rows[8:16]])
    out = jax.vmap(preprocess.apply)(stacked, batch)
    for lane, stats in enumerate(fitted):
        alone = preprocess.apply(stats, batch[lane])
        np.testing.assert_allclose(out[lane], alone, atol=1e-5)


def test_principal_components_are_scikit_learns_and_not_whitened(images):
    flat = images.reshape(len(images), -1) / 255
    reference: Any = PCA(3).fit(flat)
    signs = np.sign(reference.components_[range(3), np.abs(reference.components_).argmax(1)])
    expected = reference.transform(flat) * signs[None]
    statistics = preprocess.fit("principal", images, 3)
    out = np.asarray(jax.jit(preprocess.apply)(statistics, images))
    assert out.shape == (5000, 3)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["pca", "principal"])
def test_few_components_are_the_first_of_all(kind, images):
    every = apply(kind, images, images).reshape(len(images), -1)
    few = np.asarray(preprocess.apply(preprocess.fit(kind, images, 4), images))
    np.testing.assert_allclose(few, every[:, :4], atol=1e-6)
