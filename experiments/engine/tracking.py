"""TensorBoard events of a study while it trains, fed from `metrics.jsonl` alone.

Events are derived: `tensorboard/` is written anew whenever the recorded lines were rewritten.
"""

import contextlib
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from experiments.engine.errors import UsageError
from experiments.engine.log import line_key
from experiments.engine.sealed import open_line
from experiments.engine.study import Study
from experiments.engine.tables import LINE_FIELDS

POLL_SECONDS = 2.0
INSTALL = "python -m pip install tensorboardX"
BESIDE = {*LINE_FIELDS, "epoch", "diverged", "diagnosis"}


class Tracker(Protocol):
    """Where recorded lines go."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Takes one sound line of `metrics.jsonl`, in their order."""

    def close(self) -> None:
        """Everything is on the disk when it returns."""


class TensorBoard:
    """A run per replica: curves over steps, and its levels, tuned values and seed as
    hyper-parameters."""

    def __init__(self, folder: pathlib.Path, study: Study) -> None:
        self._folder, self._study = folder, study
        self._writers: dict[tuple[Any, ...], Any] = {}
        shutil.rmtree(folder, ignore_errors=True)

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds the numbers of a line; a final one ends the replica's run."""
        key, final = line_key(line), bool(line.get("final"))
        writer = self._writer(key, line)
        for name, value in line.items():
            if name not in BESIDE and isinstance(value, int | float):
                writer.add_scalar(f"final/{name}" if final else name, value, line.get("step", 0))
        if final:
            self._writers.pop(key).close()

    def close(self) -> None:
        """Ends every run."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, key: tuple[Any, ...], line: Mapping[str, Any]) -> Any:
        if key not in self._writers:
            from tensorboardX import SummaryWriter
            from tensorboardX.summary import hparams

            writer: Any = SummaryWriter(logdir=str(self._folder / _run(line)))
            levels = self._study.cells[line["cell"]].levels
            given = {**levels, **line["tuned"], "seed": line["seed"], "phase": line["phase"]}
            _, *session = hparams({name: _value(v) for name, v in given.items()}, {})
            for summary in session:
                writer.file_writer.add_summary(summary)
            self._writers[key] = writer
        return self._writers[key]


def _run(line: Mapping[str, Any]) -> str:
    """`report/cell_0/seed_3`; a run that tunes has its values below."""
    tuned = "-".join(f"{name}_{value}" for name, value in line["tuned"].items())
    parts = [line["phase"], f"cell_{line['cell']}", f"seed_{line['seed']}"]
    if line["phase"] == "tune":
        parts.append(tuned.replace("/", "_"))
    return "/".join(parts)


def _value(value: Any) -> Any:
    """A number where it is one, so that TensorBoard can sort and filter by it."""
    try:
        return float(value)
    except ValueError:
        return value


class Feed:
    """Hands new lines of a study folder to a tracker, which begins again if they were rewritten.

    Args:
        begin: makes the tracker.
    """

    def __init__(self, folder: pathlib.Path, begin: Callable[[], Tracker]) -> None:
        self._path, self._begin = folder / "metrics.jsonl", begin
        self._tracker: Tracker | None = None
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
                self._tracker, self._inode, self._offset = self._begin(), status.st_ino, 0
            stream.seek(self._offset)
            whole, found, _ = stream.read().rpartition(b"\n")
        self._offset += len(whole) + len(found)
        for text in whole.decode("utf-8", "replace").split("\n"):
            line = open_line(text)
            if line is not None and self._tracker is not None:
                self._tracker.write(line)

    def close(self) -> None:
        """Closes the tracker."""
        if self._tracker is not None:
            self._tracker.close()


@contextlib.contextmanager
def tracked(
    folder: pathlib.Path, study: Study, wanted: bool, echo: Callable[[str], None]
) -> Iterator[None]:
    """Writes TensorBoard events of a study while the block trains it, and once more at its end.

    What fails there is told in one line and stops the events, not the study. A folder that has
    events goes on having them.

    Raises:
        UsageError: they are wanted, and tensorboardX is not installed.
    """
    place = folder / "tensorboard"
    if not (wanted or place.is_dir()):
        yield
        return
    try:
        import tensorboardX
    except ImportError:
        raise UsageError(f"--tensorboard needs the extra `track`: {INSTALL}") from None
    del tensorboardX
    feed, stop = Feed(folder, lambda: TensorBoard(place, study)), threading.Event()

    def follow() -> None:
        try:
            while not stop.wait(POLL_SECONDS):
                feed.read()
            feed.read()
            feed.close()
        except Exception as error:
            echo(f"warning: no further TensorBoard events: {type(error).__name__}: {error}")

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
