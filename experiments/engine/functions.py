"""Functions that no source file holds: typed into a notebook or a shell, known by their code."""

import hashlib
import inspect
import pathlib
from collections.abc import Iterable
from types import CodeType, FunctionType
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
        function = inspect.unwrap(value) if callable(value) else None
        if not isinstance(function, FunctionType):
            continue
        if not pathlib.Path(function.__code__.co_filename).is_file():
            content = _content(function.__code__), _held(function)
            found[name] = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
    return found


def _content(code: CodeType) -> tuple[Any, ...]:
    """What code does, without where it stands."""
    constants = [_content(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return code.co_code.hex(), code.co_names, code.co_varnames, constants


def _held(function: FunctionType) -> list[str]:
    """Numbers and texts among a function's defaults and what it closes over."""
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return [repr(value) for value in [*closed, *defaults] if isinstance(value, int | float | str)]


def _constant(value: Any) -> str:
    """Sets have no order of their own."""
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)
