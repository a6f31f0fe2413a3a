"""Studies as processes of their own, forked from one that has imported what they need."""

import multiprocessing
import os
import pathlib
import sys
import tempfile

from experiments.engine import main
from tests.engine.selective import SELECTIVE

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        __name__,
        "experiments.engine.commands",
        "experiments.engine.page.page",
        "orbax.checkpoint.v1",
    ]
)


class Started:
    """A command line of the toy that selects; it can be killed like any process.

    What it prints goes to a file; only imports are shared with other processes: nothing of JAX has
    run before the fork.
    """

    def __init__(self, arguments: list[object]) -> None:
        opened, name = tempfile.mkstemp(suffix=".txt")
        os.close(opened)
        self._said = pathlib.Path(name)
        words = [str(each) for each in arguments]
        self._process = _CONTEXT.Process(target=_run, args=(words, str(self._said)))
        self._process.start()

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()

    def ended(self, timeout: float = 120) -> tuple[int | None, str]:
        """Waits for its end; the exit code and what it printed. Too late, it is killed: None."""
        self._process.join(timeout)
        code, said = self.poll(), self._said.read_text()
        self.kill()
        self._said.unlink()
        return code, said


def _run(arguments: list[str], said: str) -> None:
    out = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(out, stream)
    sys.argv = ["selective.py", *arguments]
    main(SELECTIVE)
