"""Language models against loops in NumPy."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.cells import LSTM
from nets.language import LanguageModel, generate, text_losses
from nets.recurrent import RecurrentStack

VOCABULARY, WIDTH = 7, 8


def make(**changes: Any) -> LanguageModel:
    stack = RecurrentStack(LSTM(), (5, WIDTH), dropout=changes.pop("stack_dropout", None))
    return LanguageModel(stack, VOCABULARY, **{"embedding": WIDTH, **changes})


@functools.cache
def variables(tied: bool = False) -> Any:
    """Weights of `make`, large enough that no step is nearly linear; and carries of 3 streams."""
    init = jax.jit(functools.partial(make(tied=tied, streams=3).init, train=False))
    first = init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))
    return jax.tree.map(lambda leaf: 2 * leaf, first)


def text(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCABULARY, length).astype(np.uint8)


class Loop:
    """The net of `make`, a token at a time, in float64."""

    def __init__(self, params: Any) -> None:
        self.params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        self.states: dict[str, Any] = dict.fromkeys(("layer_1", "layer_2"), (0.0, 0.0))

    def scores(self, token: int) -> np.ndarray:
        """Reads a token."""
        embedding = self.params["embedding"]["embedding"]
        x = embedding[token]
        for name, (h, c) in self.states.items():
            layer = self.params["stack"][name]
            kernel = layer["state"]["kernel"]
            h = np.zeros(len(kernel)) + h
            read = x @ layer["inputs"]["kernel"] + h @ kernel + layer["bias"]
            i, f, o, g = np.split(read, 4)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            c = f * c + i * np.tanh(g)
            x = o * np.tanh(c)
            self.states[name] = (x, c)
        if "bias" in self.params:
            return x @ embedding.T + self.params["bias"]
        return x @ self.params["output"]["kernel"] + self.params["output"]["bias"]


def loop_losses(params: Any, tokens: np.ndarray) -> np.ndarray:
    """The loss of each token but the first."""
    loop, losses = Loop(params), []
    for token, said in itertools.pairwise(tokens):
        scores = loop.scores(token)
        losses.append(np.log(np.sum(np.exp(scores - scores[said]))))
    return np.array(losses)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("chunk", [500, 9])
def test_the_loss_of_a_text_is_that_of_a_loop(monkeypatch, tied, chunk):
    """Read at once, and in parts of which the last is not full."""
    monkeypatch.setattr("nets.language.CHUNK", chunk)
    net, tokens = make(tied=tied), text(41)
    params = variables(tied)["params"]
    assert ("output" in params) != tied
    loss = jax.jit(functools.partial(text_losses, net))(params, jnp.asarray(tokens))
    np.testing.assert_allclose(loss, loop_losses(params, tokens).sum(), rtol=1e-5)


@pytest.mark.slow
def test_windows_with_carries_are_one_long_sequence():
    net, tokens = make(), jnp.asarray(text(24).astype(np.int32).reshape(2, 12))
    params = {"params": variables()["params"]}
    read = jax.jit(functools.partial(net.apply, train=False, method=LanguageModel.read))
    whole, last = read(params, tokens, None)
    parts, carries = [], None
    for start in (0, 4, 8):
        scores, carries = read(params, tokens[:, start : start + 4], carries)
        parts.append(scores)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), carries, last)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_the_likeliest_text_is_that_of_a_loop(tied):
    net, prompt = make(tied=tied), text(5, seed=1).astype(np.int32)
    params = variables(tied)["params"]
    write = jax.jit(functools.partial(generate, net, length=20, temperature=0))
    written = write({"params": params}, jnp.asarray(prompt), jax.random.key(0))
    loop = Loop(params)
    scores = [loop.scores(token) for token in prompt][-1]
    expected = []
    for _ in range(20):
        expected.append(int(np.argmax(scores)))
        scores = loop.scores(expected[-1])
    assert written.tolist() == expected


def test_temperature_scales_the_scores_of_what_is_drawn():
    """First tokens of many draws, against the softmax of the loop's scores."""
    net, prompt = make(), text(5, seed=1).astype(np.int32)
    params = variables()["params"]
    loop = Loop(params)
    scores = [loop.scores(token) for token in prompt][-1]
    write = functools.partial(generate, net, length=1, temperature=0.5)
    drawn = jax.jit(jax.vmap(write, in_axes=(None, None, 0)))(
        {"params": params}, jnp.asarray(prompt), jax.random.split(jax.random.key(3), 4000)
    )
    shares = np.bincount(np.asarray(drawn)[:, 0], minlength=VOCABULARY) / 4000
    expected = np.exp(scores / 0.5) / np.exp(scores / 0.5).sum()
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_init_makes_the_carries_of_training():
    carries = variables()["carry"]["layers"]
    shapes = jax.tree.map(np.shape, carries)
    assert shapes == (((3, 5), (3, 5)), ((3, WIDTH), (3, WIDTH)))
    assert not any(leaf.any() for leaf in jax.tree.leaves(carries))
    init = functools.partial(make().init, train=False)
    without = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 3), jnp.int32))
    assert set(without) == {"params"}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["dropout", "stack_dropout"])
def test_dropout_is_drawn_in_training_alone(place):
    tokens, params = jnp.asarray(text(12).astype(np.int32)[None]), variables()["params"]

    def scores(net: LanguageModel, train: bool) -> Any:
        rngs = {"dropout": jax.random.key(1)}
        apply = jax.jit(functools.partial(net.apply, train=train))
        return apply({"params": params}, tokens, rngs=rngs)

    expected = scores(make(), False)
    net = make(**{place: 0.5})
    np.testing.assert_array_equal(scores(net, False), expected)
    assert not np.allclose(scores(net, True), expected)
