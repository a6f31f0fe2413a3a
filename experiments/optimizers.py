"""Optimizers and schedules as config choices, built from traced rates."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from experiments.engine.values import spell
from experiments.transformations import lookahead, muon
from nets.regularizers import Where, all_but_kernels, kernels

LARGEST = float(jnp.finfo(jnp.float32).max)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How the parameters are updated, and for how long.

    Attributes:
        optimizer: sgd, momentum, nesterov, adam, adamw (the same but for coupled decay, which is
            adam's alone), rmsprop, rmsprop_momentum, or muon (hidden kernels; Adam updates the
            rest).
        learning_rate: the peak rate.
        momentum: of momentum, nesterov, rmsprop_momentum and muon (its authors take 0.95); the
            first-moment decay of adam and adamw.
        momentum_after: takes its place when the warm-up is over (none: it stays).
        second_moment: decay of the squared-gradient average of adam, adamw, both forms of rmsprop
            and muon's Adam.
        weight_decay: share of a parameter that joins its step, times the rate.
        decay_on: what decays, the kernels or all parameters.
        decay_form: decoupled, added to the optimizer's step (AdamW), or coupled, added to the
            gradient (He et al. 2015; PyTorch's SGD, Adam and RMSprop).
        bias_rate: factor on the rate of all parameters but kernels, not on their decay.
        clip: largest global norm of the gradient.
        clip_value: largest absolute value of each number in the gradient, before clip.
        schedule: constant; cosine or linear fall; triangle, a linear rise (warmup) and fall; or
            step.
        warmup: share of the training over which the rate rises linearly to its peak.
        start_factor: share of the peak that the rise begins with; none, it begins just above 0.
        end_factor: share of the peak that cosine, linear and triangle fall towards.
        step_at: shares of the training after the rise at which step lowers the rate.
        step_factor: factor on the rate each time.
        lookahead: steps after which the weights become their slow average, again and again.
        batch_size: examples per step.
        epochs: passes over the training set.
    """

    optimizer: Literal[
        "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "rmsprop_momentum", "muon"
    ] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    momentum_after: float | None = None
    second_moment: float = 0.999
    weight_decay: float | None = None
    decay_on: Literal["kernels", "all"] = "kernels"
    decay_form: Literal["decoupled", "coupled"] = "decoupled"
    bias_rate: float | None = None
    clip: float | None = None
    clip_value: float | None = None
    schedule: Literal["constant", "cosine", "linear", "triangle", "step"] = "cosine"
    warmup: Static[float] = 0.0
    start_factor: float | None = None
    end_factor: float = 0.0
    step_at: tuple[float, ...] = (0.5, 0.75)
    step_factor: Static[float] = 0.1
    lookahead: int | None = None
    batch_size: int = 100
    epochs: int = 20


def check_optimizer(config: Optimizer, train_rows: int) -> None:
    """Refuses values that cannot train.

    Raises:
        UsageError: names the flag and says what it takes.
    """
    _check_numbers(config)
    _check_schedule(config)
    if config.decay_form == "coupled" and config.optimizer in ("adamw", "muon"):
        other = "adam couples it" if config.optimizer == "adamw" else "other optimizers couple it"
        raise UsageError(f"--decay-form coupled: {config.optimizer} decouples its decay; {other}")
    if config.batch_size > train_rows:
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training set ({train_rows} "
            "examples): make it smaller"
        )
    steps = train_rows // config.batch_size * config.epochs
    if config.lookahead is not None and config.lookahead > steps:
        raise UsageError(
            f"--lookahead {config.lookahead}: the training has only {steps} steps, and would end "
            "with the weights it began with"
        )


def _check_numbers(config: Optimizer) -> None:
    positive = {
        "--learning-rate": config.learning_rate, "--bias-rate": config.bias_rate,
        "--clip": config.clip, "--clip-value": config.clip_value,
    }  # fmt: skip
    for flag, value in positive.items():
        if value is not None and not (0 < value < LARGEST):
            raise UsageError(f"{flag} {value}: must be positive")
    shares = {
        "--momentum": config.momentum, "--momentum-after": config.momentum_after,
        "--second-moment": config.second_moment, "--warmup": config.warmup,
    }  # fmt: skip
    for flag, value in shares.items():
        if value is not None and not 0 <= value < 1:
            raise UsageError(f"{flag} {value}: must be at least 0 and below 1")
    if config.weight_decay is not None and not 0 <= config.weight_decay < LARGEST:
        raise UsageError(f"--weight-decay {config.weight_decay}: must not be negative")
    counts = {
        "--batch-size": config.batch_size, "--epochs": config.epochs,
        "--lookahead": config.lookahead,
    }  # fmt: skip
    for flag, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{flag} {count}: at least 1")


def _check_schedule(config: Optimizer) -> None:
    factors = {
        "--start-factor": config.start_factor, "--end-factor": config.end_factor,
        "--step-factor": config.step_factor,
    }  # fmt: skip
    for flag, value in factors.items():
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{flag} {value}: must be at least 0 and at most 1")
    bounds = (0.0, *config.step_at, 1.0)
    if not all(earlier < later for earlier, later in itertools.pairwise(bounds)):
        raise UsageError(
            f"--step-at {spell(config.step_at)}: must be shares between 0 and 1, each larger than "
            "the one before"
        )
    if config.warmup == 0 and config.schedule == "triangle":
        raise UsageError("--schedule triangle: give --warmup, the share at which the rate peaks")
    if config.warmup == 0 and config.start_factor is not None:
        raise UsageError(
            f"--start-factor {config.start_factor}: nothing rises from it; give --warmup"
        )
    if config.momentum_after is None:
        return
    if config.warmup == 0:
        raise UsageError(
            f"--momentum-after {config.momentum_after}: it follows the warm-up; give --warmup"
        )
    if config.optimizer in ("sgd", "rmsprop"):
        raise UsageError(
            f"--momentum-after {config.momentum_after}: {config.optimizer} has no momentum"
        )


