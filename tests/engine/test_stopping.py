"""A study that is to stop while a program compiles does not wait for it."""

import io
import signal
import subprocess
import sys
import threading

import pytest

from experiments import Entry
from experiments.engine import session
from experiments.engine.cli import leave, main
from experiments.engine.control import Control, Interrupted, Saving
from experiments.engine.errors import SAVED
from experiments.engine.log import finished, read_lines
from tests.engine.toy import TOY

GRID = {"vary": {"power": ["square", "quartic"]}, "seeds": 1}


@pytest.fixture
def second_waits(monkeypatch):
    """The second program compiles until the second of these is set, or for a minute; the first is
    set when it begins."""
    begun, go_on = threading.Event(), threading.Event()
    count, compile_now = iter(range(9)), session.compile_program

    def compile_program(*arguments):
        if next(count) == 1:
            begun.set()
            go_on.wait(60)
        return compile_now(*arguments)

    monkeypatch.setattr(session, "compile_program", compile_program)
    monkeypatch.setattr(session, "PATIENCE", 0.05)
    yield begun, go_on
    go_on.set()


def test_a_signal_while_the_next_program_compiles(second_waits, train_toy, tmp_path, monkeypatch):
    """It comes when nothing trains any more, and the first program's replica is complete."""
    (begun, go_on), urgent = second_waits, Control.urgent

    def signalled(self):
        if begun.is_set():
            signal.raise_signal(signal.SIGTERM)
        return urgent(self)

    monkeypatch.setattr(Control, "urgent", signalled)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        train_toy(**GRID, out=tmp_path / "study")
    assert not go_on.is_set()
    assert len(finished(read_lines(tmp_path / "study"))) == 1
    go_on.set()
    monkeypatch.undo()
    again = train_toy(**GRID, out=tmp_path / "study")
    whole = train_toy(**GRID, out=tmp_path / "whole")
    tables = [(each.folder / "results.csv").read_text() for each in (again, whole)]
    assert tables[0] == tables[1]


def test_a_signal_while_one_trains_and_the_next_compiles(
    second_waits, train_toy, tmp_path, monkeypatch
):
    monkeypatch.setattr(Control, "reason", lambda self: "a test")
    with pytest.raises(Interrupted, match="stopped by a test"):
        train_toy(**GRID, out=tmp_path)
    assert not second_waits[1].is_set()


def test_the_time_limit_is_met_while_a_program_compiles(second_waits, train_toy, tmp_path):
    with pytest.raises(Interrupted, match="stopped by the time limit"):
        train_toy(**GRID, out=tmp_path, saving=Saving(time_limit="3s"))
    assert not second_waits[1].is_set()


def test_waiting_for_a_program_is_no_call_that_the_time_limit_allows_for(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    control = Control(Saving(time_limit="100s"))
    for now, ask in ((1, control.reason), (2, control.reason), (50, control.urgent)):
        clock[0] = float(now)
        assert ask() == ""
    clock[0] = 97.0
    assert control.reason() == control.urgent() == ""
    clock[0] = 101.0
    assert control.urgent() == "the time limit"


LEAVING = """
import concurrent.futures, threading
from experiments.engine.cli import leave
concurrent.futures.ThreadPoolExecutor(1).submit(threading.Event().wait, 120)
print("said", end="")
leave({code})
"""


def test_the_process_ends_without_what_still_compiles():
    """A thread of a pool is waited for at the end of a process otherwise."""
    script = LEAVING.format(code=SAVED)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (SAVED, b"said")


@pytest.mark.parametrize("code", [0, 2])
def test_any_other_end_is_an_ordinary_one(code):
    with pytest.raises(SystemExit) as ended:
        leave(code)
    assert ended.value.code == code
    assert Interrupted.code == SAVED


def test_names_that_a_terminal_has_no_letters_for_are_printed(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    experiments = {"größe": Entry("eine Größe", lambda: TOY)}
    assert main(experiments, ["list"], prog="toy.py", only="größe") == 0
    sys.stdout.flush()
    assert rb"gr\xf6\xdfe" in written.getvalue()
