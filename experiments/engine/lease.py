"""One process per study folder: a lease file with a heartbeat, also over a network file system."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from experiments.engine.errors import UsageError

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
PROCESS = uuid.uuid4().hex
"""This process: after a restart in a container another one has its number."""


@contextlib.contextmanager
def lease(folder: pathlib.Path) -> Iterator[Callable[[], bool]]:
    """Holds the folder while the block runs; gives a question: was it lost to another process?

    The file is made atomically and rewritten every few seconds. It counts as abandoned when it
    has not been rewritten for a minute, or when its process on this machine is gone. One from the
    future, of before the clock was set back, is watched for two of its beats.

    Raises:
        UsageError: another process holds the folder.
    """
    path = folder / "lease.json"
    mine = {
        "host": socket.gethostname(), "pid": os.getpid(), "process": PROCESS,
        "token": uuid.uuid4().hex,
    }  # fmt: skip
    _take(path, mine)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, mine, stop), daemon=True)
    beat.start()
    try:
        yield lambda: _is_lost(path, mine)
    finally:
        stop.set()
        beat.join()
        if _read(path) == mine:
            path.unlink(missing_ok=True)


def _is_lost(path: pathlib.Path, mine: dict[str, object]) -> bool:
    """Whether the file is gone, as after another process took it and ended, or not this one's."""
    found = _read(path)
    return found != mine if found else not path.exists()


def is_held(folder: pathlib.Path) -> bool:
    """Whether a process works on the folder now."""
    path = folder / "lease.json"
    return not _abandoned(path, _read(path))


def _take(path: pathlib.Path, mine: dict[str, object]) -> None:
    fresh = path.with_name(f"{path.name}.{mine['token']}")
    try:
        fresh.write_text(json.dumps(mine))
    except OSError as error:
        raise UsageError(
            f"{path.parent} cannot be written: {error.strerror}; mend that or work elsewhere"
        ) from None
    try:
        with _alone(path.parent):
            _link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _link(fresh: pathlib.Path, path: pathlib.Path) -> None:
    for _ in range(2):
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
            return
        holder = _read(path)
        if path.is_dir():
            raise UsageError(f"{path} is a folder where a file belongs; remove it")
        if not _abandoned(path, holder):
            who = "another process"
            if holder:
                who = f"process {holder['pid']} on {holder['host']}"
            raise UsageError(
                f"{path.parent} is in use by {who}; wait for it, or choose another --out"
            )
        path.unlink(missing_ok=True)
    raise UsageError(f"{path.parent} was taken by another process just now; try again")


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Keeps two processes of this machine from removing the same abandoned lease at once."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every network file system can
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _read(path: pathlib.Path) -> dict[str, object]:
    """Who holds the folder; nothing where that cannot be read."""
    try:
        found = json.loads(path.read_text())
        return {
            "host": str(found["host"]), "pid": int(found["pid"]),
            "process": found.get("process", ""), "token": found["token"],
        }  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _abandoned(path: pathlib.Path, holder: dict[str, object]) -> bool:
    beaten = _beaten(path)
    if beaten is None:
        return True
    if holder.get("host") == socket.gethostname():
        if holder["pid"] == os.getpid() and holder["process"] != PROCESS:
            return True
        try:
            os.kill(int(str(holder["pid"])), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    age = time.time() - beaten
    if age < -STALE_SECONDS:
        time.sleep(2 * BEAT_SECONDS)
        return _beaten(path) in (beaten, None)
    return age > STALE_SECONDS


def _beaten(path: pathlib.Path) -> float | None:
    """When the file was last rewritten; None if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _beat(path: pathlib.Path, mine: dict[str, object], stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        if _read(path) == mine:
            with contextlib.suppress(OSError):
                os.utime(path)
