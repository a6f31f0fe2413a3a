"""The command line of a verb: its options and the fields of a config, read by tyro.

Values are spelled the same way everywhere: `--width 100,100`, `--vary "width=100,100;50"` and
`width="100,100"` from Python all go through `config.parse`. tyro lays out the help and finds the
values; what is wrong with one is said here, in one line.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from experiments.engine.config import (
    Leaf,
    choices_of,
    coerce,
    field_docs,
    fitted,
    get,
    leaf_of,
    leaves,
    parse,
    parse_values,
    replace,
    spell,
    takes,
)
from experiments.engine.errors import UsageError
from experiments.engine.options import Shown

OptionsT = TypeVar("OptionsT")
ConfigT = TypeVar("ConfigT")


def read(
    options: OptionsT, config: ConfigT, argv: Sequence[str], prog: str, title: str
) -> tuple[OptionsT, ConfigT]:
    """Reads a verb's options and the fields of a config from one argument list.

    Args:
        options, config: the defaults.
        prog: what the help text calls the command.
        title: heads the config's own fields in the help text.

    Returns:
        Both with what was given.

    Raises:
        UsageError: an unknown option, a value that does not fit, an option given twice.
        SystemExit: `--help` was asked for and printed.
    """
    config = fitted(config)
    own, fields = leaves(type(options)), leaves(type(config))
    if taken := sorted(own.keys() & fields.keys()):
        raise UsageError(
            f"config fields with the names of options: {', '.join(taken)}; rename them"
        )
    _refuse_repeated(argv, {leaf.flag for leaf in own.values() if _shown(leaf).repeated})
    first, *others = _groups(options, "options", optional=True)
    groups = [first, *_groups(config, title, optional=False), *others]
    form = dataclasses.make_dataclass(
        "Form", [(kind.__name__, kind, dataclasses.field(default=kind())) for kind in groups]
    )
    filled, left = tyro.cli(
        form, prog=prog, args=list(argv), description="", config=(tyro.conf.OmitArgPrefixes,),
        return_unknown_args=True,
    )  # fmt: skip
    if left:
        _refuse_unknown(left[0], [leaf.flag for leaf in (*own.values(), *fields.values())], prog)
    values = {k: v for kind in groups for k, v in vars(getattr(filled, kind.__name__)).items()}
    return (
        replace(options, {name: values[name] for name in own}),
        replace(config, {name: values[name] for name in fields}),
    )


def _groups(holder: Any, title: str, *, optional: bool) -> list[type]:
    """One dataclass per box of the help text: the holder's own fields, then its parts."""
    boxes: dict[str, list[Any]] = {}
    for leaf in leaves(type(holder)).values():
        box = leaf.path[0] if len(leaf.path) > 1 else re.sub(r"\W", "_", title)
        field = (leaf.name, _hint(leaf, get(holder, leaf.name), optional))
        boxes.setdefault(box, []).append(
            (*field, dataclasses.field(default=get(holder, leaf.name)))
        )
    summary = (type(holder).__doc__ or "").strip().partition("\n")[0]
    docs = {re.sub(r"\W", "_", title): summary} | field_docs(type(holder))
    named = sorted(boxes.items(), key=lambda item: item[0] in docs and item[0] != title)
    return [
        dataclasses.make_dataclass(
            name, fields, frozen=True, namespace={"__doc__": _plain(docs.get(name, ""))}
        )
        for name, fields in named
    ]


def _hint(leaf: Leaf, default: Any, optional: bool) -> Any:
    """The tyro annotation of a field: how it is read, and its help text."""
    unsaid = default is False or default == "" or (optional and default in (None, ()))
    default_text = "" if unsaid else f"(default: {spell(default)})"
    arg = tyro.conf.arg(help=_help(leaf), help_behavior_hint=default_text)
    if _shown(leaf).repeated:
        item = Annotated[str, _constructor(leaf, default)]
        return Annotated[tuple[item, ...], tyro.conf.UseAppendAction, arg]
    return Annotated[Any, _constructor(leaf, default), arg]


def _help(leaf: Leaf) -> str:
    choices = choices_of(leaf.kind)
    names = f"; one of {', '.join(map(str, choices.options.values()))}" if choices else ""
    return _plain(leaf.doc) + names


def _plain(doc: str) -> str:
    return " ".join(doc.split()).removesuffix(".")


def _annotations(leaf: Leaf) -> tuple[Any, ...]:
    return get_args(leaf.kind)[1:] if get_origin(leaf.kind) is Annotated else ()


def _shown(leaf: Leaf) -> Shown:
    given = [m for m in _annotations(leaf) if isinstance(m, Shown)]
    return given[0] if given else Shown(takes(leaf.kind))


def _constructor(leaf: Leaf, default: Any) -> PrimitiveConstructorSpec[Any]:
    """Reads one value. tyro hands over all words up to the next option, so that we can say what
    is wrong with none or several."""

    def read_one(words: list[str]) -> Any:
        if leaf.kind is bool and not words:
            return True
        if len(words) != 1:
            _refuse_words(leaf, words)
        return words[0] if _shown(leaf).repeated else parse(leaf, words[0])

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="" if leaf.kind is bool and default is False else _shown(leaf).takes,
        instance_from_str=read_one,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [spell(value)],
    )


