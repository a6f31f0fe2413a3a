"""A study killed at random moments, or asked to stop, ends as the one that never was."""

import random
import signal
import time

import numpy as np
import pytest

from experiments.engine.log import read_lines
from experiments.engine.parameters import read_parameters
from tests.engine.processes import Started

EPOCHS, SEEDS = 60, 12
STUDY = [
    "study", "--vary", "rate=0.03,0.1", "--tune", "noise=0,0.1", "--tune-seeds", "2",
    "--seeds", str(SEEDS), "--epochs", str(EPOCHS), "--keep", "best", "--average", "0.9",
    "--lanes", "4", "--devices", "2", "--steps-per-call", "2",
]  # fmt: skip
OFTEN = ["--checkpoint-every", "0.02s"]
KILLS = 20


def finish(process, code=0):
    left, said = process.ended()
    assert left == code, said
    assert "Traceback" not in said, said
    return said


def wait_for(process, happened):
    deadline = time.monotonic() + 60
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def size_of(folder):
    path = folder / "metrics.jsonl"
    return path.stat().st_size if path.exists() else 0


def saving(folder):
    return any((folder / "checkpoints").glob("*tmp*"))


def content(folder):
    """Everything recorded, apart from where and when."""
    lines = sorted(map(str, read_lines(folder)))
    tables = [(folder / name).read_text() for name in ("results.csv", "tuning.csv", "report.txt")]
    return lines, tables


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "study"
    finish(Started([*STUDY, "--out", folder]))
    return folder


def assert_same(folder, whole):
    assert content(folder) == content(whole)
    for cell in range(2):
        for seed in range(SEEDS):
            mine, theirs = (read_parameters(each, cell, seed) for each in (folder, whole))
            assert mine is not None and theirs is not None and mine.keys() == theirs.keys()
            for name, array in theirs.items():
                np.testing.assert_array_equal(mine[name], array)
    assert not (folder / "checkpoints").exists()


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(whole, tmp_path):
    """Every other kill waits for a save to begin: for the folder that Orbax writes into."""
    folder, draw, landed, saves = tmp_path / "study", random.Random(0), 0, 0
    for number in range(KILLS):
        begun = size_of(folder) > 0
        what = ["resume", folder] if begun and number % 3 else [*STUDY, "--out", folder]
        size, process = size_of(folder), Started([*what, *OFTEN])
        wait_for(process, lambda size=size: size_of(folder) != size)
        if number % 2:
            wait_for(process, lambda: saving(folder))
            saves += saving(folder)
        else:
            time.sleep(draw.uniform(0, 0.3))
        landed += process.poll() is None
        process.kill()
        process.ended()
    assert landed >= KILLS // 2 and saves >= KILLS // 4
    finish(Started(["resume", folder]))
    assert_same(folder, whole)
    assert "nothing to do" in finish(Started(["resume", folder]))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_the_same_command_goes_on(whole, tmp_path, number):
    folder = tmp_path / "study"
    process = Started([*STUDY, "--out", folder])
    wait_for(process, lambda: size_of(folder) > 0)
    process.send_signal(number)
    said = finish(process, code=75)
    assert f"stopped by {number.name}; everything is saved" in said
    assert f"resume {folder}" in said and not (folder / "lease.json").exists()
    lines = len(read_lines(folder))
    finish(Started([*STUDY, "--out", folder] if number == signal.SIGINT else ["resume", folder]))
    assert 0 < lines < len(read_lines(folder))
    assert_same(folder, whole)


@pytest.mark.slow
def test_a_time_limit_stops_the_study_and_it_goes_on(whole, tmp_path):
    """A limit that is over before the first step; what a stop in training saves is seen above."""
    folder = tmp_path / "study"
    said = finish(Started([*STUDY, "--out", folder, "--time-limit", "0.01s"]), code=75)
    assert "stopped by the time limit; everything is saved" in said
    finish(Started(["resume", folder, "--time-limit", "1h"]))
    assert_same(folder, whole)
