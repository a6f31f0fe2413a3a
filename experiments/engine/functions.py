"""What no source file holds: typed into a notebook or a shell, known by its code."""

import hashlib
import inspect
import pathlib
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any


def typed_functions(given: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Name -> digits of a sha256 of what they do, of those functions that stand in no file.

    A study archives source files; a function that is in none can be defined anew under its old
    name without a trace, and so can the functions, classes, numbers and texts that it names.

    Args:
        given: names and values; other values than functions and classes are passed over.
    """
    found = {}
    for name, value in given:
        content = _content(value, {}) if callable(value) else None
        if content is not None:
            found[name] = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
    return found


def _content(value: Any, seen: dict[Any, int]) -> Any:
    """What decides what a value does; None where it stands in a file.

    Args:
        seen: function or class -> its number in the order in which they were met, which stands for
            it from the second time on; those met here are added.
    """
    if isinstance(value, int | float | str | None):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_content(each, seen) for each in value]
    value = inspect.unwrap(value) if callable(value) else value
    if not isinstance(value, FunctionType | type) or _in_a_file(value):
        return None
    if value in seen:
        return seen[value]
    seen[value] = len(seen)
    if isinstance(value, FunctionType):
        return _code(value.__code__), [_content(each, seen) for each in _named(value)]
    members = [(name, each) for name, each in vars(value).items() if _counts(name, each)]
    return [(name, _content(each, seen)) for name, each in (*enumerate(value.__bases__), *members)]


def _in_a_file(value: FunctionType | type) -> bool:
    """Or in a library of machine code, as classes are that hold no function of Python's."""
    if isinstance(value, type) and not any(
        isinstance(m, FunctionType) for m in vars(value).values()
    ):
        return True
    try:
        return pathlib.Path(inspect.getfile(value)).is_file()
    except (TypeError, OSError):
        return False


def _code(code: CodeType) -> tuple[Any, ...]:
    """What code does, without where it stands."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return code.co_code.hex(), code.co_names, code.co_varnames, constants


def _constant(value: Any) -> str:
    """Sets have no order of their own."""
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


def _named(function: FunctionType) -> Iterator[Any]:
    """A function's defaults, what it closes over, and what it finds by name outside of it."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from (cell.cell_contents for cell in function.__closure__ or ())
    names = (name for code in _codes(function.__code__) for name in code.co_names)
    yield from (function.__globals__.get(name) for name in names)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _counts(name: str, member: Any) -> bool:
    """Whether a member of a class is its author's: no note of Python's about the class."""
    return isinstance(member, FunctionType) or not name.startswith("__")
