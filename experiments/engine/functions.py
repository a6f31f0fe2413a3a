"""What no source file holds: typed into a notebook or a shell, or closed over, known by content."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import pathlib
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any


def typed_functions(given: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Name -> digits of a sha256 of what no source file says of them, where there is anything.

    A study archives source files; a function that is in none can be defined anew under its old
    name without a trace, and so can the functions, classes, numbers, texts and arrays that it
    names. Of a function that is in one, that holds of what it closes over, of a method's object and
    of the arguments of a partial function.

    Args:
        given: names and values; other values than functions and classes are passed over.
    """
    found = {}
    for name, value in given:
        content = _content(value, {}) if callable(value) else None
        if content is not None:
            found[name] = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
    return found


def _content(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """What decides what a value does; None where it stands in a file.

    Args:
        seen: id of a function, class or object -> its number in the order in which they were met,
            which stands for it from the second time on, and itself; those met here are added.
    """
    if isinstance(value, int | float | complex | str | bytes | None):
        return repr(value)
    if isinstance(value, tuple):
        return [_content(each, seen) for each in value]
    if isinstance(value, MethodType):
        return _if_any([_content(value.__func__, seen), _content(value.__self__, seen)])
    if isinstance(value, functools.partial):
        return _if_any([_content(e, seen) for e in (value.func, value.args, value.keywords)])
    with contextlib.suppress(ValueError):  # it wraps itself
        value = inspect.unwrap(value, stop=_is_definition)  # compiled, or with its own derivative
    if id(value) in seen:
        return seen[id(value)][0]
    seen[id(value)] = len(seen), value
    if isinstance(value, list):
        return [_content(each, seen) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((_content(each, dict(seen)) for each in value), key=repr)  # whatever order
    if isinstance(value, dict):
        return [[_content(each, seen) for each in pair] for pair in value.items()]
    if hasattr(value, "__array__") and hasattr(value, "dtype") and not isinstance(value, type):
        return _array(value)
    return _definition(value, seen) if _is_definition(value) else _object(value, seen)


def _is_definition(value: Any) -> bool:
    return isinstance(value, FunctionType | type)


def _definition(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """Of a function or a class."""
    if isinstance(value, FunctionType) and hasattr(value, "__wrapped__"):
        held = [each for each in _cells(value) if not callable(each)]
        return _if_any([_content(each, seen) for each in (vars(value)["__wrapped__"], held)])
    if _in_a_file(value):
        held = [_content(each, seen) for each in _closed_over(value)]
        return _if_any([value.__qualname__, held], held)
    if isinstance(value, FunctionType):
        return _code(value.__code__), [_content(each, seen) for each in _named(value)]
    members = [(name, each) for name, each in vars(value).items() if _counts(name, each)]
    members = [*enumerate(value.__bases__), *members]
    return [(name, _content(each, seen)) for name, each in members]


def _object(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """Of an object: its fields or attributes; nothing of those of Python's own libraries, but for
    namespaces."""
    kind = type(value)
    if dataclasses.is_dataclass(value):
        held = [_content(getattr(value, f.name, None), seen) for f in dataclasses.fields(value)]
    elif kind.__name__.endswith("Namespace") or not _is_python_s(kind):
        attributes = getattr(value, "__dict__", {}).items()
        held = [_content(each, seen) for name, each in attributes if not name.startswith("__")]
    else:
        return None
    return _if_any([kind.__qualname__, _content(kind, seen), held], held)


def _if_any(content: list[Any], parts: Any = None) -> list[Any] | None:
    """Content, if its parts say anything that a file does not."""

    def says(part: Any) -> bool:
        return any(map(says, part)) if isinstance(part, list) else isinstance(part, str | tuple)

    return content if says(content if parts is None else parts) else None


def _is_python_s(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names


def _array(value: Any) -> list[str] | None:
    import numpy as np

    try:
        array = np.asarray(value)
    except TypeError:  # keys of random numbers, and values inside of a trace
        return None
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return [str(array.dtype), str(array.shape), digest]


def _closed_over(value: FunctionType | type) -> Iterator[Any]:
    """What one definition in a file holds other than another time."""
    if isinstance(value, FunctionType) and "<locals>" in value.__qualname__:
        yield from _defaults(value)
        yield from _cells(value)


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
    yield from _defaults(function)
    yield from _cells(function)
    names = (name for code in _codes(function.__code__) for name in code.co_names)
    yield from (function.__globals__.get(name) for name in names)


def _defaults(function: FunctionType) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _cells(function: FunctionType) -> Iterator[Any]:
    """What a function closes over, as far as it is there."""
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):
            yield cell.cell_contents


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _counts(name: str, member: Any) -> bool:
    """Whether a member of a class is its author's: no note of Python's about the class."""
    return isinstance(member, FunctionType) or not name.startswith("__")