def _refuse_words(leaf: Leaf, words: list[str]) -> NoReturn:
    flag, shown = leaf.flag, _shown(leaf)
    if not words:
        raise UsageError(f"{flag}: no value given; write {flag} {shown.takes}")
    if shown.repeated and all("=" in word for word in words):
        again = f" {flag} ".join(f'"{word}"' if ";" in word else word for word in words)
        raise UsageError(f"{flag} takes one field at a time: write {flag} {again}")
    if "," in shown.takes:
        joined = ",".join(word.strip(",") for word in words)
        raise UsageError(f"{flag} takes one value without spaces: write {flag} {joined}")
    raise UsageError(f"{flag} takes one value, not {len(words)}: {' '.join(words)}")


def _refuse_repeated(argv: Sequence[str], repeatable: set[str]) -> None:
    """Refuses an option given twice, where the last would win silently."""
    flags = _flags(argv)
    for flag in flags:
        if flags.count(flag) > 1 and flag not in repeatable:
            raise UsageError(f"{flag} is given twice; give it once")


def _flags(argv: Sequence[str]) -> list[str]:
    return [a.partition("=")[0].replace("_", "-") for a in argv if a.startswith("--")]


def _refuse_unknown(word: str, flags: list[str], prog: str) -> NoReturn:
    if not word.startswith("-"):
        raise UsageError(f"unexpected argument {word!r}; `{prog} --help` lists the options")
    flag = word.partition("=")[0]
    near = difflib.get_close_matches("--" + flag.strip("-").replace("_", "-"), flags, n=1)
    hint = f"did you mean {near[0]}?" if near else f"`{prog} --help` lists them"
    raise UsageError(f"unknown option {flag}; {hint}")


def refuse_idle(argv: Sequence[str], config_class: type, chosen: Mapping[str, str]) -> None:
    """Refuses a field's own flag where the field is varied or tuned: it would do nothing.

    Args:
        chosen: field -> the flag that varies or tunes it.
    """
    given = _flags(argv)
    for name, flag in chosen.items():
        own = leaf_of(config_class, name).flag
        if own in given:
            raise UsageError(f"{own}: this study sets {name} by {flag} {name}=...; give only one")


def assignments(config: Any, given: Sequence[str], flag: str) -> dict[str, tuple[Any, ...]]:
    """Reads repeated `--vary field=a,b` options.

    Raises:
        UsageError: no `=`, no values, an unknown or repeated field, a value that does not fit.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-")
        if name in ("seed", "seeds"):
            raise UsageError(f"{flag} {text}: seeds repeat every cell; write --seeds N")
        try:
            leaf = leaf_of(type(config), name)
        except UsageError as error:
            raise UsageError(f"{flag} {text}: {error}") from None
        if not equals or not values.strip():
            raise UsageError(f"{flag} {text}: no values given; write {flag} {leaf.name}=a,b,c")
        if leaf.name in found:
            raise UsageError(f"{flag} {leaf.name} is given twice; list all its values at once")
        found[leaf.name] = _values(leaf, values, f"{flag} {text}")
    return found


def _values(leaf: Leaf, text: str, where: str) -> tuple[Any, ...]:
    try:
        return parse_values(leaf, text)
    except UsageError as error:
        problem = str(error).removeprefix(f"{leaf.flag}: ")
        raise UsageError(f"{where}: {problem}") from None


def read_arms(config: Any, given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads repeated `--arm "NAME field=value field=value|value"` options.

    Returns:
        Name -> field -> value, or a list of values to tune the field on.

    Raises:
        UsageError: no name or one given twice, an unknown field, a value that does not fit.
    """
    arms: dict[str, dict[str, Any]] = {}
    for text in given:
        name, *fields = text.split() or [""]
        where = f'--arm "{text}"'
        if not name or "=" in name:
            raise UsageError(f'{where}: begin with a name: --arm "NAME field=value"')
        if name in arms:
            raise UsageError(f"{where}: an arm called {name} is there already")
        arms[name] = dict(_arm_field(config, field, where) for field in fields)
    if len(arms) == 1:
        raise UsageError(
            f"--arm {next(iter(arms))}: one arm is no comparison; repeat --arm for each level"
        )
    return arms


def _arm_field(config: Any, text: str, where: str) -> tuple[str, Any]:
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"{where}: {text!r} has no value; write field=value")
    try:
        leaf = leaf_of(type(config), name)
        found = [parse(leaf, value) for value in values.split("|")]
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return leaf.name, found if len(found) > 1 else found[0]


def override_fields(config: Any, spelled: Mapping[str, str]) -> Any:
    """A config with fields set from their spelling (a named study's declaration)."""
    return replace(
        config, {name: coerce(leaf_of(type(config), name), text) for name, text in spelled.items()}
    )
