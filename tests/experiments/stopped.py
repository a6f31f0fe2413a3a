"""Trainings that are stopped and taken up again, and what must come out the same."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from experiments.engine.control import Control, Interrupted
from experiments.engine.log import read_lines
from experiments.engine.parameters import parameters_path


def stop_and_resume(monkeypatch, folder, train: Callable[[], Any], question: int) -> None:
    """Trains; is stopped when asked this many times whether to; and trains the same again."""
    count = itertools.count(1)
    with monkeypatch.context() as patch:
        patch.setattr(Control, "reason", lambda self: "a test" * (next(count) == question))
        with pytest.raises(Interrupted):
            train()
    assert any(path.is_dir() for path in (folder / "checkpoints").iterdir())
    train()


def recorded(folder) -> list[dict[str, Any]]:
    """What was measured, and the digests of parameters and states."""
    return sorted(
        ({k: v for k, v in line.items() if k != "time"} for line in read_lines(folder)), key=str
    )


def assert_same_nets(found, expected) -> set[str]:
    """The first replica's arrays are equal to the bit; returns their names."""
    with (
        np.load(parameters_path(found, 0, 0)) as mine,
        np.load(parameters_path(expected, 0, 0)) as theirs,
    ):
        assert set(mine) == set(theirs)
        for name in theirs:
            np.testing.assert_array_equal(mine[name], theirs[name])
        return set(mine)
