"""What is resumed, and what is not lost when something else is asked for in between."""

import dataclasses
import itertools
import json
import shutil

import pytest

from experiments import Entry
from experiments.engine import cli
from experiments.engine.control import Control, Interrupted, Saving
from experiments.engine.folder import read_study
from experiments.engine.log import read_lines
from experiments.engine.plan import Override
from experiments.engine.sealed import write_json
from tests.engine.selective import SELECTIVE
from tests.engine.toy import TOY, Config

pytestmark = pytest.mark.usefixtures("one_build")

ENTRIES = {"toy": Entry(TOY.summary, lambda: TOY)}
CONFIG = Config(epochs=6)
GRID = {"config": CONFIG, "vary": {"rate": [0.03, 0.1]}}


@pytest.fixture
def resume(capsys):
    """`resume DIR` of the command line: code, answer, account."""

    def call(*arguments):
        code = cli.main(ENTRIES, ["resume", *map(str, arguments)], prog="toy.py")
        return code, *capsys.readouterr()

    return call


def stop_at(monkeypatch, question):
    """Asks to stop at a question of a training: one before each group, one after each epoch."""
    count = itertools.count(1)

    def reason(self):
        return "a test" if next(count) == question else ""

    monkeypatch.setattr(Control, "reason", reason)


def sorted_lines(folder):
    return sorted(json.dumps(line) for line in read_lines(folder))


@pytest.fixture
def added(train_toy, monkeypatch, tmp_path):
    """A finished study of 2 seeds, stopped while it trains a third: in the fourth epoch."""
    folder = tmp_path / "study"
    train_toy(**GRID, seeds=2, out=folder)
    stop_at(monkeypatch, 4)
    with pytest.raises(Interrupted, match="stopped by a test"):
        train_toy(**GRID, seeds=3, out=folder)
    monkeypatch.undo()
    assert len([x for x in read_lines(folder) if x["seed"] == 2]) == 2 * 3
    return folder


@pytest.fixture(scope="module")
def whole(train_toy):
    return train_toy(**GRID, seeds=3).folder


def test_resume_goes_on_with_the_seeds_that_were_added(added, whole, resume):
    """The folder was looked at with 2 seeds before; resume was told to go on with 3."""
    code, out, err = resume(added)
    assert code == 0 and "2 replicas in 1 program" in err and "2 cells x 3 seeds" in out
    assert sorted_lines(added) == sorted_lines(whole)
    assert (added / "results.csv").read_text() == (whole / "results.csv").read_text()
    assert [look["seeds"] for look in read_study(added)["looks"]] == [2, 3]


def test_an_answer_with_fewer_seeds_takes_nothing_from_what_is_begun(added, whole, resume):
    code, out, err = resume(added, "--seeds", "2")
    assert code == 0 and "nothing to do" in err and "2 cells x 2 seeds" in out
    assert resume(added)[0] == 0
    assert sorted_lines(added) == sorted_lines(whole)


