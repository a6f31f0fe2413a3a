"""The loop over time of any recurrent cell, with a gradient that does its big product once.

A cell maps what it reads at one step, and its carry, to the next carry; the first entry of a carry
is the state h. What all steps can share is done outside the loop: the inputs are projected before
it in one product, and the gradient of the recurrent kernel is one product after it, over all steps,
where automatic differentiation would add up one product per step.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nets.parallel import sharers, sum_over_batch

Carry = tuple[jax.Array, ...]
"""(h, ...): what a cell hands on, [batch, features] each."""
Step = Callable[[Any, Any, Carry], Carry]
"""(values, read, carry) -> the next carry."""
Pull = Callable[[Any, Any, Carry, Carry], tuple[Any, Any, Carry]]
"""(values, read, carry, gradients by the next carry) -> gradients by values, read and carry."""


FEWEST_UNITS = 256
"""A state of fewer units meets the kernel as it is."""
MOST_ROWS = 32
"""And so does one of more sequences on a device."""


class Recurrence(NamedTuple):
    """What a loop over time reads, time first.

    Attributes:
        x: [time, batch, reads] what the cell reads of the inputs.
        kernel: [features, reads], of the state.
        values: further learned values of the cell, any tree.
        carry: before the first step.
        keep: [batch, features] factors on the state before it meets the kernel; None: 1.
        mask: [time, batch], False where a sequence has no element: its carry stays. None: True.
        nudge: [time, batch, features] each, added to the carry after each step, None: nothing. The
            gradient by it is the gradient by the carries themselves.
    """

    x: Float[Array, "time batch reads"]
    kernel: Float[Array, "features reads"]
    values: Any
    carry: Carry
    keep: Float[Array, "batch features"] | None = None
    mask: Bool[Array, "time batch"] | None = None
    nudge: Carry | None = None


def recur(
    step: Step,
    adds: bool,
    inputs: Recurrence,
    *,
    pull: Pull | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Float[Array, "time batch features"], Carry]:
    """Runs a cell over time.

    Args:
        step: (values, read, carry) -> carry. `read` is `x[t] + h kernel` if the cell adds the two,
            else the pair of them.
        adds: whether it does.
        inputs: what is read.
        pull: the gradient of a step; None: JAX's.
        reverse: from the last element to the first.
        unroll: steps of one pass of the compiled loop.

    Returns:
        The states after each step, in the order of the inputs, and the last carry. Derivatives of
        any order, in reverse mode.
    """

    loop = _Loop(step, adds, pull or _pull_of(step), reverse, unroll)
    run = jax.custom_vjp(lambda inputs: _forward(loop, inputs)[0])
    run.defvjp(functools.partial(_forward, loop), functools.partial(_backward, loop))
    found: Any = run(inputs)
    return found


def steps_of(step: Step, adds: bool, inputs: Recurrence, *, reverse: bool) -> tuple[Carry, Any]:
    """What the cell has at every step, time first: its carry before the step, and what it reads."""
    loop = _Loop(step, adds, _pull_of(step), reverse, 1)
    _, (_, before, reads) = _forward(loop, inputs)
    return before, reads


class _Loop(NamedTuple):
    """How `recur` goes: its arguments, with a gradient of a step."""

    step: Step
    adds: bool
    pull: Pull
    reverse: bool
    unroll: int


def _forward(loop: _Loop, inputs: Recurrence) -> tuple[tuple[jax.Array, Carry], Any]:
    """What `recur` gives, and what the way back needs: each step's carry before it, and reads."""

    turned = inputs.kernel.T

    def body(carry: Carry, here: Any) -> tuple[Carry, Any]:
        x, mask, nudge = here
        z = _times(_kept(carry[0], inputs.keep), inputs.kernel, turned)
        read = x + z if loop.adds else (x, z)
        after = _advance(loop.step, mask, inputs.values, read, carry, nudge)
        return after, (after[0], carry, read)

    over = (inputs.x, inputs.mask, inputs.nudge)
    last, (states, before, reads) = jax.lax.scan(
        body, inputs.carry, over, reverse=loop.reverse, unroll=loop.unroll
    )
    return (states, last), (inputs, before, reads)


def _backward(loop: _Loop, saved: Any, gradients: tuple[jax.Array, Carry]) -> tuple[Recurrence]:
    """The gradients by everything that was read, given those by states and last carry."""
    inputs, before, reads = saved
    zeros = jax.tree.map(jnp.zeros_like, (inputs.values, inputs.keep))
    (by_carry, by_values, by_keep), (by_x, by_z, by_nudge) = jax.lax.scan(
        functools.partial(_step_back, loop, inputs, inputs.kernel.T),
        (gradients[1], *zeros),
        (gradients[0], inputs.mask, inputs.nudge, before, reads),
        reverse=not loop.reverse,
        unroll=loop.unroll,
    )
    heard = before[0] if inputs.keep is None else before[0] * inputs.keep[None]
    by_kernel = sum_over_batch(_product, heard, by_x if loop.adds else by_z, axis=1)
    return (Recurrence(by_x, by_kernel, by_values, by_carry, by_keep, None, by_nudge),)


