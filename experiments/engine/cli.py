"""The command line: verbs, names, and messages instead of tracebacks.

Nothing slow is imported until a verb needs it, so `--help` answers at once.
"""

import contextlib
import difflib
import errno
import io
import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from experiments.engine.errors import SAVED, AblaxError, UsageError

if TYPE_CHECKING:
    from experiments import Entry

VERBS = {
    "list": "experiments, named studies and data sets",
    "describe": "layers, shapes, parameters and FLOPs of a net",
    "run": "train one cell with one seed",
    "study": "train cells x seeds and answer with statistics",
    "report": "print the answer of study folders again, and write a page of each",
    "resume": "go on with a study folder that was interrupted, or add seeds to it",
    "reproduce": "train a recorded study again and compare it, bit by bit",
    "merge": "join the folders of a study's shards",
    "pack": "make one archive of a study folder, with a methods paragraph",
    "sample": "have a trained language model write a text",
    "nearest": "the words most like some words, by trained word vectors",
    "analogy": "what is to c as b is to a, by trained word vectors",
    "export": "write trained word vectors to a file that word2vec's readers load",
    "claim": "published results: what was reproduced; or run one",
}
FOLDER_VERBS = {
    "report": "DIR ...",
    "resume": "DIR",
    "reproduce": "DIR",
    "merge": "DIR DIR ...",
    "pack": "DIR",
    "sample": "DIR",
    "nearest": "DIR WORD ...",
    "analogy": "DIR A B C",
    "export": "DIR",
}
"""Verbs that work on study folders, and what they take before their options."""
_TAKEN = {
    "report": "folders",
    "merge": "folders",
    "nearest": "a folder and words",
    "analogy": "a folder and three words",
}
HELP = ("-h", "--help")
INTERRUPTED = 130
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG)
NAMED = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EPERM)
"""Errors of the disk, and of a path where they name it: no mistakes of the program."""
NEEDED = ("jax", "flax", "optax", "numpy", "scipy", "tyro", "docstring_parser", "jaxtyping")
"""Packages that are missing where Ablax was not installed."""


