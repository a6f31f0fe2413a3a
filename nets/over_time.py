"""How far back a loss reaches: its gradient with respect to the state after each step."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

REACHED = 0.01
"""Share of the gradient at the last step below which a step counts as out of reach."""


def state_gradients(
    losses: Callable[[Any], Float[Array, " batch"]],
    layer: Sequence[str],
    shape: tuple[int, int, int],
) -> Float[Array, " time"]:
    """Norm of each sequence's loss gradient by its state after each step, mean over sequences.

    It falls by a factor a step where gradients vanish, and grows where they explode (Bengio et al.
    1994; Pascanu et al. 2013, arXiv 1211.5063, section 2.1).

    Args:
        losses: (nudges) -> the loss of each sequence; applies a net with the further collection
            {"nudges": nudges}.
        layer: names of the modules from the net down to the recurrent layer.
        shape: time, batch and units of its states.
    """

    def total(nudge: jax.Array) -> jax.Array:
        nudges: Any = {"states": nudge}
        for name in reversed(layer):
            nudges = {name: nudges}
        return jnp.sum(losses(nudges))

    gradients = jax.grad(total)(jnp.zeros(shape))
    return jnp.mean(jnp.linalg.norm(gradients, axis=-1), axis=-1)


def reach(norms: Float[Array, " time"]) -> dict[str, Float[Array, ""]]:
    """Two numbers of `state_gradients`.

    Returns:
        `per_step`: the factor by which the norm changes with each step back, on the (geometric)
            mean from the last to the first. `steps`: how many steps back, without a gap, it is at
            least 1 % of the largest.
    """
    back = jnp.flip(norms.astype(jnp.float32))
    tiny = jnp.finfo(jnp.float32).tiny
    first, last = (jnp.maximum(norm, tiny) for norm in (back[-1], back[0]))
    per_step = (first / last) ** (1 / max(len(back) - 1, 1))
    within = back >= REACHED * jnp.max(back)
    return {"per_step": per_step, "steps": jnp.sum(jnp.cumprod(within)).astype(jnp.float32)}