def _step_back(
    loop: _Loop, inputs: Recurrence, transposed: jax.Array, carried: Any, here: Any
) -> tuple[Any, Any]:
    """One step of the way back; `transposed` is the kernel, turned once for all."""
    by_carry, by_values, by_keep = carried
    by_state, mask, nudge, carry, read = here
    by_carry = (by_carry[0] + by_state, *by_carry[1:])
    by_after, by_kept = _apart(mask, by_carry)
    values, by_read, by_carry = loop.pull(inputs.values, read, carry, by_after)
    if by_kept is not None:
        by_carry = jax.tree.map(jnp.add, by_carry, by_kept)
    by_nudge = None if nudge is None else by_after
    by_x, by_z = (by_read, by_read) if loop.adds else by_read
    by_h = _times(by_z, transposed, inputs.kernel)
    if by_keep is not None:
        by_keep = by_keep + by_h * carry[0]
    by_carry = (by_carry[0] + _kept(by_h, inputs.keep), *by_carry[1:])
    by_values = jax.tree.map(jnp.add, by_values, values)
    return (by_carry, by_values, by_keep), (by_x, None if loop.adds else by_z, by_nudge)


def _times(
    x: Float[Array, "batch n"], kernel: Float[Array, "n m"], turned: Float[Array, "m n"]
) -> Float[Array, "batch m"]:
    """`x @ kernel`, where `turned` is the kernel's transpose.

    On a CPU a large kernel is slow on the right-hand side of a product with few rows; so the rows
    are turned and stand there: 64 products of 16 x 512 by 512 x 2048 took 40 instead of 57 ms.
    """
    rows = -(-x.shape[0] // sharers())
    if min(kernel.shape) < FEWEST_UNITS or rows > MOST_ROWS:
        return x @ kernel

    def on_cpu(x: jax.Array, kernel: jax.Array, turned: jax.Array) -> jax.Array:
        del kernel
        apart = jax.lax.optimization_barrier  # or XLA turns it all back
        return apart(turned @ apart(x.T)).T

    def elsewhere(x: jax.Array, kernel: jax.Array, turned: jax.Array) -> jax.Array:
        del turned
        return x @ kernel

    return jax.lax.platform_dependent(x, kernel, turned, cpu=on_cpu, default=elsewhere)


def _product(heard: jax.Array, by_z: jax.Array) -> jax.Array:
    """The gradient of a kernel over all steps and sequences, one matrix product."""
    rows = heard.reshape(-1, heard.shape[-1]), by_z.reshape(-1, by_z.shape[-1])
    return rows[0].T @ rows[1]


def _kept(h: jax.Array, keep: jax.Array | None) -> jax.Array:
    return h if keep is None else h * keep


def _advance(
    step: Step,
    mask: jax.Array | None,
    values: Any,
    read: Any,
    carry: Carry,
    nudge: Carry | None,
) -> Carry:
    """The carry after one step; that of a sequence without an element stays."""
    after = step(values, read, carry)
    if nudge is not None:
        after = jax.tree.map(jnp.add, after, nudge)
    if mask is None:
        return after
    pairs = zip(after, carry, strict=True)
    return tuple(jnp.where(mask[:, None], new, old) for new, old in pairs)


def _apart(mask: jax.Array | None, by_carry: Carry) -> tuple[Carry, Carry | None]:
    """Gradients of the carries that a step made, and of those that stayed."""
    if mask is None:
        return by_carry, None
    made = tuple(jnp.where(mask[:, None], each, 0) for each in by_carry)
    return made, tuple(jnp.where(mask[:, None], 0, each) for each in by_carry)


def _pull_of(step: Step) -> Pull:
    return lambda values, read, carry, by: jax.vjp(step, values, read, carry)[1](by)


@jax.custom_vjp
def project(
    x: Float[Array, "time batch inputs"], kernel: Float[Array, "inputs reads"]
) -> Float[Array, "time batch reads"]:
    """`x @ kernel`, all steps in one product, with gradients that are one product each.

    JAX's gradient by the kernel is that of the transposed kernel, and copies more to get there.
    """
    return x @ kernel


def _project_backward(saved: tuple[jax.Array, jax.Array], by: jax.Array) -> Any:
    x, kernel = saved
    return by @ kernel.T, sum_over_batch(_product, x, by, axis=1)


project.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _project_backward)
