"""A small tree of every kind of parameter, trained by an optimizer and by a NumPy reference."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.optimizers import Optimizer, make_optimizer

STEPS = 5
SHAPES = {
    "stem": {"kernel": (3, 3, 3, 4)},
    "conv": {"kernel": (3, 2, 5, 4), "bias": (4,)},
    "norm": {"scale": (4,), "bias": (4,)},
    "wide": {"kernel": (3, 6)},
    "words": {"embedding": (7, 3)},
    "output": {"kernel": (4, 2), "bias": (2,)},
}
ORTHOGONALISED = ("conv/kernel", "wide/kernel")
Arrays = dict[str, np.ndarray]


def draw(seed: int) -> Any:
    random = np.random.default_rng(seed)
    return {
        layer: {name: random.normal(size=shape) for name, shape in shapes.items()}
        for layer, shapes in SHAPES.items()
    }


START, GRADIENTS = draw(0), [draw(seed) for seed in range(1, STEPS + 1)]


def named(tree: Any) -> Arrays:
    """The leaves in float64, by `layer/name`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf, np.float64)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def single(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def train(config: Optimizer, floats: dict[str, jax.Array], total: int = STEPS) -> Arrays:
    """`STEPS` updates with traced rates, one lane per entry of `floats`."""
    return named(_trained(config, total, floats))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _trained(config: Optimizer, total: int, floats: dict[str, jax.Array]) -> Any:
    def one(floats: dict[str, jax.Array]) -> Any:
        optimizer = make_optimizer(dataclasses.replace(config, **floats), total)

        def step(carry: Any, gradient: Any) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        gradients = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(single, GRADIENTS))
        params = single(START)
        return jax.lax.scan(step, (params, optimizer.init(params)), gradients)[0][0]

    return jax.vmap(one)(floats)


def assert_lanes_match(config: Optimizer, lanes: list[dict[str, float]]) -> None:
    """Traced rates side by side, each lane against the reference at its rates."""
    floats = {name: jnp.array([lane[name] for lane in lanes]) for name in lanes[0]}
    trained = train(config, floats)
    for index, lane in enumerate(lanes):
        for name, want in reference(dataclasses.replace(config, **lane)).items():
            np.testing.assert_allclose(
                trained[name][index], want, rtol=2e-5, atol=5e-6, err_msg=f"{name} {lane}"
            )


def schedule(config: Optimizer, step: int, total: int) -> float:
    """The factor by its definition, in plain Python."""
    warm = round(config.warmup * total)
    after = min(max((step - warm) / max(total - warm, 1), 0), 1)
    rise = min((step + 1) / (warm + 1), 1)
    if config.start_factor is not None and warm:
        rise = np.interp(step, [0, warm], [config.start_factor, 1])
    drops = sum(after + 1e-9 >= share for share in config.step_at)
    fall = {
        "constant": 1.0,
        "cosine": config.end_factor + (1 - config.end_factor) * (1 + math.cos(math.pi * after)) / 2,
        "linear": np.interp(after, [0, 1], [1, config.end_factor]),
        "triangle": np.interp(after, [0, 1], [1, config.end_factor]),
        "step": config.step_factor**drops,
    }[config.schedule]
    return float(fall * rise)


def reference(config: Optimizer) -> Arrays:
    """The parameters after `STEPS` updates: a rate and a decay per parameter, as in PyTorch."""
    params = named(START)
    memory = {name: np.zeros((2, *leaf.shape)) for name, leaf in params.items()}
    for step in range(STEPS):
        for name, g in clipped(config, named(GRADIENTS[step])).items():
            is_kernel = name.endswith("kernel")
            factor = 1.0 if is_kernel or config.bias_rate is None else config.bias_rate
            decays = is_kernel or config.decay_on == "all"
            decay = (config.weight_decay or 0.0) / factor if decays else 0.0
            rate = config.learning_rate * factor * schedule(config, step, STEPS)
            old = params[name]
            coupled = config.decay_form == "coupled"
            moved = direction(config, name, g + decay * old if coupled else g, memory[name], step)
            params[name] = old - rate * (moved if coupled else moved + decay * old)
    return params


def clipped(config: Optimizer, grads: Arrays) -> Arrays:
    if config.clip_value is not None:
        grads = {k: np.minimum(np.maximum(g, -config.clip_value), config.clip_value)
                 for k, g in grads.items()}  # fmt: skip
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads.values()))
    if config.clip is not None and norm > config.clip:
        grads = {k: g * config.clip / norm for k, g in grads.items()}
    return grads


def direction(config: Optimizer, name: str, g: np.ndarray, memory: np.ndarray, step: int) -> Any:
    """One step of an optimizer at rate 1, from its paper; `memory` holds its two averages."""
    m, v = config.momentum, config.second_moment
    if config.momentum_after is not None and step >= round(config.warmup * STEPS):
        m = config.momentum_after
    kind = config.optimizer
    if kind == "muon" and name not in ORTHOGONALISED:
        kind, m = "adam", 0.9
    match kind:
        case "sgd":
            return g
        case "momentum" | "nesterov" | "muon":  # Sutskever et al. 2013, as PyTorch has it
            memory[0] = m * memory[0] + g
            step_of = memory[0] if kind == "momentum" else g + m * memory[0]
            return orthogonal(step_of) if kind == "muon" else step_of
        case "adam" | "adamw":  # Kingma & Ba 2015, algorithm 1
            memory[0] = m * memory[0] + (1 - m) * g
            memory[1] = v * memory[1] + (1 - v) * g**2
            mean = memory[0] / (1 - m ** (step + 1))
            return mean / (np.sqrt(memory[1] / (1 - v ** (step + 1))) + 1e-8)
        case _:  # Tieleman & Hinton 2012, and with momentum as PyTorch has it
            memory[1] = v * memory[1] + (1 - v) * g**2
            scaled = g / (np.sqrt(memory[1]) + 1e-8)
            memory[0] = (m if kind == "rmsprop_momentum" else 0) * memory[0] + scaled
            return memory[0]


def orthogonal(kernel: np.ndarray) -> np.ndarray:
    """Newton-Schulz by its definition on singular values (Jordan et al. 2024), scaled.

    A matrix polynomial a X + b X X'X + c X X'X X'X acts on singular values alone, so the five
    iterations are those of the odd quintic on the numbers of an SVD.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    left, values, right = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    scale = 0.2 * math.sqrt(max(matrix.shape))
    return (scale * (left * values) @ right).reshape(kernel.shape)