def test_a_finished_study_has_nothing_to_do(whole, resume, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "study")
    before = (folder / "metrics.jsonl").read_bytes()
    code, out, err = resume(folder)
    assert (code, err) == (0, "every replica was trained before: nothing to do\n")
    assert out.endswith(f"folder: {folder}\n")
    assert (folder / "metrics.jsonl").read_bytes() == before
    for name in ("parameters", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    assert resume(folder)[1] == out


@pytest.mark.slow
def test_a_begun_group_is_taken_up_before_other_programs(train_toy, monkeypatch, tmp_path):
    """Stopped in the second program, then resumed with more seeds in the first as well."""
    grid = {"config": CONFIG, "vary": {"power": ["square", "quartic"]}}
    stop_at(monkeypatch, 7 + 4)
    with pytest.raises(Interrupted):
        train_toy(**grid, seeds=2, out=tmp_path)
    monkeypatch.undo()
    (begun,) = [x for x in read_lines(tmp_path) if x.get("epoch") == 3 and x["cell"] == 1][1:]
    assert begun["seed"] == 1 and not (tmp_path / "results.csv").exists()
    skipped = []
    monkeypatch.setattr(
        "experiments.engine.progress.Meter.skip", lambda self, done, text: skipped.append(done)
    )
    train_toy(**grid, seeds=3, out=tmp_path)
    assert skipped == [3 * 5 * 2]  # three epochs of five steps, two replicas
    assert sorted_lines(tmp_path) == sorted_lines(train_toy(**grid, seeds=3).folder)


@pytest.mark.parametrize("left", ["removed", "damaged"])
def test_without_its_checkpoint_a_group_begins_again_without_a_double_line(
    added, whole, train_toy, left
):
    (checkpoint,) = (path for path in (added / "checkpoints").iterdir() if path.is_dir())
    if left == "removed":
        shutil.rmtree(added / "checkpoints")
    else:
        shutil.rmtree(checkpoint / "state")
    said = []
    train_toy(**GRID, seeds=3, out=added, echo=said.append)
    warned = [text for text in said if "passed over" in text]
    assert len(warned) == (left == "damaged")
    assert sorted_lines(added) == sorted_lines(whole)


def test_a_damaged_line_of_tuning_while_reporting(train_toy, monkeypatch, tmp_path):
    """Tuning trains again first and clears the checkpoint: reporting starts without leftovers."""
    grid = {**GRID, "tune": {"decay": [0.0, 0.01]}, "tune_seeds": 1, "seeds": 2}
    stop_at(monkeypatch, 7 + 4)
    with pytest.raises(Interrupted):
        train_toy(**grid, out=tmp_path)
    monkeypatch.undo()
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(i for i, text in enumerate(lines) if b'"final"' in text)
    assert any(b'"report"' in text for text in lines)
    path.write_bytes(b"".join([*lines[:place], lines[place][:-9] + b"\n", *lines[place + 1 :]]))
    train_toy(**grid, out=tmp_path)
    assert sorted_lines(tmp_path) == sorted_lines(train_toy(**grid).folder)


@pytest.mark.slow
def test_patience_is_resumed_while_some_lanes_have_stopped(train, monkeypatch, tmp_path):
    """A rate of 1e30 diverges at once, another stops soon, another never does."""
    selection = dataclasses.replace(
        SELECTIVE.config.selection, keep="best", patience=1, average=0.5
    )
    config = dataclasses.replace(SELECTIVE.config, epochs=12, selection=selection)
    grid = {"vary": {"rate": [0.001, 0.4, 1e30]}, "seeds": 1, "evaluate_every": 2}
    given = {"override": Override(lanes=4, devices=2)}
    whole = train(SELECTIVE, config, **grid, **given)
    finals = [whole.lines["report", cell, (), 0] for cell in range(3)]
    assert finals[0]["step"] == 60 > finals[1]["step"] and finals[1]["status"] == "finished"
    assert finals[2]["status"] == "diverged"
    for question in (7, 11, 13):
        stop_at(monkeypatch, question)
        with pytest.raises(Interrupted):
            train(SELECTIVE, config, **grid, **given, out=tmp_path / str(question))
        monkeypatch.undo()
        again = train(SELECTIVE, config, **grid, **given, out=tmp_path / str(question))
        assert again.lines == whole.lines
        assert sorted_lines(again.folder) == sorted_lines(whole.folder)


def test_a_sealed_study_with_fields_missing_is_damaged(whole, resume, tmp_path):
    contents = read_study(whole)
    for name in ("experiment", "config", "vary", "programs", "looks", "part", "tune"):
        folder = tmp_path / name
        folder.mkdir()
        write_json(folder / "study.json", {k: v for k, v in contents.items() if k != name})
        code, out, err = resume(folder)
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert err.startswith(f"toy.py: {folder / 'study.json'} is damaged: "), err


def test_a_folder_without_its_study_or_in_use(whole, resume, tmp_path):
    from experiments.engine.lease import lease

    folder = shutil.copytree(whole, tmp_path / "study")
    with lease(folder):
        code, _, err = resume(folder)
    assert code == 2 and f"{folder} is in use by process" in err
    (folder / "study.json").unlink()
    code, _, err = resume(folder)
    assert (code, err) == (2, f"toy.py: {folder} is not a study folder: it has no study.json\n")


def test_a_trained_group_stops_before_its_final_evaluation(train_toy, monkeypatch, tmp_path):
    """That can take long, and what was trained is on the disk before it."""
    stop_at(monkeypatch, 1 + CONFIG.epochs)
    with pytest.raises(Interrupted):
        train_toy(**GRID, seeds=1, out=tmp_path)
    monkeypatch.undo()
    begun = sorted_lines(tmp_path)
    assert len(begun) == 2 * CONFIG.epochs and (tmp_path / "checkpoints").exists()
    train_toy(**GRID, seeds=1, out=tmp_path)
    assert set(begun) < set(sorted_lines(tmp_path))
    assert sorted_lines(tmp_path) == sorted_lines(train_toy(**GRID, seeds=1).folder)


def test_a_time_limit_saves_and_says_so(train_toy, tmp_path):
    with pytest.raises(Interrupted, match="stopped by the time limit"):
        train_toy(**GRID, seeds=2, out=tmp_path, saving=Saving(time_limit="0.01s"))
    assert [line for line in read_lines(tmp_path) if line.get("final")] == []
