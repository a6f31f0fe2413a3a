"""What a traced function does inside its loops."""

from collections.abc import Iterator
from typing import Any

import jax

SHORTEST = 8
"""Steps of a loop that counts: an optimizer's few iterations over a kernel do not."""


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


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The traced functions that an equation calls."""
    for leaf in jax.tree.leaves(
        params, is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")
    ):
        found = getattr(leaf, "jaxpr", leaf)
        if hasattr(found, "eqns"):
            yield found
