"""How far back a net of the experiment `memory` learns from: the gradient over time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import memory_tasks as tasks
from experiments.engine import drawing
from experiments.engine.experiment import Data, Tree
from experiments.engine.pictures import Picture
from nets.losses import softmax_cross_entropy
from nets.over_time import reach, state_gradients

ROWS = 100
"""Test sequences that a gradient is a mean over."""


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """How far back the loss of the last answer reaches in the last layer (`nets.over_time`).

    `gradient_per_step`: the factor of its gradient with each step back. `gradient_steps`: steps
    back at which the gradient is at least 1 % of the largest.
    """
    norms = last_gradients(config, net, params, model_state, data)
    return {f"gradient_{name}": value for name, value in reach(norms).items()}


def last_gradients(config: Any, net: Any, params: Tree, model_state: Tree, data: Data) -> jax.Array:
    """[steps]: the gradient of the last answer's loss by the states, over test sequences."""
    rows = jnp.arange(min(ROWS, data.splits["test"]["y"].shape[0]), dtype=jnp.int32)
    batch = tasks.sequences(config.data, data.splits["test"], rows)

    def losses(nudges: Tree) -> jax.Array:
        variables = {"params": params, **model_state, "nudges": nudges}
        outputs = net.apply(variables, batch["x"], train=False)
        if config.data.task == "adding":
            return tasks.errors(config.data, outputs, batch["y"])[0]
        return softmax_cross_entropy(outputs[:, -1], batch["y"][:, -1])

    width = config.layers.width
    shape = (batch["x"].shape[1], len(rows), width[-1])
    return state_gradients(losses, ("stack", f"layer_{len(width)}"), shape)


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """`gradient_over_time`: the norms behind `measure`, as bars from the first step to the last."""
    device = jax.tree.map(jnp.asarray, (params, model_state, dict(data.splits["test"])))
    tested = Data({"test": device[2]}, {})
    norms = np.asarray(last_gradients(config, net, device[0], device[1], tested))
    pixels = drawing.bars(norms, 0.0, max(float(norms.max()), 1e-30), (96, 4))
    return {"gradient_over_time": Picture(norms, drawing.edged(pixels))}
