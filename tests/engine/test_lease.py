"""The lease: one process per folder, and the leases of the dead are taken over."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from experiments.engine import lease as leases
from experiments.engine.control import Control
from experiments.engine.errors import UsageError
from experiments.engine.lease import lease


def leave(folder, pid, host=None, age=0.0):
    """A lease file as another process would have left it."""
    path = folder / "lease.json"
    path.write_text(json.dumps({"host": host or socket.gethostname(), "pid": pid, "token": "x"}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_is_held_and_let_go(tmp_path):
    with lease(tmp_path):
        held = json.loads((tmp_path / "lease.json").read_text())
        assert (held["pid"], held["host"]) == (os.getpid(), socket.gethostname())
        assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]
        with (
            pytest.raises(UsageError, match=f"is in use by process {os.getpid()} on "),
            lease(tmp_path),
        ):
            pass
        assert json.loads((tmp_path / "lease.json").read_text()) == held
    assert list(tmp_path.iterdir()) == []


def test_an_exception_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), lease(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_living_process_is_respected(tmp_path):
    leave(tmp_path, os.getppid())
    with (
        pytest.raises(UsageError, match=f"in use by process {os.getppid()} .*another --out"),
        lease(tmp_path),
    ):
        pass


@pytest.mark.parametrize("age", [0.0, 1000.0])
def test_the_lease_of_a_dead_process_is_taken_over(tmp_path, age):
    leave(tmp_path, dead_pid(), age=age)
    with lease(tmp_path):
        assert json.loads((tmp_path / "lease.json").read_text())["pid"] == os.getpid()


def test_a_process_of_this_number_before_a_restart_is_dead(tmp_path):
    """In a container every process may be number 1."""
    leave(tmp_path, os.getpid())
    with lease(tmp_path):
        assert json.loads((tmp_path / "lease.json").read_text())["token"] != "x"


@pytest.mark.parametrize("host", ["elsewhere", None])
@pytest.mark.parametrize("alive", [True, False])
def test_a_lease_from_the_future_is_watched(tmp_path, monkeypatch, host, alive):
    """The clock was set back: whoever still beats holds the folder, whoever does not is gone."""
    path = leave(tmp_path, os.getppid(), host=host, age=-86400.0)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if alive:
            os.utime(path)

    monkeypatch.setattr(time, "sleep", sleep)
    assert leases.is_held(tmp_path) == alive
    assert slept == [2 * leases.BEAT_SECONDS]


def test_another_machine_is_trusted_for_a_minute(tmp_path):
    leave(tmp_path, 1, host="elsewhere", age=leases.STALE_SECONDS - 30)
    with pytest.raises(UsageError, match="process 1 on elsewhere"), lease(tmp_path):
        pass
    leave(tmp_path, 1, host="elsewhere", age=leases.STALE_SECONDS + 30)
    with lease(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_hangs_is_given_up(tmp_path):
    leave(tmp_path, os.getppid(), age=leases.STALE_SECONDS + 30)
    with lease(tmp_path):
        assert json.loads((tmp_path / "lease.json").read_text())["pid"] == os.getpid()


def test_a_torn_lease_file_is_taken_over_when_old(tmp_path):
    path = leave(tmp_path, 1)
    path.write_text("{")
    with pytest.raises(UsageError), lease(tmp_path):
        pass
    os.utime(path, (0, 0))
    with lease(tmp_path):
        pass


@pytest.mark.parametrize("text", ["[]", '{"host": "x", "pid": "y", "token": "z"}', "{}"])
def test_what_is_no_lease_file_holds_the_folder_for_a_minute(tmp_path, text):
    path = tmp_path / "lease.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is in use by another process; wait"), lease(tmp_path):
        pass
    os.utime(path, (0, 0))
    assert not leases.is_held(tmp_path)


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    with lease(tmp_path):
        path = tmp_path / "lease.json"
        os.utime(path, (0, 0))
        waited = threading.Event()
        for _ in range(1000):
            if path.stat().st_mtime > 0:
                break
            waited.wait(0.01)
        assert path.stat().st_mtime > 0


def test_a_lease_that_was_lost_is_neither_renewed_nor_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    with lease(tmp_path):
        path = leave(tmp_path, os.getppid(), age=1000.0)
        before = path.stat().st_mtime
        threading.Event().wait(0.1)
        assert path.stat().st_mtime == before
    assert json.loads(path.read_text())["token"] == "x"


def test_the_holder_learns_that_the_folder_was_taken(tmp_path):
    with lease(tmp_path) as is_lost:
        assert not is_lost()
        path = tmp_path / "lease.json"
        leave(tmp_path, os.getppid())
        assert is_lost()
        path.unlink()
        assert is_lost()  # whoever took it has ended
        with pytest.raises(UsageError, match="another process has taken this folder"):
            Control().watch(is_lost).reason()


def test_of_many_at_once_one_gets_the_folder(tmp_path):
    """Eight threads race for the lease of a dead process; the others are told."""
    leave(tmp_path, dead_pid())
    start, let_go, won, refused = threading.Barrier(8), threading.Event(), [], []

    def race():
        start.wait()
        try:
            with lease(tmp_path):
                won.append(threading.get_ident())
                let_go.wait(10)
        except UsageError as error:
            refused.append(str(error))
            if len(refused) == 7:
                let_go.set()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(refused) == 7
    assert list(tmp_path.iterdir()) == []
