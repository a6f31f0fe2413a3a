"""When a training saves and when it stops: checkpoint intervals, signals, a time limit."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any

from experiments.engine.errors import SAVED, AblaxError, UsageError
from experiments.engine.values import Shown

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
STOPPING = b"\nstopping when the call under way has ended; Ctrl-C again leaves at once, unsaved\n"
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclasses.dataclass(frozen=True)
class Saving:
    """When a study under way is saved, and when it stops.

    Attributes:
        checkpoint_every: epochs between checkpoints (5), or time (60s, 10m, 1h).
        keep_checkpoints: how many of the last checkpoints are kept.
        time_limit: save and stop before this much time has gone by (90s, 30m, 2h); exit code 75.
        extendable: keep the last training state of every replica (`states/`, about three times
            its parameters), so that `resume DIR --epochs N` can add epochs.
    """

    checkpoint_every: Annotated[str, Shown("N|TIME")] = "60s"
    keep_checkpoints: int = 2
    time_limit: Annotated[str | None, Shown("TIME")] = None
    extendable: bool = False


class Interrupted(AblaxError):
    """Asked to stop; everything is saved, and the same command goes on (code 75, EX_TEMPFAIL)."""

    code = SAVED

    def __init__(self, reason: str, folder: pathlib.Path) -> None:
        super().__init__(
            f"stopped by {reason}; everything is saved: give the same command again, or "
            f"`resume {folder}`, to go on"
        )


def parse_duration(text: str, flag: str, else_: str = "") -> float:
    """`90s`, `30m` or `1.5h` in seconds.

    Args:
        else_: what else the flag takes.

    Raises:
        UsageError: it is something else, or not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{flag} {text}: expected {else_}a duration such as 90s, 30m or 1.5h")
    return float(match[1]) * SECONDS[match[2]]


class Control:
    """Asked between the calls of a training; as a context it also listens to signals.

    A signal only sets a flag; what was dispatched is finished and saved. A second Ctrl-C leaves
    the process at once.
    """

    def __init__(self, saving: Saving = Saving()) -> None:
        """Reads when to save and to stop.

        Raises:
            UsageError: neither a number of epochs nor a duration.
        """
        self.saving = saving
        every, limit = str(saving.checkpoint_every).strip(), saving.time_limit
        flag = "--checkpoint-every"
        if every.isdecimal() and int(every) == 0:
            raise UsageError(f"{flag} 0: at least 1 epoch")
        if saving.keep_checkpoints < 1:
            raise UsageError(f"--keep-checkpoints {saving.keep_checkpoints}: at least 1")
        self._epochs = int(every) if every.isdecimal() else None
        self._seconds = (
            None if every.isdecimal() else parse_duration(every, flag, "epochs (5), or ")
        )
        self._limit = None if limit is None else parse_duration(limit, "--time-limit")
        self._started = self._saved = time.monotonic()
        self._asked: float | None = None
        self._longest = 0.0
        self._signal = ""
        self._old: dict[int, Any] = {}
        self._is_lost: Callable[[], bool] = lambda: False

    def watch(self, is_lost: Callable[[], bool]) -> "Control":
        """Asks this question too: whether another process has taken the folder."""
        self._is_lost = is_lost
        return self

    @contextlib.contextmanager
    def leaving(self, folder: pathlib.Path) -> Iterator[None]:
        """Before anything trains there is nothing to save: signals leave at once.

        SIGTERM and SIGUSR1 raise `Interrupted`, SIGINT `KeyboardInterrupt`. Python drops what is
        raised while a callback runs, as of JAX's garbage collection, with a traceback that is
        dropped here too; so the signal is also noted, and the training does not begin.
        """

        def leave(number: int, frame: FrameType | None) -> None:
            self._signal = signal.Signals(number).name
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise Interrupted(self._signal, folder)

        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def drop(unraisable: Any) -> None:
            if not isinstance(unraisable.exc_value, Interrupted | KeyboardInterrupt):
                told(unraisable)

        old = {number: signal.signal(number, leave) for number in SIGNALS}
        told, sys.unraisablehook = sys.unraisablehook, drop
        try:
            yield
        finally:
            sys.unraisablehook = told
            for number, handler in old.items():
                signal.signal(number, handler)

    def __enter__(self) -> "Control":
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the second one leaves at once
            with contextlib.suppress(OSError):
                os.write(2, STOPPING)  # not print, which may be at work

    def reason(self) -> str:
        """Why the training is to stop now; "" while it is not.

        The time limit is met early: by twice the longest time between two questions so far. (What
        came before the first, compiling, does not come again.)

        Raises:
            UsageError: another process has taken the folder.
        """
        self.refuse_lost()
        now = time.monotonic()
        if self._asked is not None:
            self._longest = max(self._longest, now - self._asked)
        self._asked = now
        if self._signal:
            return self._signal
        if self._limit is not None and now - self._started + 2 * self._longest > self._limit:
            return "the time limit"
        return ""

    def urgent(self) -> str:
        """`reason` while a program compiles, which no call is longer by; the time limit is met
        when it is over."""
        self.refuse_lost()
        self._asked = None
        over = self._limit is not None and time.monotonic() - self._started > self._limit
        return self._signal or ("the time limit" if over else "")

    def refuse_lost(self) -> None:
        """Raises `UsageError` if another process has taken the folder."""
        if self._is_lost():
            raise UsageError(
                "another process has taken this folder, because this one gave no sign of life for "
                "a minute; nothing more is written here"
            )

    def is_due(self, epoch: int | None) -> bool:
        """Whether a checkpoint is due.

        Args:
            epoch: epochs done, at the end of one; None within an epoch.
        """
        if self._seconds is not None:
            return time.monotonic() - self._saved >= self._seconds
        return epoch is not None and epoch % (self._epochs or 1) == 0

    def saved(self) -> None:
        """Notes that a checkpoint was made just now."""
        self._saved = time.monotonic()
