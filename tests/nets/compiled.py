"""Layers, nets and gradients run as one compiled program each, not one for every operation.

It pays where nets differ in most of their shapes; many nets of equal shapes share the programs of
their operations (`test_residual`), and compile faster without this. Equal modules share a program,
so a test that replaces what a module calls must compile its own.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.typing import ArrayLike

_compiled = functools.partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("train", "mutable", "capture_intermediates"),
)


@_compiled
def initial(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    """The first variables of a module, drawn from key 0."""
    return module.init(jax.random.key(0), *inputs, **options)


@_compiled
def applied(module: nn.Module, variables: Any, *inputs: Any, **options: Any) -> Any:
    """What a module gives for inputs."""
    return module.apply(variables, *inputs, **options)


def with_gradients(function: Callable[..., Any], g: ArrayLike, *arguments: Any) -> Any:
    """The output of a function, and its products with `g` differentiated by each argument."""

    @jax.jit
    def both(g: jax.Array, *arguments: Any) -> Any:
        y, backward = jax.vjp(function, *arguments)
        return y, *backward(g.astype(y.dtype))

    return both(g, *arguments)