def _warm_steps(config: Optimizer, total_steps: int) -> int:
    return round(config.warmup * total_steps)


def schedule_factor(config: Optimizer, step: jax.Array, total_steps: int) -> jax.Array:
    """The schedule as step -> factor in [0, 1] of the peak rate; float32 scalar.

    Where the warm-up ends, at step `round(warmup * total_steps)`, the factor is 1. The schedule
    "step" (by default x 0.1 at 1/2 and 3/4: He et al. 2015) counts whole steps: a share of the
    training in float32 can lie just below 1/2 when half of the steps are done.
    """
    warm = _warm_steps(config, total_steps)
    rest = max(total_steps - warm, 1)
    if config.start_factor is None or not warm:
        rise = jnp.clip((step + 1) / (warm + 1), 0.0, 1.0)
    else:
        risen = jnp.clip(step / warm, 0.0, 1.0)
        rise = risen + config.start_factor * (1 - risen)
    if config.schedule == "constant":
        return rise
    if config.schedule == "step":
        factor = jnp.ones(())
        for drops, share in enumerate(config.step_at, start=1):
            first = warm + math.ceil(share * rest - 1e-6)  # 0.1 * 30 is a little above 3
            factor = jnp.where(step < first, factor, config.step_factor**drops)
        return factor * rise
    after = jnp.clip((step - warm) / rest, 0.0, 1.0)
    left = 0.5 * (1 + jnp.cos(jnp.pi * after)) if config.schedule == "cosine" else 1 - after
    return (left + config.end_factor * (1 - left)) * rise


def make_optimizer(
    config: Optimizer,
    total_steps: int,
    *last: optax.GradientTransformation,
    faster: Where = all_but_kernels,
    of_step: Sequence[optax.GradientTransformation] = (),
) -> optax.GradientTransformation:
    """The optax transformation of a config whose rates may be tracers.

    With a rate `lr` (peak times schedule) and a decay `c`, a kernel w of gradient g moves by
    -lr (direction(g) + c w), or, coupled, by -lr direction(g + c w). Those that `faster` chooses
    have the rate `bias_rate` lr; if they decay, it is by c / `bias_rate`, so that the product of
    rate and decay is the same for all (airbench94 divides the decay of each group by its rate).

    Args:
        faster: the parameters that `bias_rate` acts on.
        of_step: transformations of the step before its look-ahead.
        last: transformations after the step and its look-ahead (a projection such as max-norm).
    """
    parts = []
    if config.clip_value is not None:
        parts.append(optax.clip(config.clip_value))
    if config.clip is not None:
        parts.append(optax.clip_by_global_norm(config.clip))
    if config.decay_form == "coupled":
        parts += _decay(config, faster)
    parts += _direction(config, total_steps)
    if config.decay_form == "decoupled":
        parts += _decay(config, faster)
    if config.bias_rate is not None:
        parts.append(optax.masked(optax.scale(config.bias_rate), _mask(faster)))
    rate = config.learning_rate
    parts.append(
        optax.scale_by_schedule(
            lambda step: -rate * schedule_factor(config, jnp.asarray(step), total_steps)
        )
    )
    parts += of_step
    if config.lookahead is not None:
        parts.append(lookahead(config.lookahead, total_steps))
    return optax.chain(*parts, *last)


def _direction(config: Optimizer, total_steps: int) -> list[optax.GradientTransformation]:
    """What makes a direction of the gradient."""
    first, second = _with_momentum(config, total_steps), config.second_moment
    match config.optimizer:
        case "sgd":
            return []
        case "momentum" | "nesterov":
            nesterov = config.optimizer == "nesterov"
            return [first(lambda decay: optax.trace(decay, nesterov=nesterov))]
        case "adam" | "adamw":
            return [first(lambda decay: optax.scale_by_adam(decay, second))]
        case "rmsprop":
            return [optax.scale_by_rms(second, eps_in_sqrt=False)]
        case "rmsprop_momentum":
            return [optax.scale_by_rms(second, eps_in_sqrt=False), first(optax.trace)]
        case "muon":
            return [first(lambda decay: muon(decay, second))]


def _with_momentum(
    config: Optimizer, total_steps: int
) -> Callable[[Callable[[Any], optax.GradientTransformation]], optax.GradientTransformation]:
    """What hands a transformation its momentum, which may change when the warm-up is over."""
    before, after = config.momentum, config.momentum_after
    if after is None:
        return lambda make: make(before)
    warm = _warm_steps(config, total_steps)

    def momentum(step: jax.Array) -> jax.Array:
        return jnp.where(step < warm, before, after)

    return lambda make: optax.inject_hyperparams(lambda momentum: make(momentum))(momentum)


def _decay(config: Optimizer, faster: Where) -> list[optax.GradientTransformation]:
    """Weight decay before the rates of `make_optimizer` are multiplied in."""
    decay = config.weight_decay
    if decay is None:
        return []
    every = config.decay_on == "all"

    def slower(path: tuple[Any, ...], leaf: Any) -> bool:
        return (every or kernels(path, leaf)) and not faster(path, leaf)

    parts = [optax.add_decayed_weights(decay, mask=_mask(slower))]
    if every:
        share = decay if config.bias_rate is None else decay / config.bias_rate
        parts.append(optax.add_decayed_weights(share, mask=_mask(faster)))
    return parts


def _mask(where: Where) -> Callable[[Any], Any]:
    return functools.partial(jax.tree_util.tree_map_with_path, where)
