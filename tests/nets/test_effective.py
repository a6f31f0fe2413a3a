"""The effective receptive field of nets where it is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.effective import effective_receptive_field, effective_size
from nets.geometry import Window, paths

RNG = np.random.default_rng(0)


class Rest(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(2, (3, 3), name="second")(x)


class Linear(nn.Module):
    """Two convolutions, one of them in a submodule, and a dense layer."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Conv(3, (3, 5), name="first")(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = Rest(name="rest")(x)
        return nn.Dense(4, name="output")(x.mean(axis=(1, 2)))


INPUTS = jnp.asarray(RNG.normal(size=(2, 9, 12, 2)), jnp.float32)
NET = Linear()


@pytest.fixture(scope="module")
def variables():
    return NET.init(jax.random.key(0), INPUTS, train=False)


def test_one_layer_is_its_kernel_at_the_centre(variables):
    field = effective_receptive_field(NET, variables, INPUTS, ("first",))
    expected = np.zeros((9, 12))
    kernel = np.asarray(variables["params"]["first"]["kernel"])
    expected[3:6, 4:9] = np.abs(kernel).mean(axis=(2, 3))
    np.testing.assert_allclose(field, expected, rtol=1e-6)
    some = effective_receptive_field(NET, variables, INPUTS, ("first",), filters=2)
    mean = np.abs(kernel[..., :2]).mean(axis=(2, 3))
    np.testing.assert_allclose(some[3:6, 4:9], mean, rtol=1e-6)


def test_two_layers_of_ones_are_counted_paths(variables):
    """Ways from each input to the central unit: those to the sum of one window's places."""
    ones = jax.tree.map(jnp.ones_like, variables)
    field = effective_receptive_field(NET, ones, INPUTS, ("rest", "second"))
    spread = paths((5, 7), [(Window(3), Window(5)), (Window(3), Window(3))])
    expected = np.zeros((9, 12))
    expected[2:7, 3:10] = 3 * spread  # three filters in between
    np.testing.assert_allclose(field, expected, rtol=1e-6)


def test_a_nonlinearity_weighs_by_the_inputs():
    """Each input lets the gradient through where the unit is on."""

    class Rectified(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Conv(3, (3,), name="conv")(x[..., None]))

    net, inputs = Rectified(), jnp.asarray(RNG.normal(size=(50, 7)), jnp.float32)
    variables = net.init(jax.random.key(1), inputs)
    kernel = np.asarray(variables["params"]["conv"]["kernel"])[:, 0]
    on = np.asarray(inputs)[:, 2:5] @ kernel > 0
    expected = (np.abs(kernel) * on.mean(axis=0)).mean(axis=1)
    field = effective_receptive_field(net, variables, inputs, ())
    np.testing.assert_allclose(field, [0, 0, *expected, 0, 0], rtol=1e-5)


def test_refuses_layers_without_axes_and_unknown_ones(variables):
    with pytest.raises(ValueError, match="output has an output of"):
        effective_receptive_field(NET, variables, INPUTS, ("output",))
    with pytest.raises(
        ValueError, match="no module rest/nothing; there are first, Dropout_0, rest,"
    ):
        effective_receptive_field(NET, variables, INPUTS, ("rest", "nothing"))


def test_effective_size_is_the_side_of_what_counts():
    assert effective_size(np.ones((4, 9))) == 6
    field = np.zeros(20)
    field[3:6] = 1, 0.0456, 0.0454
    assert effective_size(field) == 2
    assert effective_size(np.zeros((3, 3))) == 0


def test_effective_size_of_a_gaussian():
    """exp(-r^2 / 2 s^2) exceeds 4.55 % within r = 2.486 s: the area is pi r^2."""
    places = np.arange(-60, 61)
    gaussian = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 10**2))
    radius = 10 * np.sqrt(-2 * np.log(0.0455))
    assert effective_size(gaussian) == pytest.approx(np.sqrt(np.pi) * radius, rel=0.01)
