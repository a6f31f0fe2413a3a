"""Optimizers and schedules against NumPy loops in float64, many traced rates at once."""

import dataclasses
import math
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.engine.errors import UsageError
from experiments.optimizers import Optimizer, check_optimizer, make_optimizer, schedule_factor
from nets.regularizers import max_norm

STEPS = 5


def draw(seed: int) -> Any:
    random = np.random.default_rng(seed)
    return {
        "a": {"kernel": random.normal(size=(3, 2)), "bias": random.normal(size=2)},
        "b": {"kernel": random.normal(size=(2, 2))},
    }


START, GRADIENTS = draw(0), [draw(seed) for seed in range(1, STEPS + 1)]


def flat(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


def schedule(kind: str, warmup: float, step: int, total: int) -> float:
    """The factor by its definition, in plain Python."""
    warm = round(warmup * total)
    after = min(max((step - warm) / max(total - warm, 1), 0), 1)
    factor = {
        "constant": 1.0,
        "cosine": (1 + math.cos(math.pi * after)) / 2,
        "linear": 1 - after,
        "step": 1.0 if after < 0.5 else 0.1 if after < 0.75 else 0.01,
    }[kind]
    return factor * min((step + 1) / (warm + 1), 1)


def reference(config: Optimizer) -> list[np.ndarray]:
    """The parameters after `STEPS` updates, leaf by leaf."""
    params = flat(START)
    is_kernel = [leaf.ndim == 2 for leaf in params]
    first = [np.zeros_like(p) for p in params]
    second = [np.zeros_like(p) for p in params]
    m, v = config.momentum, config.second_moment
    for step in range(STEPS):
        grads = flat(GRADIENTS[step])
        norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads))
        if config.clip is not None and norm > config.clip:
            grads = [g * config.clip / norm for g in grads]
        rate = config.learning_rate * schedule(config.schedule, config.warmup, step, STEPS)
        for i, g in enumerate(grads):
            match config.optimizer:
                case "sgd":
                    direction = g
                case "momentum" | "nesterov":
                    first[i] = m * first[i] + g
                    direction = g + m * first[i] if config.optimizer == "nesterov" else first[i]
                case "adam" | "adamw":
                    first[i] = m * first[i] + (1 - m) * g
                    second[i] = v * second[i] + (1 - v) * g**2
                    mean = first[i] / (1 - m ** (step + 1))
                    direction = mean / (np.sqrt(second[i] / (1 - v ** (step + 1))) + 1e-8)
                case _:
                    second[i] = v * second[i] + (1 - v) * g**2
                    direction = g / np.sqrt(second[i] + 1e-8)
            if config.weight_decay is not None and is_kernel[i]:
                direction = direction + config.weight_decay * params[i]
            params[i] = params[i] - rate * direction
    return params


