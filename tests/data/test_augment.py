"""Augmentation against loops in NumPy, and that what is drawn is uniform, fair and by key alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.data.augment import (
    Augmentation,
    alternating_flips,
    augment,
    check_augmentation,
    cut_out,
    flip,
    mix_up,
    translate,
)
from experiments.data.dataset import Spec
from experiments.engine.errors import UsageError

# The shape of a batch, and how many of its axes are positions.
SHAPES = [((7, 6, 9, 3), 2), ((7, 6, 9), 2), ((7, 9), 1), ((7, 9, 3), 1)]
EVERYTHING = Augmentation(translate=2, fill="reflect", flip="random", cutout=3)


def inputs(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) + 10  # nowhere 0


@pytest.mark.parametrize("fill", ["zero", "reflect"])
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_translation_is_a_crop_of_the_padded_input(shape, axes, fill):
    x, pad = inputs(shape), 4
    shifts = np.random.default_rng(1).integers(-pad, pad + 1, (len(x), axes))
    shifts[0], shifts[1] = pad, -pad
    widths = [(pad, pad)] * axes + [(0, 0)] * (x.ndim - 1 - axes)
    expected = []
    for one, moved in zip(x, shifts, strict=True):
        padded = np.pad(one, widths, mode="reflect" if fill == "reflect" else "constant")
        for axis, shift in enumerate(moved):
            places = range(pad - shift, pad - shift + one.shape[axis])
            padded = np.take(padded, places, axis)
        expected.append(padded)
    found = jax.jit(translate, static_argnums=2)(x, jnp.asarray(shifts), fill)
    np.testing.assert_array_equal(found, np.stack(expected))


def test_a_shift_goes_to_higher_rows_and_columns():
    x = np.zeros((1, 5, 6), np.float32)
    x[0, 1, 2] = 1
    found = translate(jnp.asarray(x), jnp.array([[2, -1]]), "zero")
    assert np.argwhere(found).tolist() == [[0, 3, 1]]


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_flips_mirror_left_and_right(shape, axes):
    x = inputs(shape)
    flips = np.array([True, False, False, True, True, False, True])
    expected = x.copy()
    for row in np.flatnonzero(flips):
        for column in range(shape[axes]):
            place = (row,) + (slice(None),) * (axes - 1)
            expected[(*place, column)] = x[(*place, shape[axes] - 1 - column)]
    found = jax.jit(flip, static_argnums=2)(x, jnp.asarray(flips), axes)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("side", [1, 2, 3, 6])
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_cutout_zeroes_a_square_clipped_at_the_border(shape, axes, side):
    x = inputs(shape)
    sizes = shape[1 : 1 + axes]
    centres = np.stack([np.random.default_rng(2).integers(0, n, len(x)) for n in sizes], axis=1)
    centres[0], centres[1] = 0, np.array(sizes) - 1
    expected = x.copy()
    for row, centre in enumerate(centres):
        for place in np.ndindex(*sizes):
            away = np.array(place) - centre
            if all(-(side // 2) <= d < side - side // 2 for d in away):
                expected[(row, *place)] = 0
    found = jax.jit(cut_out, static_argnums=2)(x, jnp.asarray(centres), side)
    np.testing.assert_array_equal(found, expected)


def draw(config, x, seed=0, **options):
    return np.asarray(
        jax.jit(functools.partial(augment, config, **options))(x, jax.random.key(seed))
    )


def uniform_p(places, sizes):
    """p of the chi-squared test that places [n, axes] are uniform over a grid."""
    counts = np.bincount(np.ravel_multi_index(tuple(places.T), sizes), minlength=np.prod(sizes))
    assert len(counts) == np.prod(sizes)
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_shifts_are_uniform_over_the_square(fill):
    x = np.zeros((20_000, 13, 11, 1), np.float32)
    x[:, 6, 5] = 1
    found = draw(Augmentation(translate=2, fill=fill), x)
    places = np.argwhere(found)
    np.testing.assert_array_equal(places[:, 0], np.arange(20_000))
    assert uniform_p(places[:, 1:3] - [4, 3], (5, 5)) > 0.001


def test_flips_are_fair_and_independent():
    x = np.tile(np.array([0, 1], np.float32), (10_000, 1, 1))
    flips = draw(Augmentation(flip="random"), x)[:, 0, 0]
    assert stats.binomtest(int(flips.sum()), 10_000).pvalue > 0.001
    assert stats.binomtest(int((flips[1:] == flips[:-1]).sum()), 9_999).pvalue > 0.001


def test_the_centres_of_cutout_are_uniform_over_the_image():
    found = draw(Augmentation(cutout=1), np.ones((20_000, 4, 7, 3), np.float32))
    places = np.argwhere(found[..., 0] == 0)
    np.testing.assert_array_equal(places[:, 0], np.arange(20_000))
    assert uniform_p(places[:, 1:], (4, 7)) > 0.001
    np.testing.assert_array_equal(found.min(-1), found.max(-1))  # all channels of a pixel


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING, Augmentation(translate=3), Augmentation(flip="random"), Augmentation(cutout=4),
    ],
)  # fmt: skip
def test_the_key_decides_everything(config):
    x = inputs((50, 8, 8, 3))
    one, again, other = (draw(config, x, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and not np.array_equal(one, x)
    assert draw(Augmentation(), x).tobytes() == x.tobytes()


def test_each_kind_draws_the_same_beside_the_others():
    x = inputs((50, 8, 8, 3))
    shifted = draw(Augmentation(translate=2, fill="reflect"), x)
    together = draw(EVERYTHING, x)
    flips = draw(Augmentation(flip="random"), x) != x
    flips = flips.any((1, 2, 3))
    expected = np.where(flips[:, None, None, None], shifted[:, :, ::-1], shifted)
    cut = draw(Augmentation(cutout=3), x) == 0
    np.testing.assert_array_equal(together, np.where(cut, 0, expected))


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_replicas_side_by_side_are_augmented_as_each_alone(shape, axes):
    x = np.stack([inputs(shape), 2 * inputs(shape), -inputs(shape)])
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    one = functools.partial(augment, EVERYTHING, axes=axes)
    together = jax.jit(jax.vmap(one))(x, keys)
    alone = [jax.jit(one)(x[i], jax.random.key(i)) for i in range(3)]
    np.testing.assert_array_equal(together, np.stack(alone))
    assert together.shape == x.shape


@pytest.mark.slow
def test_without_a_word_three_axes_are_grey_images_and_two_are_sequences():
    config = Augmentation(translate=2)
    for shape, axes in SHAPES[:3]:
        x = inputs(shape)
        np.testing.assert_array_equal(draw(config, x), draw(config, x, axes=axes))
    x = inputs(SHAPES[3][0])
    assert not np.array_equal(draw(config, x), draw(config, x, axes=1))


def test_given_flips_are_those_done():
    x = inputs((7, 6, 9, 3))
    flips = jnp.array([True, False, False, True, True, False, True])
    found = draw(Augmentation(flip="alternating"), x, flips=flips)
    np.testing.assert_array_equal(found, flip(jnp.asarray(x), flips, 2))
    for config, given in [(Augmentation(flip="alternating"), None), (Augmentation(), flips)]:
        with pytest.raises(ValueError, match="belong to flip 'alternating'"):
            augment(config, jnp.asarray(x), jax.random.key(0), given)


def test_alternating_flips_are_fair_and_opposite_in_every_next_epoch():
    at = jax.jit(alternating_flips, static_argnums=2)
    key = jax.random.key(3)
    first, *later = (np.asarray(at(key, jnp.int32(epoch), 10_000)) for epoch in range(5))
    assert stats.binomtest(int(first.sum()), 10_000).pvalue > 0.001
    for epoch, flips in enumerate(later, start=1):
        np.testing.assert_array_equal(flips, first ^ bool(epoch % 2))
    other = np.asarray(at(jax.random.key(4), jnp.int32(0), 10_000))
    assert stats.binomtest(int((other == first).sum()), 10_000).pvalue > 0.001


def test_noise_is_normal_and_comes_after_what_cuts_out():
    x = jnp.ones((400, 8, 6, 3))
    config = Augmentation(noise=0.15, cutout=3)
    added = augment(config, x, jax.random.key(1)) - augment(
        Augmentation(cutout=3), x, jax.random.key(1)
    )
    assert np.mean(added) == pytest.approx(0, abs=2e-3)
    assert np.std(added) == pytest.approx(0.15, rel=0.01)
    assert np.mean(np.abs(added) < 0.15) == pytest.approx(0.6827, abs=0.01)


def test_mixup_averages_with_a_permutation_of_the_batch():
    batch = {"x": jnp.eye(6) + 1, "y": jnp.arange(10, 16)}
    mixed = jax.jit(lambda key: mix_up(0.7, batch, key))(jax.random.key(0))
    partners = np.asarray(mixed["y_other"]) - 10
    assert sorted(partners) == list(range(6)) and partners.tolist() != list(range(6))
    x, weight = np.asarray(batch["x"], np.float64), float(mixed["weight"])
    assert 0 < weight < 1
    np.testing.assert_allclose(mixed["x"], weight * x + (1 - weight) * x[partners], rtol=1e-6)
    np.testing.assert_array_equal(mixed["y"], batch["y"])
    assert mixed["x"].dtype == jnp.float32


def test_the_weights_of_mixup_follow_the_beta_distribution():
    """Two values of alpha in one program, as in lanes."""
    batch = {"x": jnp.zeros((4, 2)), "y": jnp.zeros(4, jnp.int32)}

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def weight(alpha, seed):
        return mix_up(alpha, batch, jax.random.key(seed))["weight"]

    found = np.asarray(weight(jnp.array([0.2, 1.5]), jnp.arange(3000)))
    for alpha, drawn in zip((0.2, 1.5), found, strict=True):
        assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 0.001


@pytest.mark.parametrize(
    ("values", "shape", "message"),
    [
        ({"translate": 0}, (8, 6, 3), "--translate 0: must be 1 to 5, for inputs of 8x6x3; none"),
        ({"translate": 6}, (8, 6, 3), "--translate 6: must be 1 to 5"),
        ({"translate": 40}, (40,), "--translate 40: must be 1 to 39, for inputs of 40;"),
        ({"translate": 1}, (1, 6), "--translate 1: impossible for inputs of 1x6; none switches it"),
        ({"cutout": 0}, (8, 6), "--cutout 0: must be 1 to 6, for inputs of 8x6; none switches it"),
        ({"cutout": 7}, (8, 6, 3), "--cutout 7: must be 1 to 6"),
        ({"noise": 0.0}, (8, 6, 3), "--noise 0: must be positive; none switches"),
        ({"mixup": 0.0}, (8, 6, 3), "--mixup 0: must be positive; none switches it off"),
        ({"mixup": float("inf")}, (8, 6, 3), "--mixup inf: must be positive"),
        ({"mixup": float("nan")}, (8, 6, 3), "--mixup nan: must be positive"),
    ],
)
def test_values_that_cannot_work_are_refused(values, shape, message):
    with pytest.raises(UsageError) as caught:
        check_augmentation(Augmentation(**values), Spec(shape, 10))
    assert str(caught.value).startswith(message)


def test_values_at_the_edge_work():
    shape = (8, 6, 3)
    config = Augmentation(translate=5, fill="reflect", cutout=6, mixup=1e-3)
    check_augmentation(config, Spec(shape, 10))
    assert np.isfinite(draw(config, inputs((4, *shape)))).all()
