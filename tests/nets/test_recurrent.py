"""Recurrent layers against step-by-step NumPy loops, and their gradients against autodiff."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets import recurrence
from nets.activations import ACTIVATIONS
from nets.cells import GRU, LSTM, RNN
from nets.initializers import INITIALIZERS
from nets.layers import depth, layers
from nets.recurrence import Recurrence, recur
from nets.recurrent import Recurrent, RecurrentStack

RANDOM = np.random.default_rng(0)
X = jnp.asarray(RANDOM.normal(size=(3, 6, 4)), jnp.float32)
MASK = jnp.asarray([[True] * 6, [True] * 4 + [False] * 2, [True] + [False] * 5])
CELLS = {
    "rnn": RNN(),
    "relu": RNN(ACTIVATIONS["relu"]),
    "prelu": RNN(ACTIVATIONS["prelu"]),
    "lstm": LSTM(),
    "other": LSTM(ACTIVATIONS["softsign"], ACTIVATIONS["hard_tanh"]),
    "peepholes": LSTM(peepholes=True),
    "layer_norm": LSTM(layer_norm=True),
    "no_input": LSTM(without="input"),
    "no_forget": LSTM(without="forget", peepholes=True),
    "no_output": LSTM(without="output"),
    "coupled": LSTM(coupled=True),
    "gru": GRU(),
}


def variables_of(net, shape=X.shape) -> Any:
    """Random numbers in the place of each variable."""
    random = np.random.default_rng(1)
    x = jnp.zeros(shape)
    shapes = jax.eval_shape(lambda key: net.init(key, x, train=False), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), "f"), shapes)


def apply(net, variables, x=X, **arguments) -> Any:
    return net.apply(variables, x, train=False, **arguments)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
}


def standardised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def in_numpy(cell, params, x, mask, *, reverse=False, carry=None):
    """The states and the last carry, one element of one sequence after the other, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    states = np.zeros((*x.shape[:2], p["state"]["kernel"].shape[0]))
    last = []
    for b in range(len(x)):
        h, c = np.zeros((2, states.shape[-1])) if carry is None else carry[b]
        steps = [t for t in range(x.shape[1]) if mask[b, t]]
        for t in reversed(steps) if reverse else steps:
            h, c = one_step(cell, p, np.asarray(x[b, t], np.float64), h, c)
            states[b, t] = h
        last.append((h, c))
    return states, last


