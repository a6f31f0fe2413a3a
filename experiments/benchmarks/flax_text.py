"""A plain Flax language model: `nn.RNN(OptimizedLSTMCell)` under `jit(train_step)`."""

import time
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from experiments.benchmarks.problem import Side
from experiments.benchmarks.text import LEARNING_RATE, TextProblem, random_text

PARTS = {"i": "input", "f": "forget", "o": "output", "g": "cell"}
"""Flax's names of what Ablax keeps side by side, in Ablax's order."""


class Net(nn.Module):
    """Embedding, LSTM layers, a linear layer."""

    problem: TextProblem

    @nn.compact
    def __call__(self, tokens):
        """Scores of each next token."""
        width, vocabulary = self.problem.width, self.problem.vocabulary
        hidden: Any = nn.Embed(vocabulary, width, name="embedding")(tokens)
        for number in range(1, self.problem.layers + 1):
            cell = nn.OptimizedLSTMCell(width, name=f"layer_{number}")
            hidden = nn.RNN(cell)(hidden)
        return nn.Dense(vocabulary, name="output")(hidden)


def train_step(
    state: TrainState, data: tuple[jax.Array, jax.Array], rows: jax.Array
) -> tuple[TrainState, jax.Array]:
    """One update on these rows; the new state and the loss."""
    x, y = (each[rows] for each in data)

    def loss_fn(params):
        scores = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def make_state(problem: TextProblem, params: Any = None) -> TrainState:
    """A fresh net, or one with these parameters."""
    net = Net(problem)
    if params is None:
        tokens = jnp.zeros((1, problem.length), jnp.int32)
        params = net.init(jax.random.key(0), tokens)["params"]
    return TrainState.create(apply_fn=net.apply, params=params, tx=optax.adam(LEARNING_RATE))


def prepare(problem: TextProblem) -> Side:
    """Compiles the step."""
    data: Any = tuple(map(jnp.asarray, random_text(problem, problem.rows)))
    held = [make_state(problem)]
    rows = jnp.zeros(problem.batch, jnp.int32)
    start = time.perf_counter()
    step = jax.jit(train_step, donate_argnums=0).lower(held[0], data, rows).compile()
    seconds = time.perf_counter() - start
    random = np.random.default_rng(0)

    def epoch() -> None:
        state = held.pop()
        order = random.permutation(problem.rows).astype(np.int32)
        for rows in order[: problem.steps * problem.batch].reshape(problem.steps, -1):
            state, _ = step(state, data, rows)
        held.append(jax.block_until_ready(state))

    epoch()
    return Side(epoch, seconds, f"{jax.device_count()} device")


def losses(problem: TextProblem, params: Mapping[str, Any], order: np.ndarray) -> np.ndarray:
    """The loss at each of the first steps, from Ablax's parameters, on rows `[steps, batch]`."""
    state = make_state(problem, _converted(params))
    data: Any = tuple(map(jnp.asarray, random_text(problem, problem.rows + problem.rows // 8)))
    step, found = jax.jit(train_step), []
    for rows in order:
        state, loss = step(state, data, jnp.asarray(rows))
        found.append(float(loss))
    return np.array(found)


def _converted(params: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: dict(params[name]) for name in ("embedding", "output")}
    for name, layer in params["stack"].items():
        heard = (layer["state"]["kernel"], layer["bias"])
        parts: dict[str, Any] = {}
        for place, part in enumerate(PARTS):
            seen, kernel, bias = (
                np.split(each, len(PARTS), axis=-1)[place]
                for each in (layer["inputs"]["kernel"], *heard)
            )
            parts |= {f"i{part}": {"kernel": seen}, f"h{part}": {"kernel": kernel, "bias": bias}}
        found[name] = parts
    return found
