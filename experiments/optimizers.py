"""Optimizers and schedules as config choices, built from traced rates."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from experiments.engine.config import Static
from experiments.engine.errors import UsageError

LARGEST = float(jnp.finfo(jnp.float32).max)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How the parameters are updated, and for how long.

    Attributes:
        optimizer: sgd, momentum, nesterov, adam, adamw or rmsprop.
        learning_rate: the peak rate.
        momentum: of momentum and nesterov; the first-moment decay of adam and adamw.
        second_moment: decay of the squared-gradient average of adam, adamw and rmsprop.
        weight_decay: decoupled, times the rate, on kernels (adamw; added to the others' updates).
        clip: largest global norm of the gradient.
        schedule: constant, cosine or linear decay to zero, or step (x 0.1 at 1/2 and 3/4).
        warmup: share of the training over which the rate rises linearly from zero.
        batch_size: examples per step.
        epochs: passes over the training set.
    """

    optimizer: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    second_moment: float = 0.999
    weight_decay: float | None = None
    clip: float | None = None
    schedule: Literal["constant", "cosine", "linear", "step"] = "cosine"
    warmup: Static[float] = 0.0
    batch_size: int = 100
    epochs: int = 20


def check_optimizer(config: Optimizer, train_rows: int) -> None:
    """Refuses values that cannot train.

    Raises:
        UsageError: names the flag and says what it takes.
    """
    positive = {"--learning-rate": config.learning_rate, "--clip": config.clip}
    for flag, value in positive.items():
        if value is not None and not (0 < value < LARGEST):
            raise UsageError(f"{flag} {value}: must be positive")
    shares = {"--momentum": config.momentum, "--second-moment": config.second_moment}
    for flag, value in {**shares, "--warmup": config.warmup}.items():
        if not 0 <= value < 1:
            raise UsageError(f"{flag} {value}: must be at least 0 and below 1")
    if config.weight_decay is not None and not 0 <= config.weight_decay < LARGEST:
        raise UsageError(f"--weight-decay {config.weight_decay}: must not be negative")
    for flag, count in {"--batch-size": config.batch_size, "--epochs": config.epochs}.items():
        if count < 1:
            raise UsageError(f"{flag} {count}: at least 1")
    if config.batch_size > train_rows:
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training set ({train_rows} "
            "examples): make it smaller"
        )


def schedule_factor(config: Optimizer, step: jax.Array, total_steps: int) -> jax.Array:
    """The schedule as step -> factor in [0, 1] of the peak rate; float32 scalar."""
    warm = round(config.warmup * total_steps)
    rise = jnp.clip((step + 1) / (warm + 1), 0.0, 1.0)
    if config.schedule == "constant":
        return rise
    after = jnp.clip((step - warm) / max(total_steps - warm, 1), 0.0, 1.0)
    match config.schedule:
        case "cosine":
            factor = 0.5 * (1 + jnp.cos(jnp.pi * after))
        case "linear":
            factor = 1 - after
        case _:
            factor = jnp.where(after < 0.5, 1.0, jnp.where(after < 0.75, 0.1, 0.01))
    return factor * rise


def make_optimizer(
    config: Optimizer, total_steps: int, *last: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The optax transformation of a config whose rates may be tracers.

    Args:
        last: transformations after the step (a projection such as max-norm).
    """
    parts = [] if config.clip is None else [optax.clip_by_global_norm(config.clip)]
    match config.optimizer:
        case "sgd":
            pass
        case "momentum" | "nesterov":
            nesterov = config.optimizer == "nesterov"
            parts.append(optax.trace(config.momentum, nesterov=nesterov))
        case "adam" | "adamw":
            parts.append(optax.scale_by_adam(config.momentum, config.second_moment))
        case "rmsprop":
            parts.append(optax.scale_by_rms(config.second_moment))
    if config.weight_decay is not None:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=_kernel_mask))
    rate = config.learning_rate
    parts.append(
        optax.scale_by_schedule(
            lambda step: -rate * schedule_factor(config, jnp.asarray(step), total_steps)
        )
    )
    return optax.chain(*parts, *last)


def _kernel_mask(params: optax.Params) -> optax.Params:
    from nets.regularizers import kernels

    return jax.tree_util.tree_map_with_path(kernels, params)
