"""Scores of several views of an input, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.views import mean_scores

X = np.random.default_rng(0).normal(size=(3, 5, 6, 2)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)


def scores(x):
    return jnp.tanh(x.reshape(len(x), -1) @ WEIGHTS)


def moved(x: np.ndarray, by: int) -> np.ndarray:
    """One pixel down and to the right (1) or up and to the left (-1), the border reflected."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    return padded[:, 1 - by : 6 - by, 1 - by : 7 - by]


def mirrored(x: np.ndarray) -> np.ndarray:
    return (np.asarray(scores(x)) + np.asarray(scores(x[:, :, ::-1]))) / 2


WANT = {
    "one": lambda: np.asarray(scores(X)),
    "mirror": lambda: mirrored(X),
    "shift": lambda: mirrored(X) / 2 + (mirrored(moved(X, 1)) + mirrored(moved(X, -1))) / 4,
}


@pytest.mark.parametrize("kind", WANT)
def test_views_are_weighted_as_published(kind):
    got = jax.jit(lambda x: mean_scores(kind, scores, x))(X)
    np.testing.assert_allclose(got, WANT[kind](), atol=1e-6)
    assert len({np.round(want(), 4).tobytes() for want in WANT.values()}) == 3


def test_one_view_adds_nothing_to_the_program():
    with_views = jax.make_jaxpr(lambda x: mean_scores("one", scores, x))(X)
    assert str(with_views) == str(jax.make_jaxpr(scores)(X))


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5)])
def test_sequences_and_grey_images_have_views(shape):
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    turned = np.flip(x, min(2, x.ndim - 1))

    def first(x):
        return x.reshape(len(x), -1)[:, :1]

    want = (first(x) + first(turned)) / 2
    np.testing.assert_allclose(mean_scores("mirror", first, jnp.asarray(x)), want, atol=1e-6)
