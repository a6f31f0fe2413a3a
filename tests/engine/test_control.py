"""When a training saves and stops: intervals, the time limit, signals."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from experiments.engine import control
from experiments.engine.control import SIGNALS, Control, Interrupted, Saving, parse_duration
from experiments.engine.errors import UsageError
from experiments.engine.log import read_lines
from experiments.engine.run import train_study
from experiments.engine.sources import ROOT
from experiments.engine.study import make_study
from tests.engine import toy


class Clock:
    """Stands for the module `time`; goes on when told."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(control, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("0.02s", 0.02), (" 2.m ", 120), ("1h", 3600)],
)
def test_durations(text, seconds):
    assert parse_duration(text, "--time-limit") == seconds


@pytest.mark.parametrize(
    "text", ["0s", "0.0h", "", "5", "-5s", "s", "1d", "1h30m", ".5s", "1e3s", "nan s", "5 s", "5S"]
)
def test_what_is_no_duration_is_refused_by_the_name_of_its_flag(text):
    with pytest.raises(UsageError) as caught:
        Control(Saving(time_limit=text))
    expected = f"--time-limit {text}: expected a duration such as 90s, 30m or 1.5h"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("saving", "message"),
    [
        (Saving(checkpoint_every="0"), "--checkpoint-every 0: at least 1 epoch"),
        (Saving(checkpoint_every="0s"), "--checkpoint-every 0s: expected epochs"),
        (Saving(checkpoint_every="5.5"), "--checkpoint-every 5.5: expected epochs"),
        (Saving(checkpoint_every="-1"), "--checkpoint-every -1: expected epochs"),
        (Saving(checkpoint_every="abc"), "--checkpoint-every abc: expected epochs"),
        (Saving(checkpoint_every=""), "--checkpoint-every : expected epochs"),
        (Saving(keep_checkpoints=0), "--keep-checkpoints 0: at least 1"),
    ],
)
def test_what_is_no_interval_is_refused(saving, message):
    with pytest.raises(UsageError) as caught:
        Control(saving)
    assert str(caught.value).startswith(message)


def test_a_checkpoint_is_due_every_so_many_epochs():
    every = Control(Saving(checkpoint_every="3"))
    assert [every.is_due(epoch) for epoch in range(1, 8)] == [e in (3, 6) for e in range(1, 8)]
    assert not every.is_due(None)
    every.saved()
    assert every.is_due(3)
    from_python = Saving(checkpoint_every=2)  # type: ignore[arg-type]
    assert [Control(from_python).is_due(epoch) for epoch in (1, 2)] == [False, True]


def test_a_checkpoint_is_due_after_so_much_time_anywhere_in_an_epoch(clock):
    often = Control(Saving(checkpoint_every="10s"))
    clock.now += 9.5
    assert not often.is_due(None) and not often.is_due(1)
    clock.now += 0.5
    assert often.is_due(None) and often.is_due(1)
    often.saved()
    assert not often.is_due(None)
    clock.now += 10
    assert often.is_due(None)


def test_the_time_limit_is_met_early_by_two_of_the_longest_calls(clock):
    limited = Control(Saving(time_limit="100s"))
    stops = []
    for seconds in (10, 5, 20, 5, 19, 5):
        clock.now += seconds
        stops.append(limited.reason())
    assert clock.now == 1064
    assert stops == ["", "", "", "", "", "the time limit"]  # 64 + 2 * 20 > 100, 59 + 40 is not
    assert Control().reason() == ""


def test_compiling_is_not_taken_for_a_call(clock):
    """Else a study whose compiling takes a third of the limit would never train a step."""
    limited = Control(Saving(time_limit="100s"))
    clock.now += 60
    assert limited.reason() == ""
    clock.now += 1
    assert limited.reason() == ""
    clock.now += 38
    assert limited.reason() == "the time limit"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_reason_and_the_handlers_come_back(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with Control() as listening:
        assert listening.reason() == ""
        signal.raise_signal(number)
        assert listening.reason() == signal.Signals(number).name
        assert listening.reason() == signal.Signals(number).name
    assert [signal.getsignal(each) for each in SIGNALS] == before
    with pytest.raises(ZeroDivisionError), Control():
        _ = 1 / 0
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_training_leaves_with_75(tmp_path, number):
    before = signal.getsignal(number)

    def load(config, manual_dir):
        signal.raise_signal(number)
        return toy.load(config, manual_dir)

    study = make_study(dataclasses.replace(toy.TOY, load=load), seeds=1)
    with pytest.raises(Interrupted, match=f"stopped by {number.name}"):
        train_study(study, tmp_path / "out", echo=print)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_python_drops_still_stops_the_study(tmp_path, monkeypatch, number):
    """As one does that comes in a callback of the garbage collection; nothing is trained.

    Python would print a traceback of it, as of another error there.
    """
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_type))

    class Dropping:
        def __del__(self):
            signal.raise_signal(number)

    class Failing:
        def __del__(self):
            _ = 1 / 0

    def load(config, manual_dir):
        Dropping()
        Failing()
        return toy.load(config, manual_dir)

    study = make_study(dataclasses.replace(toy.TOY, load=load), seeds=1)
    with pytest.raises(Interrupted, match=f"stopped by {number.name}"):
        train_study(study, tmp_path / "out", echo=print)
    assert {*told} == {ZeroDivisionError}
    assert read_lines(tmp_path / "out") == []


