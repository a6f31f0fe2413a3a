"""The run-time type checker of the tests: beartype, with `float` as wide as traced numbers."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from beartype import BeartypeConf, FrozenDict, beartype

CONF = BeartypeConf(hint_overrides=FrozenDict({float: float | int | jax.Array}))
_checked: dict[Any, Callable[..., Any]] = {}


def check(signed: Callable[..., Any]) -> Callable[..., Any]:
    """Checks calls of what jaxtyping makes of a function: its signature, without its body.

    A function in another is made anew by every call of the other; its checker is made once.
    """
    key = signed.__module__, signed.__qualname__, inspect.signature(signed)
    try:
        hash(key)
    except TypeError:  # a default that is an array
        return beartype(conf=CONF)(signed)
    if key not in _checked:
        _checked[key] = beartype(conf=CONF)(signed)
    return _checked[key]
