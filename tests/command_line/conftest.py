"""The command line in a folder of its own, and a study that others look at."""

import pathlib
import shlex

import pytest

from experiments import EXPERIMENTS
from experiments.engine.cli import main
from tests.command_line.calls import SMALL, Answer, Cli


@pytest.fixture
def cli(tmp_path: pathlib.Path, monkeypatch, capsys) -> Cli:
    """Runs a command line in a folder of its own, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str) -> Answer:
        code = main(EXPERIMENTS, shlex.split(line), prog="launch.py")
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """A folder of a finished study of two cells and two seeds."""
    folder = tmp_path_factory.mktemp("studies") / "finished"
    line = f"study mlp {SMALL} --vary dropout=0,0.5 --seeds 2 --out {folder}"
    assert main(EXPERIMENTS, line.split(), prog="launch.py") == 0
    return folder
