"""The command line of a verb: its options and the fields of a config, read by tyro.

Values are spelled the same way everywhere: `--width 100,100`, `--vary "width=100,100;50"` and
`width="100,100"` from Python all go through `config.parse`. tyro lays out the help and finds the
values; what is wrong with one is said here, in one line.
"""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from experiments.engine.config import Leaf, field_docs, fitted, get, leaves, parse, replace
from experiments.engine.errors import UsageError
from experiments.engine.values import Shown, choices_of, spell, takes

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
    mine = _boxes(options, "options", defaults_said=False)
    boxes = [*mine[:1], *_boxes(config, title, defaults_said=True), *mine[1:]]
    names = _distinct([box.__name__ for box in boxes])
    form = dataclasses.make_dataclass(
        "Form",
        [(n, box, dataclasses.field(default=box())) for n, box in zip(names, boxes, strict=True)],
    )
    filled, left = tyro.cli(
        form, prog=prog, args=list(argv), description="", config=(tyro.conf.OmitArgPrefixes,),
        return_unknown_args=True,
    )  # fmt: skip
    if left:
        _refuse_unknown(left[0], [leaf.flag for leaf in (*own.values(), *fields.values())], prog)
    values = {name: value for box in vars(filled).values() for name, value in vars(box).items()}
    return (
        replace(options, {name: values[name] for name in own}),
        replace(config, {name: values[name] for name in fields}),
    )


def _distinct(names: list[str]) -> list[str]:
    """Names with `_` behind those that were there before."""
    found: list[str] = []
    for name in names:
        while name in found:
            name += "_"
        found.append(name)
    return found


def _boxes(holder: Any, title: str, *, defaults_said: bool) -> list[type]:
    """One dataclass per box of the help text: the holder's own fields, then its parts.

    Args:
        title: of the box of its own fields.
        defaults_said: whether the help text shows defaults that stand for "nothing".
    """
    own = re.sub(r"\W", "_", title)
    summary = (type(holder).__doc__ or "").strip().partition("\n")[0]
    docs = field_docs(type(holder)) | {own: summary}
    fields: dict[str, list[Any]] = {own: []}
    for leaf in leaves(type(holder)).values():
        default = get(holder, leaf.name)
        field = (
            leaf.name,
            _hint(leaf, default, defaults_said),
            dataclasses.field(default=default),
        )
        fields.setdefault(leaf.path[0] if len(leaf.path) > 1 else own, []).append(field)
    return [
        dataclasses.make_dataclass(
            name, inside, frozen=True, namespace={"__doc__": _plain(docs.get(name, ""))}
        )
        for name, inside in fields.items()
        if inside
    ]


def _hint(leaf: Leaf, default: Any, defaults_said: bool) -> Any:
    """The tyro annotation of a field: how it is read, and its help text."""
    empty = default is None or default == ()
    unsaid = default is False or default == "" or (empty and not defaults_said)
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
        as_given = _shown(leaf).repeated or _shown(leaf).verbatim
        return words[0] if as_given else parse(leaf, words[0])

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
    flags = flags_of(argv)
    for flag in flags:
        if flags.count(flag) > 1 and flag not in repeatable:
            raise UsageError(f"{flag} is given twice; give it once")


def flags_of(argv: Sequence[str]) -> list[str]:
    """The options given, in order, spelled with dashes."""
    return [a.partition("=")[0].replace("_", "-") for a in argv if a.startswith("--")]


def _refuse_unknown(word: str, flags: list[str], prog: str) -> NoReturn:
    if not word.startswith("-"):
        raise UsageError(f"unexpected argument {word!r}; `{prog} --help` lists the options")
    flag = word.partition("=")[0]
    near = difflib.get_close_matches("--" + flag.strip("-").replace("_", "-"), flags, n=1)
    hint = f"did you mean {near[0]}?" if near else f"`{prog} --help` lists them"
    raise UsageError(f"unknown option {flag}; {hint}")
