"""Studies that several tests look at, each trained once."""

from typing import Any

import pytest

from experiments.engine.plan import Override
from experiments.engine.run import Outcome, run_study
from tests.engine.page_folder import write_folder
from tests.engine.probe import PROBE, SMALL
from tests.engine.toy import TOY


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """`run_study` without a sound, in a fresh folder unless `out` is given."""

    def call(experiment: Any, config: Any = None, **options: Any) -> Outcome:
        options.setdefault("out", tmp_path_factory.mktemp("study"))
        options.setdefault("echo", lambda text: None)
        return run_study(experiment, config, **options)

    return call


@pytest.fixture(scope="session")
def train_toy(train):
    """A study of the toy experiment, four lanes on two devices."""

    def call(**options: Any) -> Outcome:
        options.setdefault("override", Override(lanes=4, devices=2))
        return train(TOY, **options)

    return call


@pytest.fixture(scope="session")
def base(train):
    """Four cells with three seeds, in three lane groups of one program; and what was said."""
    said: list[str] = []
    outcome = train(
        PROBE,
        SMALL,
        vary={"learning_rate": [0.01, 0.03], "dropout": [0.0, 0.5]},
        seeds=3,
        diagnose=True,
        override=Override(lanes=4, devices=2),
        echo=said.append,
    )
    return outcome, said


@pytest.fixture(scope="session")
def large_page(tmp_path_factory):
    """The page of 1,000 replicas with 50 evaluations each."""
    from experiments.engine.page.told import page_line

    rates, noises = [0.01 * (1 + i) for i in range(20)], [0.0, 0.1, 0.2, 0.3, 0.4]
    folder = tmp_path_factory.mktemp("large") / "study"
    grid = {"rate": rates, "noise": noises}
    opened = write_folder(folder, vary=grid, seeds=10, epochs=50, replicas=1000)
    page_line(opened)
    return folder / "report.html"
