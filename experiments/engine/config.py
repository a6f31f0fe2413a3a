"""Configs: flattened fields, their spelling, and the split into traced and static values.

A config is a frozen dataclass, possibly composed of others; its leaves are addressed by name
(`learning_rate`), wherever they sit. `float` leaves are traced hyper-parameters: they enter the
compiled program as arguments. Every other leaf is static: it picks the program. `Static[float]`
opts a float out, and `float | None` is static when None and traced otherwise.
"""

import dataclasses
import difflib
import functools
import math
import numbers
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser

from experiments.engine.errors import UsageError
from nets.options import Option, parse_option, spell_number

T = TypeVar("T")
C = TypeVar("C")
STATIC = "static"
Static = Annotated[T, STATIC]


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


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One field of a config: where it sits, what it may hold, and its one-line description."""

    name: str
    path: tuple[str, ...]
    kind: Any
    is_float: bool
    doc: str

    @property
    def flag(self) -> str:
        """How the command line spells the field."""
        return "--" + self.name.replace("_", "-")


def leaves(config_class: type) -> dict[str, Leaf]:
    """The flattened fields of a config class, in order of declaration.

    Raises:
        TypeError: two fields share a name, or the class is not a frozen dataclass.
    """
    return dict(_leaves(config_class))


@functools.cache
def _leaves(config_class: type) -> tuple[tuple[str, Leaf], ...]:
    parameters = getattr(config_class, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise TypeError(f"{config_class.__name__} must be a frozen dataclass")
    hints = get_type_hints(config_class, include_extras=True)
    docs = field_docs(config_class)
    found: list[tuple[str, Leaf]] = []
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            nested = (
                dataclasses.replace(leaf, path=(field.name, *leaf.path))
                for _, leaf in _leaves(kind)
            )
            found += [(leaf.name, leaf) for leaf in nested]
            continue
        doc = " ".join(docs.get(field.name, "").split())
        found.append((field.name, Leaf(field.name, (field.name,), kind, _is_float(kind), doc)))
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TypeError(f"{config_class.__name__} has two fields named {', '.join(twice)}")
    return tuple(found)


def field_docs(config_class: type) -> dict[str, str]:
    """Field descriptions from the `Attributes:` of a class and its bases; the class's own win."""
    parsed = [docstring_parser.parse(base.__doc__ or "") for base in config_class.__mro__[::-1]]
    return {p.arg_name: p.description or "" for doc in parsed for p in doc.params}


