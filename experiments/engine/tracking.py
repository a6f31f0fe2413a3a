"""Curves of a study for other tools while it trains, fed from `metrics.jsonl` alone.

What they hold is derived: it is told anew whenever the recorded lines were rewritten.
"""

import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from experiments.engine.log import line_key
from experiments.engine.measured import BESIDE
from experiments.engine.sealed import open_line
from experiments.engine.study import Study

POLL_SECONDS = 2.0

Line = Mapping[str, Any]


@runtime_checkable
class Run(Protocol):
    """Where the curves of one replica go."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Takes the numbers of one step."""

    def close(self) -> None:
        """Everything is where it belongs when it returns."""


@runtime_checkable
class Tracker(Protocol):
    """A tool that shows curves."""

    name: str

    def restart(self) -> None:
        """Forgets what was told before."""

    def begin(self, line: Line) -> Run:
        """The run of a replica, from any of its lines."""
        ...


def given(study: Study, line: Line) -> dict[str, Any]:
    """A replica's levels, tuned values, seed and phase; numbers where they are some."""
    levels = study.cells[line["cell"]].levels
    named = {**levels, **line["tuned"], "seed": line["seed"], "phase": line["phase"]}
    return {name: _value(value) for name, value in named.items()}


def run_name(line: Line) -> str:
    """`report/cell_0/seed_3`; a run that tunes has its values below."""
    tuned = "-".join(f"{name}_{value}" for name, value in line["tuned"].items())
    parts = [line["phase"], f"cell_{line['cell']}", f"seed_{line['seed']}"]
    if line["phase"] == "tune":
        parts.append(tuned.replace("/", "_"))
    return "/".join(parts)


def _value(value: Any) -> Any:
    """A number where it is one, so that a tool can sort and filter by it."""
    try:
        return float(value)
    except ValueError:
        return value


class Feed:
    """Hands new lines of a study folder to a tracker, from the first again if they were rewritten.

    Each replica is a run of its own; its final line ends the run.
    """

    def __init__(self, folder: pathlib.Path, tracker: Tracker) -> None:
        self._path, self._tracker = folder / "metrics.jsonl", tracker
        self._runs: dict[tuple[Any, ...], Run] = {}
        self._inode, self._offset = 0, 0

    def read(self) -> None:
        """Takes whatever whole lines have come since the last time."""
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            status = self._path.stat()
            if status.st_ino != self._inode or status.st_size < self._offset:
                self.close()
                self._tracker.restart()
                self._inode, self._offset = status.st_ino, 0
            stream.seek(self._offset)
            whole, found, _ = stream.read().rpartition(b"\n")
        self._offset += len(whole) + len(found)
        for text in whole.decode("utf-8", "replace").split("\n"):
            line = open_line(text)
            if line is not None:
                self._write(line)

    def close(self) -> None:
        """Ends every run."""
        while self._runs:
            self._runs.popitem()[1].close()

    def _write(self, line: Line) -> None:
        key, final = line_key(line), bool(line.get("final"))
        run = self._runs.get(key) or self._runs.setdefault(key, self._tracker.begin(line))
        values = {
            f"final/{name}" if final else name: value
            for name, value in line.items()
            if name not in BESIDE and isinstance(value, int | float)
        }
        run.add(values, line.get("step", 0))
        if final:
            self._runs.pop(key).close()


@contextlib.contextmanager
def tracked(
    folder: pathlib.Path, trackers: Sequence[Tracker], echo: Callable[[str], None]
) -> Iterator[None]:
    """Tells trackers of a study while the block trains it, and once more at its end.

    What fails there is told in one line and stops that tracker, not the study.
    """
    stop = threading.Event()

    def follow(tracker: Tracker) -> None:
        feed = Feed(folder, tracker)
        try:
            while not stop.wait(POLL_SECONDS):
                feed.read()
            feed.read()
            feed.close()
        except Exception as error:
            echo(f"warning: no further {tracker.name}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=follow, args=[each], daemon=True) for each in trackers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