def single(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def train(config: Optimizer, floats: dict[str, jax.Array], total: int = STEPS) -> Any:
    """`STEPS` updates with traced rates, one lane per entry of `floats`."""

    def one(floats: dict[str, jax.Array]) -> Any:
        optimizer = make_optimizer(dataclasses.replace(config, **floats), total)
        params = single(START)
        state = optimizer.init(params)
        for gradient in GRADIENTS:
            updates, state = optimizer.update(single(gradient), state, params)
            params = optax.apply_updates(params, updates)
        return params

    return jax.jit(jax.vmap(one))(floats)


def assert_lanes_match(config: Optimizer, lanes: list[dict[str, float]]) -> None:
    floats = {name: jnp.array([lane[name] for lane in lanes]) for name in lanes[0]}
    trained = train(config, floats)
    for index, lane in enumerate(lanes):
        expected = reference(dataclasses.replace(config, **lane))
        for got, want in zip(flat(trained), expected, strict=True):
            np.testing.assert_allclose(got[index], want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", get_args(get_type_hints(Optimizer)["optimizer"]))
def test_every_optimizer_against_numpy_with_traced_rates(name):
    rates = [0.003, 0.1]
    lanes = [
        {"learning_rate": rate, "momentum": m, "second_moment": v, "weight_decay": w, "clip": c}
        for rate, m, v, w, c in zip(
            rates, [0.9, 0.5], [0.99, 0.9], [0.0, 0.3], [1e6, 0.7], strict=True
        )
    ]
    assert_lanes_match(
        Optimizer(optimizer=name, schedule="constant", weight_decay=0.0, clip=1.0), lanes
    )


def test_options_that_are_off_are_not_there():
    on = make_optimizer(Optimizer(optimizer="sgd", clip=1.0, weight_decay=0.1), 3)
    off = make_optimizer(Optimizer(optimizer="sgd"), 3)
    params = single(START)
    assert len(on.init(params)) == 3 and len(off.init(params)) == 1  # type: ignore[arg-type]
    assert_lanes_match(Optimizer(optimizer="sgd", schedule="constant"), [{"learning_rate": 0.1}])


@pytest.mark.parametrize("kind", get_args(get_type_hints(Optimizer)["schedule"]))
@pytest.mark.parametrize("warmup", [0.0, 0.4])
def test_every_schedule_scales_the_traced_rate(kind, warmup):
    config = Optimizer(optimizer="momentum", schedule=kind, warmup=warmup)
    assert_lanes_match(config, [{"learning_rate": 0.1}, {"learning_rate": 0.02}])


@pytest.mark.parametrize("kind", get_args(get_type_hints(Optimizer)["schedule"]))
@pytest.mark.parametrize(("warmup", "total"), [(0.0, 1), (0.0, 40), (0.1, 40), (0.95, 40)])
def test_schedule_factors_lie_in_0_1_and_start_and_end_where_they_should(kind, warmup, total):
    config = Optimizer(schedule=kind, warmup=warmup)
    steps = jnp.arange(total + 10)
    factors = np.asarray(jax.jit(jax.vmap(lambda s: schedule_factor(config, s, total)))(steps))
    assert factors.dtype == np.float32
    assert (factors >= 0).all() and (factors <= 1).all() and factors[:total].min() > 0
    expected = [schedule(kind, warmup, step, total) for step in range(total + 10)]
    np.testing.assert_allclose(factors, expected, rtol=1e-5, atol=1e-6)
    warm = round(warmup * total)
    assert factors[warm] == 1.0
    assert (np.diff(factors[: warm + 1]) > 0).all() and (np.diff(factors[warm:]) <= 0).all()


def test_the_projection_comes_after_the_step():
    limit = 0.5
    optimizer = make_optimizer(Optimizer(optimizer="sgd", learning_rate=0.1), 5, max_norm(limit))
    params = single(START)
    updates, _ = optimizer.update(single(GRADIENTS[0]), optimizer.init(params), params)
    new = optax.apply_updates(params, updates)
    for leaf in jax.tree.leaves(new):
        if leaf.ndim == 2:
            assert np.linalg.norm(leaf, axis=0).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "--learning-rate -1.0: must be positive"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: must be positive"),
        ({"learning_rate": math.nan}, "--learning-rate nan: must be positive"),
        ({"learning_rate": math.inf}, "--learning-rate inf: must be positive"),
        ({"clip": 0.0}, "--clip 0.0: must be positive"),
        ({"momentum": 1.0}, "--momentum 1.0: must be at least 0 and below 1"),
        ({"second_moment": -0.1}, "--second-moment -0.1: must be at least 0 and below 1"),
        ({"warmup": 1.5}, "--warmup 1.5: must be at least 0 and below 1"),
        ({"weight_decay": -1e-3}, "--weight-decay -0.001: must not be negative"),
        ({"batch_size": 0}, "--batch-size 0: at least 1"),
        ({"epochs": 0}, "--epochs 0: at least 1"),
        ({"batch_size": 51}, "--batch-size 51 is larger than the training set (50 examples)"),
    ],
)
def test_values_that_cannot_train_are_refused(changes, message):
    with pytest.raises(UsageError) as caught:
        check_optimizer(dataclasses.replace(Optimizer(batch_size=10), **changes), 50)
    assert str(caught.value).startswith(message)


def test_the_defaults_can_train():
    check_optimizer(Optimizer(clip=1.0, weight_decay=0.0), 100)
