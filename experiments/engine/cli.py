"""The command line: verbs, their options, and messages instead of tracebacks.

Nothing slow is imported until a verb needs it, so `--help` answers at once.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from experiments.engine.errors import AblaxError, UsageError

if TYPE_CHECKING:
    from experiments import Entry

VERBS = {
    "list": "experiments, named studies and data sets",
    "describe": "layers, shapes, parameters and FLOPs of a net",
    "run": "train one cell with one seed",
    "study": "train cells x seeds and answer with statistics",
    "report": "print the answer of a study folder again",
}
INTERRUPTED = 130


def main(
    experiments: "Mapping[str, Entry]", argv: Sequence[str], *, prog: str, only: str = ""
) -> int:
    """Runs one command; returns its exit code (0 done, 2 usage, 3 data missing, 1 failed).

    Args:
        experiments: name -> entry.
        argv: the arguments after the program's name.
        prog: how the program was called, for help and messages.
        only: the one experiment of a user's script: the command line then leaves its name out.
    """
    try:
        return _dispatch(experiments, list(argv), prog, only)
    except AblaxError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print(
            f"\n{prog}: interrupted; finished replicas are kept: give the same command to go on",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        return 1


def _dispatch(experiments: "Mapping[str, Entry]", argv: list[str], prog: str, only: str) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(prog, only))
        return 0 if argv else UsageError.code
    verb, *rest = argv
    if verb not in VERBS:
        raise UsageError(f"unknown command {verb!r}; {_nearest(verb, list(VERBS))}")
    from experiments.engine import commands

    actions: dict[str, Callable[[], int]] = {
        "list": lambda: commands.show_list(experiments, only),
        "describe": lambda: commands.describe(*_target(experiments, verb, rest, prog, only)),
        "run": lambda: commands.run(*_target(experiments, verb, rest, prog, only)),
        "study": lambda: commands.study(*_target(experiments, verb, rest, prog, only)),
        "report": lambda: commands.report(experiments, rest, prog),
    }
    return actions[verb]()


def _target(
    experiments: "Mapping[str, Entry]", verb: str, rest: list[str], prog: str, only: str
) -> tuple:
    """What a verb works on: (experiment, named study or None, remaining arguments, usage)."""
    from experiments.studies import STUDIES

    if only:
        return experiments[only].load(), None, rest, f"{prog} {verb}"
    named = STUDIES if verb == "study" else {}
    known = [*experiments, *named]
    if not rest or rest[0] in ("-h", "--help"):
        print(f"usage: {prog} {verb} NAME [options]\n\nNAME is one of: {', '.join(known)}")
        print(f"`{prog} {verb} NAME --help` lists the options.")
        raise SystemExit(0 if rest else UsageError.code)
    name, *arguments = rest
    usage = f"{prog} {verb} {name}"
    if name in named:
        return experiments[named[name].experiment].load(), name, arguments, usage
    if name not in experiments:
        what = "experiment or study" if named else "experiment"
        raise UsageError(f"unknown {what} {name!r}; {_nearest(name, known)}")
    return experiments[name].load(), None, arguments, usage


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _overview(prog: str, only: str) -> str:
    name = "" if only else " NAME"
    verbs = "\n".join(f"  {verb:<10}{text}" for verb, text in VERBS.items())
    return f"""usage: {prog} COMMAND{name} [options]

Find out what a design choice does to a network, and prove it.

commands:
{verbs}

examples:
  {prog} list
  {prog} run{" mlp" * (not only)} --learning-rate 0.01 --epochs 20
  {prog} study{" mlp" * (not only)} --vary activation=relu,gelu,tanh --vary dropout=0,0.2,0.5
  {prog} COMMAND{name} --help"""
