"""How far back a net of the experiment `memory` learns from, and what its gates do over time."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import memory_tasks as tasks
from experiments.engine import drawing
from experiments.engine.experiment import Data, Tree
from experiments.engine.pictures import Picture
from nets.losses import softmax_cross_entropy
from nets.over_time import carry_gradients, reach

ROWS = 100
"""Test sequences that a gradient is a mean over."""
EXPLODED = 100.0
"""Gradient at the first step over that at the last, from which it counts as exploding."""


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """How far back the loss of the last answer reaches in the last layer (`nets.over_time`).

    `gradient_per_step`: the factor of its gradient with each step back. `gradient_steps`: steps
    back at which the gradient is at least 1 % of the largest. Nothing of nets that also read
    backwards, which have every input at hand.
    """
    if config.layers.bidirectional:
        return {}
    norms = last_gradients(config, net, params, model_state, data)
    return {f"gradient_{name}": value for name, value in reach(norms).items()}


def remark(config: Any, measured: Mapping[str, float]) -> str:
    """Whether a net forgets, remembers, or its gradient explodes (after Bengio et al. 1994)."""
    steps, factor = tasks.steps(config.data), measured["gradient_per_step"]
    reached = round(measured["gradient_steps"])
    if factor > 1 and (steps - 1) * math.log(factor) > math.log(EXPLODED):
        return f"explodes: each step back multiplies the last answer's gradient by {factor:.4g}"
    if reached >= steps:
        return f"remembers: all {steps} steps back, at least 1 % of the gradient is left"
    return f"forgets: more than {reached} of {steps} steps back, under 1 % of the gradient is left"


def last_gradients(config: Any, net: Any, params: Tree, model_state: Tree, data: Data) -> jax.Array:
    """[steps]: the gradient of the last answer's loss by the carries, over test sequences."""
    batch = _tested(config, data)

    def losses(nudges: Tree) -> jax.Array:
        variables = {"params": params, **model_state, "nudges": nudges}
        outputs = net.apply(variables, batch["x"], train=False)
        if config.data.task == "adding":
            return tasks.errors(config.data, outputs, batch["y"])[0]
        return softmax_cross_entropy(outputs[:, -1], batch["y"][:, -1])

    rows, steps = batch["x"].shape[:2]
    carry = net.stack.cell.carry(rows, net.stack.widths[-1], jnp.float32)
    return carry_gradients(losses, ("stack", f"layer_{len(net.stack.widths)}"), carry, steps)


def gates(config: Any, net: Any, params: Tree, model_state: Tree, data: Data) -> dict[str, Any]:
    """[steps] by name, such as `layer_1_forget`: how far a gate is open at each step, the mean over
    test sequences and units."""
    variables = {"params": params, **model_state}
    batch = _tested(config, data)
    _, found = net.apply(variables, batch["x"], train=False, mutable=["gates"])
    layers = found.get("gates", {}).get("stack", {})
    return {
        f"{layer}_{gate}": jnp.mean(opening, axis=(1, 2))
        for layer, opened in layers.items()
        for gate, opening in opened.items()
    }


def _tested(config: Any, data: Data) -> dict[str, jax.Array]:
    rows = jnp.arange(min(ROWS, data.splits["test"]["y"].shape[0]), dtype=jnp.int32)
    return tasks.sequences(config.data, data.splits["test"], rows)


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """Bars from the first step to the last: for each gate how far it is open, from 0 to 1, and
    `gradient_over_time`, the norms behind `measure` where there are any."""
    params, model_state, test = jax.tree.map(
        jnp.asarray, (params, model_state, dict(data.splits["test"]))
    )
    tested = Data({"test": test}, {})
    found = {}
    if not config.layers.bidirectional:
        norms = np.asarray(last_gradients(config, net, params, model_state, tested))
        found["gradient_over_time"] = _bars(norms, float(drawing.finite(norms).max()))
    opened = gates(config, net, params, model_state, tested)
    return found | {f"{name}_over_time": _bars(np.asarray(o), 1.0) for name, o in opened.items()}


def _bars(values: np.ndarray, high: float) -> Picture:
    return Picture(values, drawing.edged(drawing.bars(values, 0.0, high, (96, 4))))
