"""Initial weights: variance, bounds, shape of the distribution, orthogonality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from nets.initializers import INITIALIZERS, Initializer, bias_initializer, fans, scaled
from nets.options import parse_option

DENSE, CONV = (150, 400), (3, 5, 20, 100)
FANS = {DENSE: (150, 400), CONV: (300, 1500)}
NORMAL, TRUNCATED, UNIFORM = stats.norm(), stats.truncnorm(-2, 2), stats.uniform(-1, 2)

# name -> standard deviation from the fans, distribution but for its scale
EXPECTED = {
    "normal": (lambda i, o: 0.01, NORMAL),
    "uniform": (lambda i, o: 0.05 / np.sqrt(3), UNIFORM),
    "fan_in_uniform": (lambda i, o: 1 / np.sqrt(3 * i), UNIFORM),
    "lecun_normal": (lambda i, o: np.sqrt(1 / i), TRUNCATED),
    "lecun_uniform": (lambda i, o: np.sqrt(1 / i), UNIFORM),
    "glorot_normal": (lambda i, o: np.sqrt(2 / (i + o)), TRUNCATED),
    "glorot_uniform": (lambda i, o: np.sqrt(2 / (i + o)), UNIFORM),
    "he_normal": (lambda i, o: np.sqrt(2 / i), TRUNCATED),
    "he_uniform": (lambda i, o: np.sqrt(2 / i), UNIFORM),
}


@jax.jit
def draw_all(key):
    return {
        (name, shape): INITIALIZERS[name](jax.random.fold_in(key, number), shape)
        for number, name in enumerate(EXPECTED)
        for shape in (DENSE, CONV)
    }


@pytest.fixture(scope="module")
def drawn():
    return jax.device_get(draw_all(jax.random.key(3)))


def test_the_table_is_complete():
    assert {*EXPECTED, "zeros", "orthogonal", "unit_norm", "identity", "dirac"} == set(INITIALIZERS)


def test_fans():
    assert fans(DENSE) == FANS[DENSE] and fans(CONV) == FANS[CONV]
    with pytest.raises(ValueError, match="only a kernel"):
        fans((3,))


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize("name", EXPECTED)
def test_distribution(drawn, name, shape):
    """Standard deviation within five standard errors; Kolmogorov-Smirnov; no value outside."""
    sd, distribution = EXPECTED[name]
    assert drawn[name, shape].shape == shape
    weights = drawn[name, shape].astype(np.float64).ravel() / sd(*FANS[shape])
    kurtosis = 3 + distribution.stats("k")
    assert abs(np.mean(weights**2) - 1) < 5 * np.sqrt((kurtosis - 1) / weights.size)
    rescaled = weights * distribution.std()
    low, high = distribution.support()
    assert low - 1e-6 <= rescaled.min() and rescaled.max() <= high + 1e-6
    assert stats.kstest(rescaled, distribution.cdf).pvalue > 1e-3


BY_FANS = {
    name: getattr(jax.nn.initializers, name)()
    for name in EXPECTED
    if name.partition("_")[0] in ("lecun", "glorot", "he")
}


@jax.jit
def draw_as_jax(key):
    return {
        (name, shape): BY_FANS[name](jax.random.fold_in(key, number), shape)
        for number, name in enumerate(EXPECTED)
        if name in BY_FANS
        for shape in (DENSE, CONV)
    }


@pytest.mark.slow
def test_drawn_along_one_axis_the_bits_are_those_of_jax(drawn):
    found = jax.device_get(draw_as_jax(jax.random.key(3)))
    assert len(found) == 12
    for each, expected in found.items():
        np.testing.assert_array_equal(drawn[each], expected)


def draw(option, shape=(20, 20), dtype=jnp.float32):
    """From a fresh key object each time: the same numbers, and no key is used twice."""
    return np.asarray(option(jax.random.key(4), shape, dtype))


def test_numbers_are_used():
    for name, number, factor in (("uniform", "0.5", 10), ("normal", "1", 100)):
        option = parse_option(f"{name}:{number}", INITIALIZERS)
        np.testing.assert_allclose(draw(option), factor * draw(INITIALIZERS[name]), rtol=1e-6)


def test_zeros_and_dtype():
    assert not INITIALIZERS["zeros"](jax.random.key(0), (2, 3)).any()
    for name, initializer in INITIALIZERS.items():
        drawn = jax.eval_shape(lambda i=initializer: i(jax.random.key(0), (4, 6), jnp.bfloat16))
        assert drawn.dtype == jnp.bfloat16, name


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 6), (2, 3, 4, 7)])
def test_orthogonal(shape):
    matrix = np.asarray(INITIALIZERS["orthogonal"](jax.random.key(1), shape), np.float64)
    matrix = matrix.reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (4, 6), (4, 3)])
def test_identity_of_a_dense_layer_copies_its_input(shape):
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    outputs = x @ np.asarray(INITIALIZERS["identity"](jax.random.key(0), shape))
    shared = min(shape)
    np.testing.assert_array_equal(outputs[:, :shared], x[:, :shared])
    assert not outputs[:, shared:].any()


def test_identity_of_a_convolution_copies_its_input():
    x = jax.random.normal(jax.random.key(2), (2, 6, 7, 3))
    kernel = INITIALIZERS["identity"](jax.random.key(0), (3, 5, 3, 3))
    numbers = ("NHWC", "HWIO", "NHWC")
    outputs = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    np.testing.assert_array_equal(outputs, x)


@pytest.mark.parametrize("shape", [(3, 3, 4, 9), (3, 2, 9, 4), (2, 5, 5)])
def test_dirac_copies_the_inputs_and_draws_what_is_left(shape):
    key, (*window, inputs, outputs) = jax.random.key(4), shape
    kernel = jax.jit(lambda key: INITIALIZERS["dirac"](key, shape))(key)
    copied = np.zeros((*window, inputs, min(inputs, outputs)))
    for channel in range(min(inputs, outputs)):
        copied[(*(size // 2 for size in window), channel, channel)] = 1
    np.testing.assert_array_equal(kernel[..., :inputs], copied)
    rest, bound = kernel[..., inputs:], 1 / np.sqrt(fans(shape)[0])
    assert (np.abs(rest) <= bound).all() and (rest != 0).all()
    assert rest.size == 0 or np.std(rest) == pytest.approx(bound / np.sqrt(3), rel=0.2)


def test_dirac_draws_dense_layers():
    want = draw(INITIALIZERS["fan_in_uniform"], (7, 5))
    np.testing.assert_array_equal(draw(INITIALIZERS["dirac"], (7, 5)), want)


def test_scale_may_be_traced():
    initializer, scales = INITIALIZERS["he_normal"], np.array([0.0, 0.5, 1.0, 3.0], np.float32)
    results = jax.jit(
        jax.vmap(lambda scale: scaled(initializer, scale)(jax.random.key(4), (20, 20)))
    )(scales)
    expected = draw(initializer)[None] * scales[:, None, None]
    np.testing.assert_allclose(results, expected, rtol=1e-6)
    np.testing.assert_array_equal(draw(scaled(initializer, 1.0)), draw(initializer))
    assert draw(scaled(initializer, jnp.float32(2)), dtype=jnp.bfloat16).dtype == jnp.bfloat16


def test_biases():
    bias = np.asarray(bias_initializer("fan_in_uniform", 25)(jax.random.key(5), (4000,)))
    assert 0.199 < np.abs(bias).max() <= 0.2
    assert bias.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    assert not bias_initializer("zeros", 25)(jax.random.key(6), (4,)).any()


def test_a_users_initializer_is_an_option():
    def ones(key, shape, dtype, value):
        return jnp.full(shape, value, dtype)

    option = Initializer("ones", ones, (2.0,))
    np.testing.assert_array_equal(option(jax.random.key(0), [2]), [2.0, 2.0])


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])
def test_unit_norm_of_incoming_weights(shape):
    """Norm 1 per output, and directions uniform over the sphere: entries have variance 1/fan_in."""
    weights = draw(INITIALIZERS["unit_norm"], shape).astype(np.float64).reshape(-1, shape[-1])
    np.testing.assert_allclose(np.linalg.norm(weights, axis=0), 1, rtol=1e-6)
    assert abs(weights.mean()) < 5 / np.sqrt(len(weights) * weights.size)
    assert stats.kstest(weights.ravel() * np.sqrt(len(weights)), NORMAL.cdf).pvalue > 1e-3
