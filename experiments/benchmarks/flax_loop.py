"""A plain Flax training loop: `jit(train_step)`, one replica after another."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from experiments.benchmarks.problem import (
    LEARNING_RATE,
    Arrays,
    Problem,
    Side,
    Start,
    standardised,
)


class Net(nn.Module):
    """Two hidden layers with ReLU."""

    width: int
    classes: int

    @nn.compact
    def __call__(self, x):
        """Class scores."""
        x = nn.relu(nn.Dense(self.width)(x))
        x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.classes)(x)


def train_step(state: TrainState, data: Arrays, rows: jax.Array) -> tuple[TrainState, jax.Array]:
    """One update on these rows; the new state and the loss."""
    x = (data.x[rows].astype(jnp.float32) / 255 - data.mean[None]) * data.scale[None]

    def loss_fn(params):
        scores = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, data.y[rows]).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def make_state(problem: Problem, seed: int) -> TrainState:
    """A fresh replica."""
    net = Net(problem.width, problem.classes)
    params = net.init(jax.random.key(seed), jnp.zeros((1, problem.inputs)))["params"]
    return TrainState.create(apply_fn=net.apply, params=params, tx=optax.adam(LEARNING_RATE))


def prepare(problem: Problem) -> Side:
    """Compiles the step; all replicas share it."""
    data = Arrays(*map(jnp.asarray, standardised(problem)))  # type: ignore[arg-type]
    states = [make_state(problem, seed) for seed in range(problem.replicas)]
    states = [state.replace(apply_fn=states[0].apply_fn, tx=states[0].tx) for state in states]
    rows = jnp.zeros(problem.batch, jnp.int32)
    start = time.perf_counter()
    step = jax.jit(train_step, donate_argnums=0).lower(states[0], data, rows).compile()
    seconds = time.perf_counter() - start
    random = np.random.default_rng(0)

    def epoch() -> None:
        for replica, state in enumerate(states):
            order = random.permutation(problem.rows).astype(np.int32)
            for rows in order[: problem.steps * problem.batch].reshape(problem.steps, -1):
                state, _ = step(state, data, rows)
            states[replica] = jax.block_until_ready(state)

    epoch()
    return Side(epoch, seconds, f"{jax.device_count()} device")


def losses(problem: Problem, start: Start, steps: int) -> np.ndarray:
    """The loss at each of the first steps, `[steps]`."""
    layers = {
        f"Dense_{i}": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
        for i, (kernel, bias) in enumerate(start.layers)
    }
    net = Net(problem.width, problem.classes)
    state = TrainState.create(apply_fn=net.apply, params=layers, tx=optax.adam(LEARNING_RATE))
    data, found = Arrays(*map(jnp.asarray, start.arrays)), []  # type: ignore[arg-type]
    step = jax.jit(train_step)
    for rows in start.order[:steps]:
        state, loss = step(state, data, jnp.asarray(rows))
        found.append(float(loss))
    return np.array(found)
