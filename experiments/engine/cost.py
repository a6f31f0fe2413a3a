"""What one replica of a program asks for: work, memory, and what its step is made of."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from experiments.engine.experiment import Data
from experiments.engine.step import Replica, Trainer

SHORTEST = 8
"""Steps of a loop that counts: an optimizer's few iterations over a kernel do not."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one replica of a program asks for.

    Attributes:
        flops_per_step: of one update by XLA's count before optimisation. What is inside a loop
            counts once, but for products and convolutions of a step with convolutions, which go
            through pieces of the batch on a CPU.
        bytes_per_lane: its state (twice: old and new) and its own data arrays.
        convolves: whether a step has convolutions. Side by side, those of several replicas become
            one in groups: one lane a device was 1.6 to 1.9 times as fast as two or four (small nets
            on a CPU).
        recurs: whether a step has a loop of matrix products, whose cores wait for each other at
            every turn unless each has a part of the batch.
        batch: examples of a step: what devices can share evenly.
    """

    flops_per_step: float
    bytes_per_lane: int
    convolves: bool = False
    recurs: bool = False
    batch: int = 1


def estimate(trainer: Trainer, replica: Replica, data: Data) -> Cost:
    """Counts one update without compiling it. `replica` and `data.own` are of one replica."""
    state = jax.eval_shape(trainer.init, replica)
    zero = jax.ShapeDtypeStruct((), jnp.int32)
    xs = jax.eval_shape(trainer.epoch_inputs, replica, data, zero)
    traced = jax.jit(trainer.first_step).trace(state, replica, data, xs)
    lowered = traced.lower()
    counted = lowered.cost_analysis() or {}
    arrays = [*jax.tree.leaves(state) * 2, *jax.tree.leaves(data.own), *jax.tree.leaves(xs)]
    size = sum(math.prod(leaf.shape) * _itemsize(leaf.dtype) for leaf in arrays)
    convolves = has_convolutions(traced.jaxpr.jaxpr)
    batch = jax.tree.leaves(jax.eval_shape(trainer.first_batch, replica, data, xs))
    examples = math.gcd(*(leaf.shape[0] for leaf in batch if leaf.ndim))
    flops = float(counted.get("flops", 0.0))
    if convolves:
        flops += repeated_flops(traced.jaxpr.jaxpr)
    return Cost(flops, size, convolves, loops_products(traced.jaxpr.jaxpr), max(examples, 1))


def _itemsize(dtype) -> int:
    return 8 if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) else jnp.dtype(dtype).itemsize


def loops_products(jaxpr: Any, inside: bool = False) -> bool:
    """Whether a matrix product is computed at every step of a loop."""
    for equation in jaxpr.eqns:
        name, length = equation.primitive.name, equation.params.get("length", 0)
        if inside and name == "dot_general":
            return True
        deeper = inside or (name == "scan" and length >= SHORTEST)
        if any(loops_products(each, deeper) for each in _inner(equation.params)):
            return True
    return False


def has_convolutions(jaxpr: Any) -> bool:
    """Whether something is convolved, in whatever form this platform computes it."""
    return any(
        equation.primitive.name == "conv_general_dilated"
        or any(has_convolutions(each) for each in _functions(equation.params))
        for equation in jaxpr.eqns
    )


def repeated_flops(jaxpr: Any, turns: int = 1, counted: int = 1) -> float:
    """FLOPs of products and convolutions that XLA does not count, of the loops that they are in.

    It counts a loop's body once: `unroll` turns, and those that do not fill another body apart.

    Args:
        turns: of the loops around, multiplied.
        counted: how many of these XLA counts.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        params, name = equation.params, equation.primitive.name
        shapes = [variable.aval.shape for variable in equation.invars]
        summed = 0
        if name == "dot_general":
            (axes, _), _ = params["dimension_numbers"]
            summed = math.prod(shapes[0][axis] for axis in axes)
        elif name == "conv_general_dilated":
            outputs = shapes[1][params["dimension_numbers"].rhs_spec[0]]
            summed = math.prod(shapes[1]) // outputs
        if summed:
            total += (turns - counted) * 2.0 * summed * math.prod(equation.outvars[0].aval.shape)
        times = seen = 1
        if name == "scan":
            times, unroll = params["length"], params["unroll"]
            seen = min(times, unroll + times % unroll)
        inner = _inner(params)
        total += sum(repeated_flops(each, turns * times, counted * seen) for each in inner)
    return total


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The traced functions that an equation calls, of several for platforms this one's."""
    platforms = params.get("branches_platforms")
    if platforms is not None:
        here = jax.default_backend()
        chosen = next(i for i, names in enumerate(platforms) if names is None or here in names)
        params = {"branch": params["branches"][chosen]}
    yield from _functions(params)


def _functions(params: dict[str, Any]) -> Iterator[Any]:
    """The traced functions among the parameters of an equation."""
    for leaf in jax.tree.leaves(
        params, is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")
    ):
        found = getattr(leaf, "jaxpr", leaf)
        if hasattr(found, "eqns"):
            yield found
