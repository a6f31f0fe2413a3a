"""Which parameters of a training are evaluated: the last, the best so far, or their average."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import optax

from experiments.engine.errors import UsageError
from experiments.engine.statistics import Metric

Tree = Any
RUNNING = -1


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which parameters are evaluated in the end.

    Attributes:
        keep: last, or best: those with the best validation score of all evaluations.
        patience: evaluations in a row without a better validation score after which a replica
            stops (with best).
        average: decay of an exponential moving average of the parameters, bias-corrected; where
            it is set, every evaluation is one of the average. Batch statistics are not averaged.
    """

    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    average: float | None = None


def check_selection(config: Selection) -> None:
    """Refuses values that cannot work. Raises `UsageError`."""
    if config.patience is not None and config.keep != "best":
        raise UsageError("--patience stops at the best parameters: it needs --keep best")
    if config.patience is not None and config.patience < 1:
        raise UsageError(f"--patience {config.patience}: at least one evaluation; none: never stop")
    if config.average is not None and not 0 <= config.average < 1:
        raise UsageError(f"--average {config.average}: must be at least 0 and below 1")


@flax.struct.dataclass
class Best:
    """The best of the evaluations so far; arrays only.

    Attributes:
        params, model_state: what was evaluated then.
        scores: validation metrics then.
        step: int32 scalar, updates done then; -1 before the first evaluation.
        waited: int32 scalar, evaluations since.
        stopped: int32 scalar, updates done when patience ran out; -1 while it has not.
    """

    params: Tree
    model_state: Tree
    scores: Tree
    step: Tree
    waited: Tree
    stopped: Tree


def start_average(config: Selection, params: Tree) -> Tree:
    """The average before the first step; () where none is kept."""
    return () if config.average is None else optax.ema(config.average).init(params)


def step_average(config: Selection, params: Tree, average: Tree) -> Tree:
    """The average after an update that led to `params`."""
    if config.average is None:
        return average
    return optax.ema(config.average).update(params, average)[1]


def averaged(config: Selection, params: Tree, average: Tree) -> Tree:
    """The parameters an evaluation sees.

    The average is debiased as in Adam (Kingma & Ba 2015, section 3 and 7.2): after t updates it is
    the mean of the t iterates with weights decay^(t - i). Before the first it is `params`.
    """
    if config.average is None:
        return params
    count = jnp.maximum(average.count, 1)

    def debias(mean: jax.Array, first: jax.Array) -> jax.Array:
        weight = (1 - jnp.asarray(config.average, jnp.float32) ** count).astype(mean.dtype)
        return jnp.where(average.count == 0, first, mean / weight)

    return jax.tree.map(debias, average.ema, params)


def start_best(
    config: Selection, params: Tree, model_state: Tree, metrics: Sequence[Metric]
) -> Tree:
    """Before the first evaluation; () where the last parameters are kept.

    Args:
        metrics: what an evaluation measures.
    """
    if config.keep == "last":
        return ()
    unknown = {metric.name: jnp.full((), jnp.nan, jnp.float32) for metric in metrics}
    never = jnp.full((), RUNNING, jnp.int32)
    return Best(params, model_state, unknown, never, jnp.zeros((), jnp.int32), never)


def note_best(
    config: Selection, best: Tree, step: jax.Array, evaluated: tuple[Tree, Tree], scores: Tree,
    metric: Metric, alive: jax.Array,
) -> Tree:  # fmt: skip
    """After an evaluation: takes it over where its score of `metric` is better than any before.

    Args:
        step: updates done.
        evaluated: the parameters and model state that were scored.
        scores: the validation metrics.
        alive: whether the replica still trains. One that diverged has no better score any more: its
            patience runs out, too, so that no group trains on for it alone.
    """
    if config.keep == "last":
        return best
    scores = {name: scores[name].astype(jnp.float32) for name in best.scores}
    gain = metric.direction * (scores[metric.name] - best.scores[metric.name])
    first = best.step == RUNNING
    better = alive & jnp.isfinite(scores[metric.name]) & (first | (gain > 0))
    running = best.stopped == RUNNING
    waited = jnp.where(better, 0, best.waited + running.astype(jnp.int32))
    stopped = best.stopped
    if config.patience is not None:
        stopped = jnp.where(running & (waited >= config.patience), step, stopped)
    old = (best.params, best.model_state, best.scores, best.step)
    new = (*evaluated, scores, step)
    kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), new, old)
    return Best(*kept, waited=waited, stopped=stopped)
