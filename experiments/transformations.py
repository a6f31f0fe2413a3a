"""Updates that optax has no single function for: Muon beside Adam, and a look-ahead average."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nets.regularizers import Where, kernels, output_kernels

Tree = Any
UPDATE_RMS = 0.2
"""Root mean square of Muon's updates: that of AdamW's (Liu et al. 2025, section 2.2)."""
ADAM_MOMENTUM = 0.9
"""First-moment decay of what Muon leaves to Adam, as in its authors' code."""
IMAGE_CHANNELS = 4
"""A convolution that reads at most as many channels is taken for a net's first."""
LOOKAHEAD_DECAY = 0.95
"""Share of the slow weights that is kept per step, at the end of the training (airbench94)."""


def muon(momentum: float, second_moment: float) -> optax.GradientTransformation:
    """Momentum whose matrices are orthogonalised (Jordan et al. 2024, kellerjordan.github.io).

    The momentum is Nesterov's, m <- momentum m + g, and g + momentum m goes through five
    Newton-Schulz iterations (`optax.contrib.scale_by_muon`; its own average is switched off,
    because it corrects the bias of the start, which the authors' code does not). A kernel
    [*window, in, out] is a matrix of (window in) x out, and its update is scaled by
    0.2 sqrt(max(rows, columns)) (optax's `consistent_rms`; Liu et al. 2025, arXiv 2502.16982,
    section 2.2): entries are then as large as AdamW's, so one learning rate serves both parts.

    As the authors advise, Adam updates everything else: biases, scales, embeddings, the layer
    called "output", and a net's first convolution. A tree of parameters does not say which one is
    first: any convolution that reads at most 4 channels, as of an image, is taken for it. (One
    without shared weights, [*positions, window in, out], never is, and is one matrix as well.)

    Args:
        momentum: of the matrices; may be a tracer, like `second_moment`.
        second_moment: decay of Adam's squared-gradient average; its first-moment decay is 0.9.
    """
    matrices = optax.chain(
        optax.trace(momentum, nesterov=True),
        optax.contrib.scale_by_muon(
            beta=0.0, nesterov=False, weight_dimension_numbers=_as_matrices
        ),
        optax.stateless(lambda updates, params: jax.tree.map(_to_common_size, updates)),
    )
    adam = optax.scale_by_adam(ADAM_MOMENTUM, second_moment)
    return optax.partition({"matrices": matrices, "adam": adam}, _parts)


def _parts(params: Tree) -> Tree:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: "matrices" if _is_hidden(path, leaf) else "adam", params
    )


def _is_hidden(path: tuple[Any, ...], leaf: jax.Array) -> bool:
    """Chooses the kernels between a net's first convolution and its output layer."""
    if not kernels(path, leaf) or output_kernels(path, leaf) or leaf.ndim < 2:
        return False
    return leaf.ndim == 2 or leaf.shape[-2] > IMAGE_CHANNELS


def _as_matrices(kernels: Tree) -> Tree:
    """How optax is to read each kernel: all axes but the last are rows."""
    return jax.tree.map(
        lambda leaf: optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1),
        kernels,
    )


def _to_common_size(update: jax.Array) -> jax.Array:
    rows, columns = math.prod(update.shape[:-1]), update.shape[-1]
    return UPDATE_RMS * math.sqrt(max(rows, columns)) * update


class StepsDone(NamedTuple):
    """int32 scalar, or, as in all states of updates, what stands for the array."""

    steps: Tree


def stop_after(steps: int, where: Where) -> optax.GradientTransformation:
    """Leaves the chosen parameters as they are from the step on that has this number (from 0)."""

    def update(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, StepsDone]:
        del params
        moves = state.steps < steps

        def stop(path: tuple[Any, ...], step: jax.Array) -> jax.Array:
            return jnp.where(moves, step, jnp.zeros_like(step)) if where(path, step) else step

        stopped = jax.tree_util.tree_map_with_path(stop, updates)
        return stopped, StepsDone(state.steps + 1)

    return optax.GradientTransformation(lambda params: StepsDone(jnp.zeros((), jnp.int32)), update)


class LookaheadState(NamedTuple):
    """What `lookahead` carries: steps done (int32 scalar), and slow weights like the parameters."""

    steps: Tree
    slow: Tree


def lookahead(period: int, total_steps: int) -> optax.GradientTransformation:
    """Every `period` steps, averages the weights into slow ones and goes on from these.

    After step t of T: slow <- d slow + (1 - d) w with d = 0.95^period (t / T)^3, then w <- slow.
    The average thus forgets at once early on and slowly at the end. After step T, w <- slow, even
    between two averages. It belongs after all that makes the step.

    Source: airbench94_compiled.py (Jordan 2024, arXiv 2404.00498), which averages the batch
    statistics as well; here they stay those of the last step. The idea is Zhang et al. 2019 (arXiv
    1907.08610); `optax.lookahead` has their constant d, and parameters in pairs.

    Args:
        period: steps from one average to the next.
        total_steps: T, length of the training.

    Raises:
        ValueError: (on update) when called without parameters.
    """

    def init(params: Tree) -> LookaheadState:
        return LookaheadState(jnp.zeros((), jnp.int32), params)

    def update(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, LookaheadState]:
        if params is None:
            raise ValueError("lookahead needs the parameters: update(updates, state, params)")
        steps = state.steps + 1
        decay = LOOKAHEAD_DECAY**period * (steps / total_steps) ** 3
        meets = steps % period == 0

        def average(slow: jax.Array, weights: jax.Array, step: jax.Array) -> jax.Array:
            toward = (1 - decay).astype(slow.dtype) * (weights + step - slow)
            return jnp.where(meets, slow + toward, slow)

        slow = jax.tree.map(average, state.slow, params, updates)
        back = meets | (steps == total_steps)
        updates = jax.tree.map(
            lambda step, slow, weights: jnp.where(back, slow - weights, step),
            updates, slow, params,
        )  # fmt: skip
        return updates, LookaheadState(steps, slow)

    return optax.GradientTransformation(init, update)