def main(
    experiments: "Mapping[str, Entry]", argv: Sequence[str], *, prog: str, only: str = ""
) -> int:
    """Runs one command; returns its exit code (0 done, 2 usage, 3 data missing, 75 saved and to
    be run again, 130 interrupted before there was anything to save, 1 failed).

    Args:
        experiments: name -> entry.
        argv: the arguments after the program's name.
        prog: how the program was called, for help and messages.
        only: the one experiment of a user's script: the command line then leaves its name out.
    """
    _make_printable()
    try:
        return _dispatch(experiments, list(argv), prog, only)
    except AblaxError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.code
    except SystemExit as stop:  # tyro has printed a help text
        return stop.code if isinstance(stop.code, int) else UsageError.code
    except (KeyboardInterrupt, ImportError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in NEEDED:
            print(
                f"{prog}: this Python has no {error.name}: `make .venv/.ready` "
                "installs what Ablax needs; then use .venv/bin/python",
                file=sys.stderr,
            )
            return AblaxError.code
        if not _is_interrupt(error):
            raise
        print(
            f"\n{prog}: interrupted; what was recorded is kept: give the same command to go on",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough; nothing more to flush at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return AblaxError.code
    except OSError as error:
        if error.errno not in DISK and not (error.errno in NAMED and error.filename):
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(
            f"{prog}: {place}{error.strerror}; what was recorded is kept: put that right and "
            "give the same command to go on",
            file=sys.stderr,
        )
        return AblaxError.code


def _make_printable() -> None:
    """Streams that whoever called has closed lead nowhere, and the others print any name."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """Ends the process; after a stop without waiting for what compiles in the background."""
    if code != SAVED:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is a Ctrl-C, also one that an import turned into an error of its own."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return _is_interrupt(error.__cause__ or error.__context__)


def _dispatch(experiments: "Mapping[str, Entry]", argv: list[str], prog: str, only: str) -> int:
    if not argv:
        raise UsageError(f"no command given: {', '.join(VERBS)}; `{prog} --help` shows examples")
    verb, *rest = argv
    if verb in (*HELP, "help"):
        print(_overview(prog, only), flush=True)
        return 0
    if verb not in VERBS:
        raise UsageError(f"unknown command {verb!r}; {_meant(verb, experiments, prog, only)}")
    if verb == "list":
        code = _list(experiments, rest, prog, only)
    elif verb == "claim":
        code = _claim(experiments, rest, prog)
    elif verb in FOLDER_VERBS:
        code = _folder_verb(experiments, verb, rest, prog)
    else:
        code = _work(experiments, verb, rest, prog, only)
    sys.stdout.flush()
    return code


def _meant(word: str, experiments: "Mapping[str, Entry]", prog: str, only: str) -> str:
    from experiments.claims import CLAIMS
    from experiments.studies import STUDIES

    if word in CLAIMS and not only:
        return f"to run this claim: {prog} claim {word}"
    if word in STUDIES and not only:
        return f"to run this study: {prog} study {word}"
    if word in experiments and not only:
        return f"to train this experiment: {prog} run {word}"
    return _nearest(word, list(VERBS))


def _list(experiments: "Mapping[str, Entry]", rest: list[str], prog: str, only: str) -> int:
    if any(word in HELP for word in rest):
        print(f"usage: {prog} list\n\n{VERBS['list'].capitalize()}.")
        return 0
    if rest:
        raise UsageError(f"list takes no arguments: {prog} list")
    from experiments.engine import commands

    return commands.show_list(experiments, only)


def _folder_verb(experiments: "Mapping[str, Entry]", verb: str, rest: list[str], prog: str) -> int:
    """A verb that works on study folders, given before its options."""
    given = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))
    arguments, takes = rest[len(given) :], FOLDER_VERBS[verb].split()
    usage = f"{prog} {verb} {FOLDER_VERBS[verb]}"
    least = {"merge": 1}.get(verb, len([word for word in takes if word != "..."]))
    fits = len(given) == least or (takes[-1] == "..." and len(given) > least)
    if not any(word in HELP for word in rest) and not fits:
        raise UsageError(f"{verb} takes {_TAKEN.get(verb, 'one folder')}: {usage}")
    from experiments.engine import folder_commands

    return folder_commands.VERBS[verb](experiments, given, arguments, usage)


def _claim(experiments: "Mapping[str, Entry]", rest: list[str], prog: str) -> int:
    """`claim`: all of them, or one by its name."""
    from experiments.claims import CLAIMS

    known = {name: each for name, each in CLAIMS.items() if each.experiment in experiments}
    if not known:
        raise UsageError("claims belong to the project's own experiments: python launch.py claim")
    if rest and rest[0] in HELP:
        print(_names("claim", {n: each.title for n, each in known.items()}, prog), flush=True)
        return 0
    named = bool(rest) and not rest[0].startswith("-")
    if named and rest[0] not in known:
        raise UsageError(f"unknown claim {rest[0]!r}; {_nearest(rest[0], list(known))}")
    from experiments.engine import claiming

    if named:
        name, *arguments = rest
        usage = f"{prog} claim {name}"
        return claiming.run(experiments, name, known[name], arguments, usage)
    return claiming.show(experiments, known, rest, f"{prog} claim")


def _work(
    experiments: "Mapping[str, Entry]", verb: str, rest: list[str], prog: str, only: str
) -> int:
    """A verb that works on an experiment or a named study."""
    name, named, arguments = only, None, rest
    if not only:
        from experiments.studies import STUDIES

        studies = {n: each.question for n, each in STUDIES.items()} if verb == "study" else {}
        known = {n: entry.summary for n, entry in experiments.items()} | studies
        if rest and rest[0] in HELP:
            print(_names(verb, known, prog), flush=True)
            return 0
        name, arguments = _name(verb, rest, known, prog)
        if name in studies:
            named, name = name, STUDIES[name].experiment
    usage = " ".join([prog, verb, *([] if only else [named or name])])
    experiment = experiments[name].load()
    from experiments.engine import commands

    actions: dict[str, Callable[..., int]] = {
        "describe": commands.describe,
        "run": commands.run,
        "study": commands.study,
    }
    return actions[verb](experiment, named, arguments, usage)


def _name(verb: str, rest: list[str], known: Mapping[str, str], prog: str) -> tuple[str, list[str]]:
    from experiments.studies import STUDIES

    if not rest or rest[0].startswith("-"):
        raise UsageError(
            f"{verb} needs a name before its options: {prog} {verb} NAME ...; "
            f"names: {', '.join(known)}"
        )
    name, *arguments = rest
    if name in known:
        return name, arguments
    if name in STUDIES:
        raise UsageError(f"{name!r} is a named study: {prog} study {name}")
    what = "experiment or study" if verb == "study" else "experiment"
    raise UsageError(f"unknown {what} {name!r}; {_nearest(name, list(known))}")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def terminal_width() -> int:
    """Columns that output may fill: those of the terminal (or COLUMNS), from 60 to 120."""
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))


def rows(named: Mapping[str, str]) -> str:
    """Names with their descriptions, wrapped beside them."""
    size = max(map(len, named))
    wrapped = (
        textwrap.fill(
            text, terminal_width(), initial_indent=f"  {name:<{size}}  ",
            subsequent_indent=" " * (size + 4), break_long_words=False, break_on_hyphens=False,
        )
        for name, text in named.items()
    )  # fmt: skip
    return "\n".join(wrapped)


def _names(verb: str, known: Mapping[str, str], prog: str) -> str:
    return f"""usage: {prog} {verb} NAME [options]

{VERBS[verb].capitalize()}.

names:
{rows(known)}

`{prog} {verb} NAME --help` lists the options."""


def _overview(prog: str, only: str) -> str:
    name = "" if only else " NAME"
    mlp = "" if only else " mlp"
    verbs = {verb: text for verb, text in VERBS.items() if not (only and verb == "claim")}
    return f"""usage: {prog} COMMAND{name} [options]

Find out what a design choice does to a network, and prove it.

commands:
{rows(verbs)}

examples:
  {prog} list
  {prog} run{mlp} --learning-rate 0.01 --epochs 20
  {prog} study{mlp} --vary activation=relu,gelu --vary dropout=0,0.2,0.5
  {prog} study{mlp} --help"""
