"""What recurrent cells have in common, and what their steps are made of."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nets.activations import ActivationLike, as_activation
from nets.recurrence import Carry, Pull
from nets.spread import spread

Values = Mapping[str, jax.Array]
EPSILON = 1e-5
"""Added to variances by layer normalisation."""


class Cell:
    """What all cells have; a subclass says what one step does."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what is projected: a step reads [batch, parts * features]."""
        raise NotImplementedError

    @property
    def adds(self) -> bool:
        """Whether a step reads the sum of what is projected of inputs and state, or the pair."""
        return True

    def values(self, features: int) -> dict[str, jax.Array]:
        """What is learned beside kernels and biases, as it starts."""
        del features
        return {}

    def biases(self) -> dict[str, float]:
        """What is added to the first biases of a part."""
        return {}

    def carry(self, batch: int, features: int, dtype: Any) -> Carry:
        """Zeros, before the first step; the state comes first."""
        return (jnp.zeros((batch, features), dtype),)

    def inputs(self, values: Values, projected: jax.Array) -> jax.Array:
        """What is done to the projected inputs of all steps before biases are added."""
        del values
        return projected

    def step(self, values: Values, read: Any, carry: Carry) -> Carry:
        """One step (`nets.recurrence.recur`)."""
        raise NotImplementedError

    def gates(self, values: Values, read: Any, carry: Carry) -> dict[str, jax.Array]:
        """How far each learned gate is open at a step, [batch, features] by its name."""
        del values, read, carry
        return {}

    def content(self, values: Values, read: Any, carry: Carry) -> Any:
        """New content at a step and the slopes of its activation, [batch, features] each; None of a
        cell that does not tell."""
        del values, read, carry

    @property
    def pull(self) -> Pull | None:
        """The gradient of a step where it is written out; None leaves it to JAX."""
        return None


def learned_values(activation: ActivationLike, place: str, features: int) -> dict[str, jax.Array]:
    """The learned numbers of an activation, one per unit. Raises `ValueError` for maxout."""
    known = as_activation(activation)
    if known.pieces != 1:
        raise ValueError(f"{place} {known}: a recurrent unit has one input for each output")
    pairs = zip(known.learned_names, known.learned, strict=True)
    return {f"{place}_{name}": jnp.full(features, value) for name, value in pairs}


def activate(activation: ActivationLike, place: str, values: Values, x: jax.Array) -> jax.Array:
    """Applies an activation whose learned numbers are those of a place."""
    known = as_activation(activation)
    learned = [values[f"{place}_{name}"] for name in known.learned_names]
    rows = [spread(jnp.tile(each, x.shape[-1] // len(each)), x) for each in learned]
    return known.function(x, *known.parameters, *rows)


def with_slopes(
    activation: ActivationLike, values: Values, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The activation of new content, and its slopes."""

    def function(x: jax.Array) -> jax.Array:
        return activate(activation, "activation", values, x)

    return jax.jvp(function, (x,), (jnp.ones_like(x),))


def standardise(x: jax.Array) -> jax.Array:
    """With the mean 0 and the variance 1 along the last axis, computed in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)
