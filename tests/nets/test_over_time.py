"""Gradients by carries, and gates, against loops over the steps of a layer."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.activations import diagnose
from nets.cell import Cell
from nets.cells import GRU, LSTM, RNN
from nets.over_time import carry_gradients, opening_numbers, reach
from nets.recurrent import Recurrent
from tests.nets import compiled

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 4)), jnp.float32)
CELLS = {
    "rnn": RNN(),
    "lstm": LSTM(),
    "peepholes": LSTM(peepholes=True),
    "coupled": LSTM(coupled=True),
    "no_forget": LSTM(without="forget"),
    "gru": GRU(),
}


def made(name) -> tuple[Recurrent, Any]:
    """A layer of five units, with random numbers in the place of each variable."""
    net, random = Recurrent(CELLS[name], 5), np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: net.init(key, X, train=False), jax.random.key(0))
    return net, jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), "f"), shapes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_gradients_by_carries_are_those_of_the_rest_of_the_sequence(name):
    net, variables = made(name)
    zeros = net.cell.carry(3, 5, jnp.float32)

    @jax.jit
    def gradients(variables):
        def last_states(nudges):
            states, _ = net.apply(variables | {"nudges": nudges}, X, train=False)
            return jnp.sum(states[:, -1], axis=-1)

        return carry_gradients(last_states, (), zeros, 6)

    found = np.asarray(gradients(variables))
    for t in (0, 3, 4):

        def rest(carry, variables, t=t):
            states, _ = net.apply(variables, X[:, t + 1 :], carry=carry, train=False)
            return jnp.sum(states[:, -1])

        _, carry = compiled.applied(net, variables, np.asarray(X)[:, : t + 1], train=False)
        by_carry = jax.jit(jax.grad(rest))(carry, variables)
        squares = sum(np.square(np.asarray(each)).sum(axis=-1) for each in by_carry)
        np.testing.assert_allclose(found[t], np.sqrt(squares).mean(), rtol=1e-4)


def test_gradients_by_carries_of_half_precision():
    net, variables = made("lstm")

    @functools.partial(jax.jit, static_argnums=0)
    def found(net, variables):
        def last_states(nudges):
            states = net.apply(variables | {"nudges": nudges}, X, train=False)[0]
            return jnp.sum(states[:, -1].astype(jnp.float32), axis=-1)

        return carry_gradients(last_states, (), net.cell.carry(3, 5, jnp.float32), 6)

    half = found(net.clone(dtype=jnp.bfloat16), variables)
    np.testing.assert_allclose(half, found(net, variables), rtol=0.1)


@functools.partial(jax.jit, static_argnums=0)
def carries_before(net, variables, x) -> list[Any]:
    """The carry before each step, of runs over ever more of the sequence."""
    first = net.cell.carry(3, 5, jnp.float32)
    return [first] + [
        net.apply(variables, x[:, :t], carry=first, train=False)[1] for t in range(1, x.shape[1])
    ]


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "back"])
@pytest.mark.parametrize("name", CELLS)
def test_gates_are_those_of_the_equations(name, reverse):
    net, variables = made(name)
    layer = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    before = carries_before(net, variables, np.asarray(X)[:, ::-1] if reverse else X)
    after = [*before[1:], None]
    turned = net.clone(reverse=reverse)
    found = compiled.applied(turned, variables, X, train=False, mutable="gates")[1]
    opened = jax.tree.map(np.asarray, found.get("gates", {}))
    assert set(opened) == set(net.cell.parts[:-1])
    for t in range(5):
        place = 5 - t if reverse else t
        h = np.asarray(before[t][0], np.float64)
        read = np.asarray(X)[:, place] @ layer["inputs"]["kernel"] + layer["bias"]
        parts = np.split(read + h @ layer["state"]["kernel"], len(net.cell.parts), axis=-1)
        for gate, inside in zip(net.cell.parts[:-1], parts, strict=False):
            if f"peephole_{gate}" in layer:
                c = (after if gate == "output" else before)[t][1]
                inside = inside + layer[f"peephole_{gate}"] * np.asarray(c)
            np.testing.assert_allclose(opened[gate][place], 1 / (1 + np.exp(-inside)), rtol=2e-4)


def test_numbers_of_gates_pass_over_what_is_masked():
    opening = np.random.default_rng(2).uniform(size=(6, 3, 5)).astype("f")
    opening[:, :, 4] = 0.05
    mask = np.arange(6)[:, None] < [6, 4, 1]
    found = jax.jit(opening_numbers)(opening, mask)
    seen = opening[mask].astype(np.float64)
    assert float(found["mean"]) == pytest.approx(seen.mean(), rel=1e-5)
    assert float(found["sd"]) == pytest.approx(seen.std(), rel=1e-5)
    assert float(found["saturated"]) == pytest.approx(((seen < 0.1) | (seen > 0.9)).mean())
    assert float(found["dead"]) == pytest.approx((seen < 0.1).all(axis=0).mean())
    assert float(found["dead"]) > 0


def test_diagnostics_of_a_layer_are_the_numbers_of_its_gates():
    net, variables = made("gru")
    mutable = ("gates", "diagnostics")
    found = compiled.applied(net, variables, X, train=False, mutable=mutable)[1]
    assert set(found["diagnostics"]) == {"reset", "update", "activation"}
    for gate, opening in found["gates"].items():
        expected = jax.jit(opening_numbers)(opening)
        assert found["diagnostics"][gate].keys() == expected.keys()
        for name, value in expected.items():
            assert float(found["diagnostics"][gate][name]) == pytest.approx(float(value))


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_diagnostics_of_a_layer_are_also_those_of_new_content(name):
    net, variables = made(name)
    layer = jax.tree.map(lambda leaf: 3 * np.asarray(leaf, np.float64), variables["params"])
    before = carries_before(net, {"params": layer}, X)
    contents = []
    for t in range(6):
        read = np.asarray(X)[:, t] @ layer["inputs"]["kernel"] + layer["bias"]
        heard = np.asarray(before[t][0], np.float64) @ layer["state"]["kernel"]
        if name == "gru":
            reset = 1 / (1 + np.exp(-(read + heard)[:, :5]))
            heard[:, -5:] = reset * (heard[:, -5:] + layer["bias_new"])
        contents.append(np.tanh((read + heard)[:, -5:]))
    mutable = compiled.applied(net, {"params": layer}, X, train=False, mutable="diagnostics")[1]
    found, content = mutable["diagnostics"]["activation"], np.array(contents)
    assert float(found["mean"]) == pytest.approx(content.mean(), abs=1e-5)
    assert float(found["sd"]) == pytest.approx(content.std(), rel=1e-4)
    saturated = (1 - content**2 < 0.05).mean()
    assert float(found["saturated"]) == pytest.approx(saturated) and saturated > 0.1
    assert float(found["dead"]) == 0


def test_activations_pass_over_what_is_masked():
    random = np.random.default_rng(3)
    outputs, slopes = random.uniform(size=(2, 6, 3, 5)).astype("f")
    mask = np.arange(6)[:, None] < [6, 4, 1]
    slopes[:, :, 4] = np.where(mask, 0.0, 1.0)
    found = jax.jit(diagnose)(outputs, slopes, mask)
    seen, steep = outputs[mask].astype(np.float64), slopes[mask]
    assert float(found["mean"]) == pytest.approx(seen.mean(), rel=1e-5)
    assert float(found["sd"]) == pytest.approx(seen.std(), rel=1e-5)
    assert float(found["saturated"]) == pytest.approx((steep < 0.05).mean())
    assert float(found["dead"]) == pytest.approx(0.2)


def test_reach_of_a_gradient_that_halves_with_each_step():
    compiled_reach = jax.jit(reach)
    found = compiled_reach(np.asarray(0.5 ** np.arange(20)[::-1], np.float32))
    assert float(found["per_step"]) == pytest.approx(0.5, rel=1e-5)
    assert float(found["steps"]) == 7  # 0.5^6 is above a hundredth
    assert float(compiled_reach(np.ones(20, "f"))["steps"]) == 20


def test_a_cell_that_does_not_tell_of_its_content_is_not_diagnosed():
    class Plain(RNN):
        content = Cell.content

    net, variables = Recurrent(Plain(), 5), made("rnn")[1]
    found = compiled.applied(net, variables, X, train=False, mutable="diagnostics")[1]
    assert not found.get("diagnostics", {})


RANGES = {
    "inside": (2.0, 0.9, 101, 0.9, 44),
    "one_step": (2.0, 1.0, 1, np.nan, 1),
    "vanishes": (2.0, 0.3, 100, 0.3, 4),
    "leaves_soon": (1e-36, 0.2, 50, 0.2, 3),
    "explodes": (2.0, 2.5, 150, 2.5, 0),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_reach_is_that_of_a_geometric_gradient_also_beyond_float32(name):
    last, factor, steps, per_step, reached = RANGES[name]
    with np.errstate(over="ignore", under="ignore"):
        norms = (last * factor ** np.arange(steps)[::-1]).astype(np.float32)
    found = jax.jit(reach)(norms)
    np.testing.assert_allclose(found["per_step"], per_step, rtol=1e-5)
    assert int(found["steps"]) == reached


@pytest.mark.parametrize("norm", [0.0, np.nan, np.inf])
def test_without_a_gradient_there_is_no_factor_and_no_reach(norm):
    found = jax.jit(reach)(np.full(50, norm, np.float32))
    assert np.isnan(found["per_step"])
    assert norm == np.inf or int(found["steps"]) == 0


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_of_gradients_whose_squares_are_beyond_float32(scale):
    weight = jnp.asarray([[3 * scale, 4 * scale], [0.0, 0.0]], jnp.float32)

    def losses(nudges):
        (carry,) = nudges["layer"]["carries"]
        return jnp.sum(carry * weight[None], axis=(0, -1))

    found = jax.jit(lambda: carry_gradients(losses, ["layer"], (weight,), 3))()
    np.testing.assert_allclose(found, np.full(3, 5 * scale / 2), rtol=1e-6)
