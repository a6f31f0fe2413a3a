"""Losses and weight penalties as config choices."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from experiments.engine.errors import UsageError
from experiments.engine.experiment import Tree
from nets import losses
from nets.regularizers import kernels, l1, l2, output_kernels


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        loss: cross_entropy; hinge (Weston-Watkins), crammer_singer or squared_hinge
            (one-vs-rest); sigmoid (one-vs-rest cross-entropy) or squared_error.
        hinge_margin: margin of the hinge losses.
        label_smoothing: of cross_entropy.
        l1: strength of sum |w| over all kernels; with l2, the elastic penalty.
        l2: strength of sum w^2 over all kernels.
        penalise: the kernels that l1 and l2 act on: all, or that of the output layer.
        max_norm: largest norm of a unit's incoming weights, enforced after every step.
    """

    loss: Literal[
        "cross_entropy", "hinge", "crammer_singer", "squared_hinge", "sigmoid", "squared_error"
    ] = "cross_entropy"
    hinge_margin: float = 1.0
    label_smoothing: float = 0.0
    l1: float | None = None
    l2: float | None = None
    penalise: Literal["all", "output"] = "all"
    max_norm: float | None = None


def example_loss(config: Objective) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The loss as (logits [B, K], labels [B]) -> [B]."""
    match config.loss:
        case "hinge":
            return functools.partial(losses.multiclass_hinge, margin=config.hinge_margin)
        case "crammer_singer":
            return functools.partial(losses.crammer_singer_hinge, margin=config.hinge_margin)
        case "squared_hinge":
            return functools.partial(losses.one_vs_rest_squared_hinge, margin=config.hinge_margin)
        case "sigmoid":
            return losses.sigmoid_cross_entropy
        case "squared_error":
            return losses.one_hot_squared_error
        case _:
            smoothing = config.label_smoothing
            return functools.partial(losses.softmax_cross_entropy, label_smoothing=smoothing)


def penalty(config: Objective, params: Tree) -> jax.Array:
    """The weight penalty that the loss is minimised with; float32 scalar."""
    where = output_kernels if config.penalise == "output" else kernels
    total = jnp.zeros(())
    if config.l1 is not None:
        total = total + config.l1 * l1(params, where)
    if config.l2 is not None:
        total = total + config.l2 * l2(params, where)
    return total


def check_objective(config: Objective) -> None:
    """Refuses values that cannot train.

    Raises:
        UsageError: names the flag and says what it takes.
    """
    strengths = {"--l1": config.l1, "--l2": config.l2, "--max-norm": config.max_norm}
    for flag, value in strengths.items():
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"{flag} {value}: must not be negative")
    if config.max_norm == 0:
        raise UsageError("--max-norm 0: must be positive; none switches it off")
    if not 0 < config.hinge_margin < float("inf"):
        raise UsageError(f"--hinge-margin {config.hinge_margin}: must be positive")
    if not 0 <= config.label_smoothing < 1:
        raise UsageError(
            f"--label-smoothing {config.label_smoothing}: must be at least 0 and below 1"
        )
