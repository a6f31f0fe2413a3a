"""A command and what it did."""

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Callable

SMALL = "--dataset digits --width 8 --epochs 1"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[[str], Answer]


def refused(answer: Answer, *fragments: str, code: int = 2) -> None:
    """One message, of one line unless it lists files, and nothing else."""
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.startswith("launch.py: ")
    assert answer.err.count("launch.py: ") == 1
    assert "Traceback" not in answer.err
    for fragment in fragments:
        assert fragment in answer.err


def process(*argv: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own."""
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def squeezed(text: str) -> str:
    """Text without white space and frames, wherever lines were broken."""
    return "".join(text.replace("│", " ").split())