def one_step(cell, p, x, h, c):
    """One step from the equations, each part by itself."""
    wide = p["state"]["kernel"].shape[1]
    seen, heard = x @ p["inputs"]["kernel"], h @ p["state"]["kernel"]
    if getattr(cell, "layer_norm", False):
        seen = p["scale_inputs"] * standardised(seen)
        heard = p["scale_state"] * standardised(heard)
    count = wide // len(h)
    seen, heard, bias = (np.split(a, count) for a in (seen, heard, p["bias"]))
    if isinstance(cell, GRU):
        reset = sigmoid(seen[0] + heard[0] + bias[0])
        update = sigmoid(seen[1] + heard[1] + bias[1])
        new = np.tanh(seen[2] + bias[2] + reset * (heard[2] + p["bias_new"]))
        return (1 - update) * new + update * h, c
    read = [s + z + b for s, z, b in zip(seen, heard, bias, strict=True)]
    if isinstance(cell, RNN):
        if str(cell.activation) == "prelu":
            return np.where(read[0] > 0, read[0], p["activation_slope"] * read[0]), c
        return FUNCTIONS[str(cell.activation)](read[0]), c
    names = [n for n in ("input", "forget", "output", "cell") if n != cell.without]
    names = [n for n in names if not (cell.coupled and n == "input")]
    part = dict(zip(names, read, strict=True))
    act, gate = FUNCTIONS[cell.activation.name], FUNCTIONS[cell.gate.name]

    def opened(name, c):
        if name not in part:
            return np.ones_like(c)
        return gate(part[name] + (p[f"peephole_{name}"] * c if cell.peepholes else 0))

    f = opened("forget", c)
    i = 1 - f if cell.coupled else opened("input", c)
    c = f * c + i * act(part["cell"])
    shown = p["scale_cell"] * standardised(c) + p["shift_cell"] if cell.layer_norm else c
    return opened("output", c) * act(shown), c


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "back"])
@pytest.mark.parametrize("name", CELLS)
def test_states_are_those_of_the_equations(name, reverse):
    net = Recurrent(CELLS[name], 5, reverse=reverse)
    variables = variables_of(net)
    states, last = apply(net, variables, mask=MASK)
    expected, carries = in_numpy(
        CELLS[name], variables["params"], X, np.asarray(MASK), reverse=reverse
    )
    np.testing.assert_allclose(states, expected, rtol=2e-4, atol=2e-5)
    for place, leaf in enumerate(last):
        np.testing.assert_allclose(
            leaf, np.stack([carry[place] for carry in carries]), rtol=2e-4, atol=2e-5
        )


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 6, 4), (3, 1, 4)], ids=str)
def test_one_sequence_and_one_element(shape):
    net = Recurrent(LSTM(), 5)
    variables = variables_of(net)
    x = X[: shape[0], : shape[1]]
    states, _ = apply(net, variables, x)
    expected, _ = in_numpy(LSTM(), variables["params"], x, np.ones(shape[:2], bool))
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "lstm", "layer_norm", "gru"])
def test_what_stands_where_there_is_no_element_is_not_read(name):
    net = Recurrent(CELLS[name], 5)

    def total(variables, x):
        states, last = apply(net, variables, x, mask=MASK)
        return jnp.sum(states) + sum(jnp.sum(jnp.sin(leaf)) for leaf in last)

    found = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    variables, holed = variables_of(net), jnp.where(MASK[..., None], X, jnp.nan)
    plain = found(variables, X)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plain))
    jax.tree.map(np.testing.assert_array_equal, found(variables, holed), plain)


def plain_loop(step, adds, inputs: Recurrence, reverse: bool):
    """What `recur` computes, differentiated by JAX."""
    carry, states = inputs.carry, []
    length = len(inputs.x)
    for t in reversed(range(length)) if reverse else range(length):
        h = carry[0] if inputs.keep is None else carry[0] * inputs.keep
        z = h @ inputs.kernel
        after = step(inputs.values, inputs.x[t] + z if adds else (inputs.x[t], z), carry)
        if inputs.nudge is not None:
            after = tuple(a + n[t] for a, n in zip(after, inputs.nudge, strict=True))
        if inputs.mask is not None:
            pairs = zip(after, carry, strict=True)
            after = tuple(jnp.where(inputs.mask[t][:, None], a, b) for a, b in pairs)
        carry = after
        states.append(carry[0])
    return jnp.stack(states[::-1] if reverse else states), carry


def four_steps(cell) -> Recurrence:
    """Inputs of a loop of four steps."""
    random = np.random.default_rng(2)

    def draw(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    reads = 3 * len(cell.parts)
    values = {name: draw(*leaf.shape) for name, leaf in cell.values(3).items()}
    carry = tuple(draw(2, 3) for _ in cell.carry(2, 3, jnp.float32))
    mask = jnp.asarray([[True, True], [True, False], [True, True], [False, True]])
    nudge = tuple(draw(4, 2, 3) for _ in carry)
    return Recurrence(draw(4, 2, reads), draw(3, reads), values, carry, draw(2, 3), mask, nudge)


def loss(loop, inputs, mask):
    states, last = loop(inputs._replace(mask=mask))
    rows = jnp.arange(states.size, dtype=jnp.float32).reshape(states.shape)
    return jnp.sum(states * jnp.cos(rows)) + sum(jnp.sum(jnp.sin(leaf)) for leaf in last)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "back"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "peepholes", "layer_norm", "gru"])
def test_gradients_are_those_of_automatic_differentiation(name, reverse):
    _compare_gradients(CELLS[name], reverse)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "layer_norm"])
