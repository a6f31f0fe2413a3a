"""Functions that no source file holds: typed into a notebook or a shell, known by their code."""

import hashlib
import inspect
import pathlib
from collections.abc import Iterable
from types import CodeType
from typing import Any


def typed_functions(given: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Name -> digits of a sha256 of the code, of those functions that stand in no file.

    A study archives source files; a function that is in none can be defined anew under its old
    name without a trace.

    Args:
        given: names and values; other values than functions are passed over.
    """
    found = {}
    for name, value in given:
        code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
        if isinstance(code, CodeType) and not pathlib.Path(code.co_filename).is_file():
            found[name] = hashlib.sha256(repr(_content(code)).encode()).hexdigest()[:16]
    return found


def _content(code: CodeType) -> tuple[Any, ...]:
    """What a function does, without where it stands."""
    constants = [_content(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return code.co_code.hex(), code.co_names, code.co_varnames, constants


def _constant(value: Any) -> str:
    """Sets have no order of their own."""
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
