"""More epochs for a finished study: the bits of one that was begun with as many."""

import shutil

import numpy as np
import pytest

from experiments.engine.control import Saving
from experiments.engine.errors import UsageError
from experiments.engine.extend import add_epochs
from experiments.engine.folder import looks_of, read_study, write_study
from experiments.engine.log import Log, read_lines
from experiments.engine.parameters import read_parameters
from experiments.engine.plan import Override
from experiments.engine.reopen import reopen
from experiments.engine.run import train_study
from experiments.engine.selection import Selection
from tests.engine.selective import SELECTIVE, Config
from tests.engine.test_damage import run

pytestmark = pytest.mark.usefixtures("one_build")

GRID = {"vary": {"rate": [0.03, 0.35]}, "tune": {"noise": [0.0, 0.3]}, "tune_seeds": 2, "seeds": 3}


def config(epochs):
    return Config(epochs=epochs, selection=Selection("best", patience=4, average=0.5))


@pytest.fixture(scope="module")
def study(train):
    def call(epochs, extendable=True, **changes):
        return train(
            SELECTIVE, config(epochs), **GRID | changes, override=Override(lanes=4, devices=2),
            saving=Saving(extendable=extendable),
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def short(study):
    return study(3)


def entries():
    from experiments import Entry

    return {"selective": Entry("", lambda: SELECTIVE)}


def test_added_epochs_are_the_bits_of_a_study_begun_with_them(study, short, tmp_path):
    folder, whole, said = tmp_path / "study", study(8), []
    shutil.copytree(short.folder, folder)
    longer = add_epochs(reopen(entries(), folder), 8)
    outcome = train_study(longer.study, folder, echo=said.append)
    assert outcome.lines == whole.lines
    assert sorted(map(str, read_lines(folder))) == sorted(map(str, read_lines(whole.folder)))
    for cell in range(2):
        for seed in range(3):
            mine, theirs = (read_parameters(f, cell, seed) for f in (folder, whole.folder))
            assert mine is not None and theirs is not None
            assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    assert [(look["seeds"], look.get("epochs")) for look in read_study(folder)["looks"]] == [
        (3, 3), (3, None),
    ]  # fmt: skip
    assert looks_of(read_study(folder)) == 1  # of 3 seeds, which give no verdict
    before = folder / "after-3-epochs"
    for name in ("results.csv", "metrics.jsonl", "report.txt"):
        assert (before / name).read_bytes() == (short.folder / name).read_bytes()


def test_it_goes_on_through_the_command_line(short, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(short.folder, folder)
    code, said = run(["resume", folder, "--epochs", "5"])
    assert code == 0 and "passed over" not in said
    assert {line["step"] for line in read_lines(folder) if "epoch" in line} == {5, 10, 15, 20, 25}
    assert "nothing to do" in run(["resume", folder, "--epochs", "5"])[1]
    assert "the study has 5 already" in run(["resume", folder, "--epochs", "4"])[1]


@pytest.mark.slow
def test_the_recorded_plan_is_kept_and_seeds_may_be_added(train, tmp_path):
    """A plan that this machine would not choose; the new seed trains from its first step."""
    grid = {"vary": {"rate": [0.03, 0.1]}, "override": Override(lanes=1, devices=1)}
    kept = Saving(extendable=True)
    folder = train(SELECTIVE, Config(epochs=2), **grid, seeds=2, saving=kept).folder
    code, said = run(["resume", folder, "--epochs", "4", "--seeds", "3"])
    assert code == 0 and "passed over" not in said
    (program,) = read_study(folder)["programs"]
    assert (program["lanes"], program["devices"]) == (1, 1)
    at_once = train(SELECTIVE, Config(epochs=4), **grid, seeds=3)
    assert sorted(map(str, read_lines(folder))) == sorted(map(str, read_lines(at_once.folder)))


@pytest.mark.slow
def test_states_of_larger_groups_than_the_plan_has_lanes_are_left_alone(train, tmp_path):
    grid = {"vary": {"rate": [0.03, 0.1]}, "seeds": 2}
    kept = Saving(extendable=True)
    whole = train(SELECTIVE, Config(epochs=2), **grid, saving=kept, override=Override(lanes=4))
    folder = tmp_path / "study"
    shutil.copytree(whole.folder, folder)
    contents = read_study(folder)
    contents["programs"][0] |= {"lanes": 2, "devices": 1}
    write_study(folder, contents)
    with Log(folder) as log:
        log.drop_finals()
    outcome = train_study(whole.study, folder, echo=lambda text: None)
    assert len(outcome.lines) == 4 and all(
        line["test_error"] == pytest.approx(whole.lines[key]["test_error"], rel=1e-4)
        for key, line in outcome.lines.items()
    )


def test_what_would_not_be_the_same_training_is_refused(study, train, short):
    unkept = study(3, extendable=False)
    with pytest.raises(UsageError, match="the training states were not kept"):
        add_epochs(reopen(entries(), unkept.folder), 5)
    varied = study(3, vary={"epochs": [2, 3]})
    with pytest.raises(UsageError, match="this study varies its epochs"):
        add_epochs(reopen(entries(), varied.folder), 5)
    lines = [line for line in read_lines(short.folder) if line.get("final")]
    assert len(lines) == 8 + 6


@pytest.mark.slow
def test_a_schedule_laid_over_the_length_is_refused(train, tmp_path):
    from experiments import Entry
    from tests.engine.probe import PROBE, SMALL

    outcome = train(PROBE, SMALL, seeds=1, saving=Saving(extendable=True))
    opened = reopen({"probe": Entry("", lambda: PROBE)}, outcome.folder)
    with pytest.raises(UsageError, match="depend on the length of the training, 2 epochs"):
        add_epochs(opened, 4)
