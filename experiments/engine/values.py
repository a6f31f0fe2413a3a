"""Values of config fields: what a type takes, how it is spelled, and how spellings are read."""

import dataclasses
import difflib
import math
import numbers
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from experiments.engine.errors import UsageError
from nets.options import Option, parse_option, spell_number


@dataclasses.dataclass(frozen=True)
class Shown:
    """Annotation of an option: what the help text says it takes.

    Attributes:
        takes: `DIR`, `FIELD=A,B`.
        repeated: the option may be given several times; its values are kept in order.
        verbatim: a text that is taken as it is given, spaces around it included.
    """

    takes: str
    repeated: bool = False
    verbatim: bool = False


@dataclasses.dataclass(frozen=True)
class Choices:
    """Annotation of a field that takes one entry of `table`: `Annotated[Activation, Choices(...)]`.

    Attributes:
        table: what a command line can name: options, or plain functions that `convert` takes.
        convert: turns what Python code may give instead (a function) into an option.
    """

    table: Mapping[str, Option | Callable[..., Any]]
    convert: Callable[[Any], Option] | None = None

    def __hash__(self) -> int:
        return id(self.table)

    @property
    def options(self) -> dict[str, Option]:
        """The table, its functions made into options of that name."""
        return {
            name: entry if isinstance(entry, Option) else self.option_of(entry, name)
            for name, entry in self.table.items()
        }

    def option_of(self, function: Callable[..., Any], name: str) -> Option:
        """A function as an option called `name`.

        Raises:
            TypeError: there is no `convert`.
        """
        if self.convert is None:
            raise TypeError(f"{name}: Choices without `convert` takes options, not functions")
        return dataclasses.replace(self.convert(function), name=name)


def choices_of(kind: Any) -> Choices | None:
    """The `Choices` a type is annotated with."""
    annotations = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((m for m in annotations if isinstance(m, Choices)), None)


def is_optional(kind: Any) -> bool:
    """Whether a type is `X | None`."""
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def is_tuple(kind: Any) -> bool:
    """Whether a type is a tuple, possibly annotated or optional."""
    if get_origin(kind) is Annotated or is_optional(kind):
        return any(is_tuple(k) for k in get_args(kind) if k is not type(None))
    return get_origin(kind) is tuple


def takes(kind: Any) -> str:
    """What a field takes, for a help text: `FLOAT|none`, `{adam,sgd}`, `INT,...`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "NAME[:NUMBER]" if choices_of(kind) else takes(args[0])
    if is_optional(kind):
        return f"{takes(next(a for a in args if a is not type(None)))}|none"
    if origin is Literal:
        return "{" + ",".join(spell(value) for value in args) + "}"
    if origin is tuple:
        return f"{takes(args[0])},..."
    names = {bool: "{true,false}", str: "TEXT", int: "INT", float: "FLOAT"}
    return names.get(kind, "VALUE")


def is_spelled(kind: Any) -> bool:
    """Whether values of a type have a spelling that reads back as them."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return choices_of(kind) is not None or is_spelled(args[0])
    if is_optional(kind):
        return len(args) == 2 and all(is_spelled(a) for a in args if a is not type(None))
    if origin is tuple:
        return len(args) == 2 and args[1] is Ellipsis and is_spelled(args[0])
    return origin is Literal or kind in (bool, int, float, str)


def spell(value: Any) -> str:
    """Writes a field's value as the command line takes it; `parse` reads it back."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(spell(v) for v in value) if value else "()"
    return spell_number(value) if isinstance(value, float) else str(value)


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """The hint that follows an unknown name."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def parse_text(kind: Any, text: str) -> Any:
    """Reads a value of a type from its spelling.

    Raises:
        ValueError: the text does not fit; says what does.
    """
    origin, args = get_origin(kind), get_args(kind)
    if choices := choices_of(kind):
        return parse_option(text, choices.options)
    if origin is Annotated:
        return parse_text(args[0], text)
    if is_optional(kind):
        inner = next(a for a in args if a is not type(None))
        return None if text.lower() == "none" else parse_text(inner, text)
    if origin is Literal:
        named = {spell(value): value for value in args}
        if text not in named:
            raise ValueError(f"unknown value {text!r}; {nearest(text, named)}")
        return named[text]
    if origin is tuple:
        inner = text[1:-1] if text[:1] + text[-1:] in ("()", "[]") else text
        items = [] if text in ("()", "[]") else [item.strip() for item in inner.split(",")]
        if "" in items:
            raise ValueError(f"a value is missing in {text!r}; () is the empty list")
        return tuple(parse_text(args[0], item) for item in items)
    return _parse_scalar(kind, text)


def _parse_scalar(kind: Any, text: str) -> Any:
    if kind is bool:
        named = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in named:
            raise ValueError(f"expected true or false, not {text!r}")
        return named[text.lower()]
    if kind not in (int, float, str):
        raise ValueError(f"a value of type {kind} cannot be given as text")
    if not text and kind is not str:
        raise ValueError("no value given")
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if value != value:  # not a number
        name = "a whole number" if kind is int else "a number"
        raise ValueError(f"expected {name}, not {text!r}")
    return value


def fit(kind: Any, value: Any) -> Any:
    """A value given from Python as a type declares it: a list as a tuple, 1 as 1.0.

    Raises:
        ValueError: it does not fit.
    """
    origin, args = get_origin(kind), get_args(kind)
    if choices := choices_of(kind):
        return _fit_option(choices, value)
    if origin is Annotated:
        return fit(args[0], value)
    if is_optional(kind):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else fit(inner, value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(fit(args[0], item) for item in value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # of NumPy or JAX
    is_flag = isinstance(value, bool)  # to Python, True is 1
    if origin is Literal:
        if same := [arg for arg in args if arg == value and isinstance(arg, bool) == is_flag]:
            return same[0]
        raise ValueError
    if kind is int and isinstance(value, numbers.Integral) and not is_flag:
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not is_flag and value == value:
        return float(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    if kind in (bool, int, float, str) or origin is tuple:
        raise ValueError
    return value


def _fit_option(choices: Choices, value: Any) -> Option:
    if isinstance(value, Option):
        return value
    if choices.convert is None or not callable(value):
        raise ValueError
    known = choices.options
    if same := [option for option in known.values() if option.function is value]:
        return same[0]
    name = getattr(value, "__name__", "")
    if name in known or not name.isidentifier():
        raise UsageError(
            f"{name or value!r}: results are kept by a function's name, so it needs one of its "
            "own: def my_name(x): ..."
        )
    return choices.convert(value)
