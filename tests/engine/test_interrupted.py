"""A study killed at random moments, or asked to stop, ends as the one that never was."""

import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.engine.log import read_lines
from experiments.engine.parameters import read_parameters
from experiments.engine.record import ROOT

EPOCHS, SEEDS = 60, 16
STUDY = [
    "study", "--vary", "rate=0.03,0.1", "--tune", "noise=0,0.1", "--tune-seeds", "2",
    "--seeds", str(SEEDS), "--epochs", str(EPOCHS), "--keep", "best", "--average", "0.9",
    "--lanes", "4", "--devices", "2", "--steps-per-call", "2",
]  # fmt: skip
OFTEN = ["--checkpoint-every", "0.02s"]
KILLS = 20


def start(arguments):
    """The toy as a script of its own: kept best parameters, an average, checkpoints mid-epoch."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.engine.selective", *map(str, arguments)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy(),
    )  # fmt: skip


def finish(process, code=0):
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "Traceback" not in said, said
    return said


def wait_for(process, happened):
    deadline = time.monotonic() + 60
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def content(folder):
    """Everything recorded, apart from where and when."""
    lines = sorted(map(str, read_lines(folder)))
    tables = [(folder / name).read_text() for name in ("results.csv", "tuning.csv", "report.txt")]
    return lines, tables


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "study"
    finish(start([*STUDY, "--out", folder]))
    return folder


def assert_same(folder, whole):
    assert content(folder) == content(whole)
    for cell in range(2):
        for seed in range(SEEDS):
            mine, theirs = (read_parameters(f, cell, seed) for f in (folder, whole))
            assert mine is not None and theirs is not None and mine.keys() == theirs.keys()
            for name, array in theirs.items():
                np.testing.assert_array_equal(mine[name], array)
    assert not list((folder / "checkpoints").glob("*"))


def test_kills_at_random_moments_change_no_bit(whole, tmp_path):
    """Every other kill falls into a save: it waits for the folder Orbax writes to."""
    folder, draw, landed = tmp_path / "study", random.Random(0), 0
    saves: list[pathlib.Path] = []
    for number in range(KILLS):
        before = folder.joinpath("metrics.jsonl")
        size = before.stat().st_size if before.exists() else 0
        process = start(
            [*STUDY, *OFTEN, "--out", folder] if number % 3 else [*STUDY, *OFTEN, "--out", folder]
        )
        wait_for(process, lambda: before.exists() and before.stat().st_size != size)
        if number % 2:
            wait_for(process, lambda: saves.extend((folder / "checkpoints").glob("*tmp*")) or saves)
        else:
            time.sleep(draw.uniform(0, 0.3))
        landed += process.poll() is None
        process.kill()
        process.communicate()
    assert landed >= KILLS // 2 and saves
    said = finish(start(["resume", folder]))
    assert "one trace each" in said
    assert_same(folder, whole)