def test_after_the_first_interrupt_the_second_is_the_systems(capfd):
    before = signal.getsignal(signal.SIGINT)
    with Control() as listening:
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert listening.reason() == "SIGINT"
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping when the call under way has ended; Ctrl-C again" in capfd.readouterr().err


def test_in_another_thread_signals_are_left_alone():
    """Only the main thread may set handlers: a study can be run from any."""
    found = []

    def work():
        with Control(Saving(time_limit="1h")) as limited:
            found.append((limited.reason(), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [("", before)]


def test_the_message_says_how_to_go_on():
    told = Interrupted("SIGTERM", pathlib.Path("runs/x"))
    assert told.code == 75
    assert str(told) == (
        "stopped by SIGTERM; everything is saved: give the same command again, or `resume runs/x`, "
        "to go on"
    )


SLOW = """
import signal
from experiments.engine import main
from experiments.engine.progress import Meter
from tests.engine.toy import TOY

calls = {calls}
advance = Meter.advance

def interrupt(self, steps, text):
    advance(self, steps, text)
    if calls and calls[0][0] == self.count:
        signal.raise_signal(calls.pop(0)[1])
    self.count += 1

Meter.count, Meter.advance = 0, interrupt
main(TOY)
"""


def run(calls, *arguments):
    """The toy in a process of its own, which gets signals at given calls of its program."""
    spelled = [(at, int(number)) for at, number in calls]
    return subprocess.run(
        [sys.executable, "-c", SLOW.format(calls=spelled), *map(str, arguments)], cwd=ROOT,
        capture_output=True, text=True, timeout=120, env=os.environ.copy(),
    )  # fmt: skip


STUDY = [
    "study", "--vary", "rate=0.03,0.1", "--seeds", "2", "--epochs", "4", "--steps-per-call", "2",
]  # fmt: skip


@pytest.mark.slow
def test_a_process_that_is_told_to_stop_saves_and_leaves_with_75(tmp_path, train_toy):
    out = tmp_path / "study"
    stopped = run([(4, signal.SIGTERM)], *STUDY, "--out", out)
    assert (stopped.returncode, stopped.stdout) == (75, "")
    assert "stopped by SIGTERM; everything is saved" in stopped.stderr
    assert "Traceback" not in stopped.stderr and not (out / "lease.json").exists()
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"000001", "000001.json"}
    left = run([(1, signal.SIGINT)], "resume", out, "--checkpoint-every", "1")
    assert left.returncode == 75 and "stopped by SIGINT" in left.stderr
    done = run([], "resume", out)
    assert done.returncode == 0, done.stderr
    assert not (out / "checkpoints").exists()
    config = toy.Config(epochs=4)
    whole = train_toy(config=config, vary={"rate": [0.03, 0.1]}, seeds=2).folder
    lines = [sorted(map(str, read_lines(folder))) for folder in (out, whole)]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once(tmp_path):
    """Between the two no call ends, as if the first one were taking long."""
    twice = SLOW.replace(
        "signal.raise_signal(calls.pop(0)[1])",
        "[signal.raise_signal(signal.SIGINT) for _ in range(2)]",
    )
    out = tmp_path / "study"
    left = subprocess.run(
        [sys.executable, "-c", twice.format(calls=[(1, 2)]), *STUDY, "--out", str(out)], cwd=ROOT,
        capture_output=True, text=True, timeout=120, env=os.environ.copy(),
    )  # fmt: skip
    assert left.returncode == -signal.SIGINT
    assert not [line for line in read_lines(out) if line.get("final")]
    assert run([], "resume", out).returncode == 0  # the lease of a process that is gone