def test_gradients_where_rows_are_turned(monkeypatch, name):
    """As where a large kernel meets few rows."""
    monkeypatch.setattr(recurrence, "FEWEST_UNITS", 1)
    cell, inputs = CELLS[name], four_steps(CELLS[name])
    traced = jax.make_jaxpr(functools.partial(recur, cell.step, cell.adds))(inputs)
    assert "platform_index" in str(traced)
    _compare_gradients(cell, reverse=False)


def _compare_gradients(cell, reverse):
    inputs = four_steps(cell)
    ours = functools.partial(recur, cell.step, cell.adds, pull=cell.pull, reverse=reverse)
    plain = functools.partial(plain_loop, cell.step, cell.adds, reverse=reverse)
    bare = inputs._replace(mask=None)

    def gradient(loop):
        found = jax.jit(jax.value_and_grad(lambda each: loss(loop, each, inputs.mask)))
        return found(bare)

    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        gradient(ours),
        gradient(plain),
    )


@pytest.mark.slow
def test_second_derivatives():
    cell = LSTM()
    inputs = four_steps(cell)
    bare = inputs._replace(mask=None)

    def bend(loop):
        def squared(kernel):
            each = functools.partial(loss, loop, mask=inputs.mask)
            gradient = jax.grad(lambda k: each(bare._replace(kernel=k)))(kernel)
            return jnp.sum(jnp.square(gradient))

        return jax.jit(jax.grad(squared))(inputs.kernel)

    ours = bend(functools.partial(recur, cell.step, cell.adds, pull=cell.pull))
    plain = bend(functools.partial(plain_loop, cell.step, cell.adds, reverse=False))
    np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4)


def test_unrolling_changes_no_more_than_rounding():
    one, four = (Recurrent(LSTM(), 5, unroll=n) for n in (1, 4))
    states, _ = apply(one, variables_of(one))
    np.testing.assert_allclose(apply(four, variables_of(one))[0], states, rtol=1e-5, atol=1e-6)


def test_layers_one_above_the_other_and_both_directions():
    net = RecurrentStack(GRU(), (5, 2), bidirectional=True)
    variables = variables_of(net)
    states, last = apply(net, variables, mask=MASK)
    hidden = np.asarray(X)
    for layer in ("layer_1", "layer_2"):
        both = [
            in_numpy(GRU(), variables["params"][name], hidden, np.asarray(MASK), reverse=back)
            for name, back in ((layer, False), (f"{layer}_back", True))
        ]
        hidden = np.concatenate([found for found, _ in both], axis=-1)
    np.testing.assert_allclose(states, hidden, rtol=2e-4, atol=2e-5)
    ends = np.concatenate([np.stack([h for h, _ in carry]) for _, carry in both], axis=-1)
    given = np.concatenate([carry[0] for carry in last[-2:]], axis=-1)
    np.testing.assert_allclose(given, ends, rtol=2e-4, atol=2e-5)
    with pytest.raises(ValueError, match="begins every sequence anew"):
        apply(net, variables, carries=last)


def test_a_carried_state_continues_the_sequence():
    net = RecurrentStack(LSTM(), (5, 5))
    variables = variables_of(net)
    whole, end = apply(net, variables)
    first, middle = apply(net, variables, X[:, :2])
    second, last = apply(net, variables, X[:, 2:], carries=middle)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), whole, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), last, end)
    np.testing.assert_array_equal(second[:, -1], last[1][0])


def dropped(net, x=X, seed=0) -> Any:
    return net.apply(
        variables_of(net, x.shape), x, train=True, rngs={"dropout": jax.random.key(seed)}
    )[0]


LONG = jnp.ones((2, 50, 4))


@pytest.mark.parametrize("form", ["steps", "sequence"])
def test_dropout_of_what_a_layer_gives(form):
    zeros = (
        np.asarray(dropped(RecurrentStack(RNN(), (8,), dropout=0.5, dropout_form=form), LONG)) == 0
    )
    assert 0.2 < zeros.mean() < 0.8
    assert (zeros == zeros[:, :1]).all() == (form == "sequence")
    assert (zeros[0] != zeros[1]).any()


