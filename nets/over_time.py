"""What happens over time: how far back a loss reaches, and how far gates are open."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nets.recurrence import Carry

REACHED = 0.01
"""Share of the largest gradient below which a step counts as out of reach."""
CLOSED, OPEN = 0.1, 0.9
"""Openings beyond which a gate is saturated (Karpathy et al. 2015, arXiv 1506.02078)."""


def carry_gradients(
    losses: Callable[[Any], Float[Array, " batch"]], layer: Sequence[str], carry: Carry, steps: int
) -> Float[Array, " time"]:
    """Norm of each sequence's loss gradient by its carry after each step, mean over sequences.

    The carry is all that a step hands on, of an LSTM the state and the cell. The norm falls by a
    factor a step where gradients vanish, and grows where they explode (Bengio et al. 1994; Pascanu
    et al. 2013, arXiv 1211.5063, section 2.1).

    Args:
        losses: (nudges) -> the loss of each sequence; applies a net with the further collection
            {"nudges": nudges}.
        layer: names of the modules from the net down to the recurrent layer.
        carry: of that layer, [batch, features] each; its shapes count.
        steps: elements of a sequence.
    """

    def total(nudge: Carry) -> jax.Array:
        nudges: Any = {"carries": nudge}
        for name in reversed(layer):
            nudges = {name: nudges}
        return jnp.sum(losses(nudges))

    gradients = jax.grad(total)(tuple(jnp.zeros((steps, *each.shape)) for each in carry))
    return jnp.mean(_norm(jnp.concatenate(gradients, axis=-1)), axis=-1)


def _norm(x: Float[Array, "*_ features"]) -> Float[Array, "*_"]:
    """Of the last axis; exact also where a square is beyond float32."""
    largest = jnp.max(jnp.abs(x), axis=-1)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.linalg.norm(x / scale[..., None], axis=-1)


def reach(norms: Float[Array, " time"]) -> dict[str, Float[Array, ""]]:
    """Two numbers of `carry_gradients`.

    Returns:
        `per_step`: the factor by which the norm changes with each step back, on the (geometric)
            mean from the last to the first, or to where it leaves the range of float32; not a
            number where fewer than two are inside it. `steps`: how many steps back, without a
            gap, it is at least 1 % of the largest; 0 where all are 0.
    """
    back = jnp.flip(norms.astype(jnp.float32))
    inside = (back >= jnp.finfo(jnp.float32).tiny) & jnp.isfinite(back)
    count = jnp.sum(jnp.cumprod(inside))
    furthest = back[jnp.maximum(count - 1, 0)]
    logarithm = (jnp.log(furthest) - jnp.log(back[0])) / jnp.maximum(count - 1, 1)
    within = (back >= REACHED * jnp.max(back)) & (back > 0)
    return {
        "per_step": jnp.where(count > 1, jnp.exp(logarithm), jnp.nan),
        "steps": jnp.sum(jnp.cumprod(within)).astype(jnp.float32),
    }


def opening_numbers(
    opening: Float[Array, "time batch features"], mask: Bool[Array, "time batch"] | None = None
) -> dict[str, Float[Array, ""]]:
    """How far a gate is open, over all elements of all sequences.

    Args:
        opening: of each unit's gate, 0 to 1.
        mask: False where a sequence has no element. None: True.

    Returns:
        `mean` and `sd` of the opening; `saturated`, the share below 0.1 or above 0.9; `dead`, the
        share of units that are below 0.1 at all elements.
    """
    opening = opening.astype(jnp.float32)
    here = jnp.ones(opening.shape[:2], bool) if mask is None else mask
    weights = jnp.broadcast_to(here[..., None], opening.shape)

    def mean(x: jax.Array) -> jax.Array:
        return jnp.mean(x, where=weights, dtype=jnp.float32)

    centre = mean(opening)
    return {
        "mean": centre,
        "sd": jnp.sqrt(mean(jnp.square(opening - centre))),
        "saturated": mean((opening < CLOSED) | (opening > OPEN)),
        "dead": jnp.mean(jnp.all((opening < CLOSED) | ~weights, axis=(0, 1)), dtype=jnp.float32),
    }
