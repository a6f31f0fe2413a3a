"""Activations and their gradients against float64 formulas; the module that applies them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc, expit

from nets.activations import (
    ACTIVATIONS,
    Activation,
    Nonlinearity,
    as_activation,
    diagnose,
    fan_out,
    maxout,
)
from tests.nets import compiled

FAR = np.array([12.0, 20.0, 50.0, 100.0, 1e3, 1e4])
GRID = np.unique(np.concatenate([np.linspace(-8.03, 8.05, 402), [-1e-6, 1e-6], FAR, -FAR]))
GRID = GRID.astype(np.float32).astype(np.float64)
KINKS = np.array([-1.0, 0.0, 1.0, 6.0], np.float32)

PDF = np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)
CDF = erfc(-GRID / np.sqrt(2)) / 2
SLOPE = np.exp(np.minimum(GRID, 0))  # of exp(x) - 1 on the negative side, 1 on the other
SOFTPLUS = np.logaddexp(GRID, 0)
SECH2 = 1 - np.tanh(GRID) ** 2
CUBIC = np.sqrt(2 / np.pi) * (GRID + 0.044715 * GRID**3)
CUBIC_SLOPE = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * GRID**2)
SILU = GRID * expit(GRID), expit(GRID) + GRID * expit(GRID) * expit(-GRID)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
POSITIVE = GRID > 0

# name -> value and derivative in float64
REFERENCES = {
    "identity": (GRID, np.ones_like(GRID)),
    "sigmoid": (expit(GRID), expit(GRID) * expit(-GRID)),
    "tanh": (np.tanh(GRID), SECH2),
    "hard_tanh": (np.clip(GRID, -1, 1), np.abs(GRID) < 1),
    "relu": (np.maximum(GRID, 0), POSITIVE),
    "relu6": (np.clip(GRID, 0, 6), POSITIVE & (GRID < 6)),
    "leaky_relu": (np.maximum(GRID, 0.01 * GRID), np.where(POSITIVE, 1, 0.01)),
    "prelu": (np.maximum(GRID, 0.25 * GRID), np.where(POSITIVE, 1, 0.25)),
    "elu": (np.where(POSITIVE, GRID, np.expm1(np.minimum(GRID, 0))), SLOPE),
    "celu": (np.where(POSITIVE, GRID, np.expm1(np.minimum(GRID, 0))), SLOPE),
    "selu": (
        SELU_SCALE * np.where(POSITIVE, GRID, SELU_ALPHA * np.expm1(np.minimum(GRID, 0))),
        SELU_SCALE * np.where(POSITIVE, 1, SELU_ALPHA * SLOPE),
    ),
    "gelu": (GRID * CDF, CDF + GRID * PDF),
    "gelu_tanh": (
        GRID * (1 + np.tanh(CUBIC)) / 2,
        (1 + np.tanh(CUBIC)) / 2 + GRID * (1 - np.tanh(CUBIC) ** 2) * CUBIC_SLOPE / 2,
    ),
    "silu": SILU,
    "swish": SILU,
    "mish": (
        GRID * np.tanh(SOFTPLUS),
        np.tanh(SOFTPLUS) + GRID * (1 - np.tanh(SOFTPLUS) ** 2) * expit(GRID),
    ),
    "softplus": (SOFTPLUS, expit(GRID)),
    "softsign": (GRID / (1 + np.abs(GRID)), 1 / (1 + np.abs(GRID)) ** 2),
}
ELEMENTWISE = {name: a for name, a in ACTIVATIONS.items() if name != "maxout"}


def call(activation, x):
    return activation.function(x, *activation.parameters, *activation.learned)


@jax.jit
def values_and_slopes(x):
    """Every elementwise activation and its derivative by reverse mode, in one program."""

    def both(activation):
        y, pullback = jax.vjp(lambda inputs: call(activation, inputs), x)
        return y, pullback(jnp.ones_like(y))[0]

    return {name: both(activation) for name, activation in ELEMENTWISE.items()}


@pytest.fixture(scope="module")
def on_grid():
    return jax.device_get(values_and_slopes(GRID.astype(np.float32)))


def test_the_table_is_complete():
    assert {*REFERENCES, "maxout"} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", REFERENCES)
def test_value_and_gradient(on_grid, name):
    for computed, reference in zip(on_grid[name], REFERENCES[name], strict=True):
        assert computed.dtype == np.float32
        np.testing.assert_allclose(computed, reference, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["softsign", "sigmoid", "softplus", "silu", "gelu"])
def test_tail_gradients_keep_their_digits(on_grid, name):
    """Small gradients are right in relation to their own size, not merely near 0."""
    tail = (GRID > -12) & (GRID < -5) if name == "gelu" else (GRID > -60) & (GRID < -10)
    if name == "softsign":
        tail = np.abs(GRID) > 10
    computed, reference = on_grid[name][1][tail], REFERENCES[name][1][tail]
    assert np.all(reference != 0)
    np.testing.assert_allclose(computed, reference, rtol=1e-4)


def test_gradients_at_kinks_lie_between_the_sides():
    step = np.float32(1e-5)
    left, at, right = (jax.device_get(values_and_slopes(KINKS + d)) for d in (-step, 0, step))
    for name in ELEMENTWISE:
        sides = np.stack([left[name][1], right[name][1]])
        assert np.all(at[name][1] >= sides.min(axis=0) - 1e-4), name
        assert np.all(at[name][1] <= sides.max(axis=0) + 1e-4), name
    assert at["relu"][1][1] == 0


def test_nan_stays_nan():
    values = jax.device_get(values_and_slopes(np.full(1, np.nan, np.float32)))
    for name, (value, _) in values.items():
        assert np.isnan(value).all(), name


def test_numbers_from_the_command_line_are_used():
    x = jnp.array([-2.0, 3.0])
    run = jax.jit(call, static_argnums=0)
    results = {s: run(as_activation(s), x) for s in ("leaky_relu:0.5", "elu:2", "celu:2")}
    np.testing.assert_allclose(results["leaky_relu:0.5"], [-1, 3], rtol=1e-6)
    np.testing.assert_allclose(results["elu:2"], [2 * np.expm1(-2), 3], rtol=1e-6)
    np.testing.assert_allclose(results["celu:2"], [2 * np.expm1(-1), 3], rtol=1e-6)


def test_gradients_of_learned_parameters():
    x = jnp.array([[-1e4, -3.0, -0.5, 0.0, 2.0, 1e4]])
    wide = np.asarray(x, np.float64)
    expected = {"prelu": np.minimum(wide, 0), "swish": wide**2 * expit(wide) * expit(-wide)}
    for name, reference in expected.items():
        module: Any = Nonlinearity(ACTIVATIONS[name])
        variables = compiled.initial(module, x)
        slope = jax.jit(jax.grad(lambda v, m=module: m.apply(v, x).sum()))
        (gradient,) = jax.tree.leaves(slope(variables))
        np.testing.assert_allclose(gradient, reference[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "label"), [("prelu", "slope"), ("swish", "beta")])
def test_learned_parameters_belong_to_units(name, label):
    module: Any = Nonlinearity(ACTIVATIONS[name])
    x = -np.ones((2, 3, 4), np.float32)
    variables = jax.tree.map(np.asarray, compiled.initial(module, x))
    assert jax.tree.map(jnp.shape, variables) == {"params": {label: (4,)}}
    np.testing.assert_array_equal(variables["params"][label], ACTIVATIONS[name].learned * 4)
    changed = jax.tree.map(np.copy, variables)
    changed["params"][label][1] = 3.0
    there, before = (np.asarray(compiled.applied(module, v, x)) for v in (changed, variables))
    differs = there != before
    np.testing.assert_array_equal(differs, np.broadcast_to(np.arange(4) == 1, x.shape))


@pytest.mark.parametrize("spelling", ["maxout:1", "maxout", "maxout:3"])
def test_maxout(spelling):
    activation = as_activation(spelling)
    pieces = activation.pieces
    x = np.random.default_rng(0).normal(size=(2, 5, fan_out(activation, 4))).astype(np.float32)
    expected = np.full((2, 5, 4), -np.inf)
    for piece in range(pieces):
        for unit in range(4):
            own = x[..., piece * 4 + unit]
            expected[..., unit] = np.maximum(expected[..., unit], own)
    np.testing.assert_array_equal(compiled.applied(Nonlinearity(activation), {}, x), expected)
    gradient = jax.jit(jax.grad(lambda z: maxout(z, pieces).sum()))(x)
    np.testing.assert_array_equal(
        gradient, x == np.concatenate([expected] * pieces, axis=-1).astype(np.float32)
    )


def test_maxout_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="5 inputs do not divide into 2 pieces"):
        maxout(jnp.ones((1, 5)), 2)
    with pytest.raises(ValueError, match=r"whole number of pieces, at least 1, not 1\.5"):
        Activation("maxout", maxout, (1.5,))


def test_only_maxout_needs_more_inputs_than_outputs():
    widths = {name: fan_out(activation, 7) for name, activation in ACTIVATIONS.items()}
    assert widths == dict.fromkeys(ELEMENTWISE, 7) | {"maxout": 14}


def double(x):
    return 2 * x


def test_a_plain_function_is_an_activation():
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(Nonlinearity(double).apply({}, x), 2 * x)
    assert as_activation(double) == Activation("double", double)
    assert as_activation(ACTIVATIONS["relu"]) is ACTIVATIONS["relu"]
    assert fan_out(double, 3) == 3


def test_half_precision_stays_half_precision():
    x = jax.ShapeDtypeStruct((2, 4), jnp.bfloat16)
    for name, activation in ACTIVATIONS.items():
        module: Any = Nonlinearity(activation)
        shapes = jax.eval_shape(lambda z, m=module: m.init_with_output(jax.random.key(0), z)[0], x)
        assert shapes.dtype == jnp.bfloat16, name


def test_diagnostics():
    """A unit that is dead, one that is saturated for some examples, one that is neither."""
    x = np.array([[-1.0, -9.0, 0.5], [-2.0, 1.0, 0.5], [-3.0, 2.0, 0.7]], np.float32)
    module: Any = Nonlinearity(ACTIVATIONS["relu"])
    outputs, state = compiled.applied(module, {}, x, mutable="diagnostics")
    np.testing.assert_array_equal(outputs, np.maximum(x, 0))
    expected = {
        "mean": np.maximum(x, 0).mean(),
        "sd": np.maximum(x, 0).std(),
        "saturated": 4 / 9,
        "dead": 1 / 3,
    }
    assert set(state["diagnostics"]) == set(expected)
    for name, value in state["diagnostics"].items():
        assert value.shape == () and value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)
    _, again = compiled.applied(module, state, np.abs(x), mutable="diagnostics")
    np.testing.assert_allclose(again["diagnostics"]["mean"], np.abs(x).mean(), rtol=1e-6)


def test_saturation_is_the_size_of_the_slope():
    slopes = np.array([[0.04, -0.04, 0.06, -0.06, 0.0, 2.0]], np.float32)
    assert jax.jit(diagnose)(slopes, slopes)["saturated"] == pytest.approx(0.5)
    tanh: Any = Nonlinearity(ACTIVATIONS["tanh"])
    x = np.array([[3.0, -3.0, 1.0, 20.0]], np.float32)
    state = compiled.applied(tanh, {}, x, mutable="diagnostics")[1]["diagnostics"]
    assert state["saturated"] == pytest.approx(0.75)
    assert state["dead"] == pytest.approx(0.25)


def test_diagnostics_cost_nothing_unless_asked_for():
    x, key = jnp.ones((2, 3)), jax.random.key(0)
    module: Any = Nonlinearity(ACTIVATIONS["tanh"])
    assert "diagnostics" not in module.init(key, x)
    applied = jax.make_jaxpr(lambda z: module.apply({}, z))(x)
    assert str(applied) == str(jax.make_jaxpr(jnp.tanh)(x))