def test_dropout_of_the_state_has_one_mask_for_the_whole_sequence():
    net = Recurrent(RNN(ACTIVATIONS["identity"]), 8, state_dropout=0.5)
    params = variables_of(net, LONG.shape)["params"]
    states = np.asarray(dropped(net, LONG))
    read = np.asarray(LONG @ params["inputs"]["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(states[:, 0], read[:, 0], rtol=1e-5)
    ratios = (states[:, 1] - read[:, 1]) @ np.linalg.inv(params["state"]["kernel"])
    keep = np.round(ratios / states[:, 0])
    assert set(np.unique(keep)) == {0.0, 2.0}
    expected = (states[:, 1] * keep) @ params["state"]["kernel"] + read[:, 2]
    np.testing.assert_allclose(states[:, 2], expected, rtol=1e-3, atol=1e-3)


def test_dropout_of_the_weights_is_one_mask_for_all():
    net = Recurrent(RNN(ACTIVATIONS["identity"]), 8, weight_dropout=0.5)
    states = np.asarray(dropped(net, LONG))
    np.testing.assert_array_equal(states[0], states[1])
    assert np.abs(states - dropped(net, LONG, seed=1)).max() > 1e-3
    plain = Recurrent(RNN(ACTIVATIONS["identity"]), 8)
    assert np.abs(states - apply(plain, variables_of(plain, LONG.shape), LONG)[0]).max() > 1e-3


def test_evaluation_drops_nothing():
    net = RecurrentStack(GRU(), (5,), dropout=0.5, state_dropout=0.5, weight_dropout=0.5)
    plain = RecurrentStack(GRU(), (5,))
    variables = variables_of(plain)
    np.testing.assert_array_equal(apply(net, variables)[0], apply(plain, variables)[0])


def first(cell, **choices) -> Any:
    return Recurrent(cell, 8, **choices).init(jax.random.key(0), X, train=False)["params"]


@pytest.mark.slow
def test_first_weights():
    params = first(LSTM(forget_bias=2.0), kernel_init=INITIALIZERS["zeros"])
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 2, 0, 0], 8))
    assert not params["inputs"]["kernel"].any()
    for part in np.split(np.asarray(params["state"]["kernel"]), 4, axis=1):
        np.testing.assert_allclose(part @ part.T, np.eye(8), atol=1e-5)
    identity = first(RNN(), recurrent_init=INITIALIZERS["identity"], bias_init="fan_in_uniform")
    np.testing.assert_array_equal(identity["state"]["kernel"], np.eye(8))
    assert 0 < np.abs(identity["bias"]).max() < 8**-0.5
    gru = first(GRU(), bias_init="fan_in_uniform")
    assert 0 < np.abs(gru["bias_new"]).min() < np.abs(gru["bias_new"]).max() < 8**-0.5


def test_units_have_one_input_for_each_output():
    with pytest.raises(ValueError, match="maxout:2: a recurrent unit has one input for each"):
        first(RNN(ACTIVATIONS["maxout"]))


def test_what_layers_are_listed_with():
    net = RecurrentStack(LSTM(peepholes=True), (5, 2), bidirectional=True)
    found = {layer.path: layer for layer in layers(net, variables_of(net), X)}
    assert set(found) == {
        (), ("layer_1",), ("layer_1_back",), ("layer_2",), ("layer_2_back",)
    }  # fmt: skip
    assert found["layer_1",].multiply_adds == 6 * (4 + 5) * 20
    assert found["layer_2",].multiply_adds == 6 * (10 + 2) * 8
    assert found["layer_1",].parameters == (4 + 5) * 20 + 20 + 3 * 5
    assert depth(found.values()) == 2


def test_half_precision():
    net = RecurrentStack(LSTM(layer_norm=True), (5,), dtype=jnp.bfloat16)
    variables = variables_of(net)
    states, last = jax.eval_shape(functools.partial(apply, net), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves((states, last))} == {jnp.dtype("bfloat16")}