def _is_float(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return STATIC not in get_args(kind)[1:] and _is_float(get_args(kind)[0])
    return kind is float or (_is_optional(kind) and float in get_args(kind))


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def get(config: Any, name: str) -> Any:
    """The value of a field by its flattened name."""
    return functools.reduce(getattr, leaf_of(type(config), name).path, config)


def replace(config: C, values: Mapping[str, Any]) -> C:
    """A copy of `config` with fields set by their flattened names."""
    for name, value in values.items():
        config = _set(config, leaf_of(type(config), name).path, value)
    return config


def _set(config: Any, path: tuple[str, ...], value: Any) -> Any:
    head, *rest = path
    inner = _set(getattr(config, head), tuple(rest), value) if rest else value
    return dataclasses.replace(config, **{head: inner})


def leaf_of(config_class: type, name: str) -> Leaf:
    """The field called `name`.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    known = leaves(config_class)
    name = name.replace("-", "_")
    if name not in known:
        raise UsageError(f"unknown field {name!r}; {nearest(name, known)}")
    return known[name]


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """The hint that follows an unknown name."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def split(config: C) -> tuple[C, dict[str, float]]:
    """Separates a config into its static part and its traced numbers.

    Returns:
        The config with 0.0 in every traced field (hashable: equal for all cells of one program),
        and the traced fields by name.
    """
    floats = {
        name: get(config, name)
        for name, leaf in leaves(type(config)).items()
        if leaf.is_float and get(config, name) is not None
    }
    return replace(config, dict.fromkeys(floats, 0.0)), floats


def join(static: C, floats: Mapping[str, Any]) -> C:
    """The inverse of `split`; `floats` may hold tracers."""
    return replace(static, floats)


def fitted(config: C) -> C:
    """A config made in Python (lists, text, functions), with values in the form it declares.

    Raises:
        UsageError: a value does not fit its field.
    """
    named = leaves(type(config)).items()
    return replace(config, {name: coerce(leaf, get(config, name)) for name, leaf in named})


def spell(value: Any) -> str:
    """Writes a field's value as the command line takes it; `parse` reads it back."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(spell(v) for v in value) if value else "()"
    return spell_number(value) if isinstance(value, float) else str(value)


def describe(config: Any) -> dict[str, str]:
    """Every field of a config, spelled."""
    return {name: spell(get(config, name)) for name in leaves(type(config))}


def parse(leaf: Leaf, text: str) -> Any:
    """Reads one value of a field from its spelling.

    Raises:
        UsageError: the text does not fit the field's type; says what does.
    """
    try:
        return _parse(leaf.kind, text.strip())
    except ValueError as error:
        raise UsageError(f"{leaf.flag}: {error}") from None


def parse_values(leaf: Leaf, text: str) -> tuple[Any, ...]:
    """Reads a list of values: `a,b,c`, or `1,2;3,4` where each value is itself a tuple."""
    separator = ";" if _is_tuple(leaf.kind) else ","
    items = [item.strip() for item in text.split(separator)]
    if "" in items:
        raise UsageError(f"{leaf.flag}: a value is missing in {text!r}")
    return tuple(parse(leaf, item) for item in items)


def coerce(leaf: Leaf, value: Any) -> Any:
    """A value given from Python, in the form the config holds (text is parsed).

    Raises:
        UsageError: the value does not fit the field's type; says what does.
    """
    if isinstance(value, str):
        return parse(leaf, value)
    try:
        return _fit(leaf.kind, value)
    except ValueError:
        raise UsageError(f"{leaf.flag}: expected {takes(leaf.kind)}, not {value!r}") from None


def _fit(kind: Any, value: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if choices := choices_of(kind):
        return _fit_option(choices, value)
    if origin is Annotated:
        return _fit(args[0], value)
    if _is_optional(kind):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else _fit(inner, value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_fit(args[0], item) for item in value)
    if origin is Literal and value in args:
        return value
    if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    if kind in (bool, int, float, str) or origin in (tuple, Literal):
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


def choices_of(kind: Any) -> Choices | None:
    """The `Choices` a type is annotated with."""
    annotations = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((m for m in annotations if isinstance(m, Choices)), None)


def takes(kind: Any) -> str:
    """What a field takes, for a help text: `FLOAT|none`, `{adam,sgd}`, `INT,...`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "NAME[:NUMBER]" if choices_of(kind) else takes(args[0])
    if _is_optional(kind):
        return f"{takes(next(a for a in args if a is not type(None)))}|none"
    if origin is Literal:
        return "{" + ",".join(spell(value) for value in args) + "}"
    if origin is tuple:
        return f"{takes(args[0])},..."
    names = {bool: "{true,false}", str: "TEXT", int: "INT", float: "FLOAT"}
    return names.get(kind, "VALUE")


def _is_tuple(kind: Any) -> bool:
    if get_origin(kind) is Annotated or _is_optional(kind):
        return any(_is_tuple(k) for k in get_args(kind) if k is not type(None))
    return get_origin(kind) is tuple


def _parse(kind: Any, text: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if choices := choices_of(kind):
        return parse_option(text, choices.options)
    if origin is Annotated:
        return _parse(args[0], text)
    if _is_optional(kind):
        inner = next(a for a in args if a is not type(None))
        return None if text.lower() == "none" else _parse(inner, text)
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
        return tuple(_parse(args[0], item) for item in items)
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
