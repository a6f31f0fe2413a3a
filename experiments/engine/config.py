"""Configs: flattened fields, their spelling, and the split into traced and static values.

A config is a frozen dataclass, possibly composed of others; its leaves are addressed by name
(`learning_rate`), wherever they sit. `float` leaves are traced hyper-parameters: they enter the
compiled program as arguments. Every other leaf is static: it picks the program. `Static[float]`
opts a float out, and `float | None` is static when None and traced otherwise.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser

from experiments.engine.errors import UsageError
from experiments.engine.values import (
    fit,
    is_optional,
    is_spelled,
    is_tuple,
    nearest,
    parse_text,
    spell,
    takes,
)

T = TypeVar("T")
C = TypeVar("C")
STATIC = "static"
Static = Annotated[T, STATIC]


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
        TypeError: two fields share a name, the class is not a frozen dataclass, or a field is of a
            type whose values cannot be written down and read again.
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
        if not is_spelled(kind):
            raise TypeError(
                f"{config_class.__name__}.{field.name}: {kind} cannot be given as text; fields are "
                "bool, int, float, str, Literal[...], Annotated[..., Choices(...)], one of these "
                "or None, or tuple[one of these, ...]"
            )
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
    return kind is float or (is_optional(kind) and float in get_args(kind))


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


def describe(config: Any) -> dict[str, str]:
    """Every field of a config, spelled."""
    return {name: spell(get(config, name)) for name in leaves(type(config))}


def parse(leaf: Leaf, text: str) -> Any:
    """Reads one value of a field from its spelling.

    Raises:
        UsageError: the text does not fit the field's type; says what does.
    """
    try:
        return parse_text(leaf.kind, text.strip())
    except ValueError as error:
        raise UsageError(f"{leaf.flag}: {error}") from None


def parse_values(leaf: Leaf, text: str) -> tuple[Any, ...]:
    """Reads a list of values: `a,b,c`, or `1,2;3,4` where each value is itself a tuple."""
    separator = ";" if is_tuple(leaf.kind) else ","
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
        return value if leaf.kind is str else parse(leaf, value)
    try:
        found = fit(leaf.kind, value)
        texts = isinstance(found, tuple) and any(isinstance(item, str) for item in found)
        if texts and parse_text(leaf.kind, spell(found)) != found:
            raise ValueError
        return found
    except ValueError:
        raise UsageError(f"{leaf.flag}: expected {takes(leaf.kind)}, not {value!r}") from None
