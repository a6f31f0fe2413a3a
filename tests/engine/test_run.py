"""A study from its first line to its answer: interrupted, resumed, extended, refused, reopened."""

import csv
import dataclasses
import itertools
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from experiments import Entry
from experiments.data.dataset import make_dataset
from experiments.engine import prepare
from experiments.engine.errors import UsageError
from experiments.engine.folder import read_study
from experiments.engine.lease import lease
from experiments.engine.log import read_lines
from experiments.engine.pairing import score
from experiments.engine.plan import Override
from experiments.engine.program import Layout
from experiments.engine.progress import Meter
from experiments.engine.reopen import reopen, reopened
from experiments.engine.results import make_grid
from experiments.engine.sealed import write_json
from experiments.engine.statistics import Metric
from experiments.engine.tuning import choices, report_jobs
from tests.engine.toy import TOY, load

pytestmark = pytest.mark.usefixtures("one_build")

CALLS = Override(lanes=4, devices=2, steps_per_call=2)
"""Three calls an epoch, so six for a lane group."""
GRID = {"vary": {"rate": [0.03, 0.1]}, "tune": {"decay": [0.0, 0.01]}, "tune_seeds": 2, "seeds": 3}


def sorted_lines(folder):
    return sorted(json.dumps(line) for line in read_lines(folder))


@pytest.fixture(scope="module")
def whole(train_toy):
    """Eight tuning and six reporting replicas, trained without interruption."""
    said = []
    return train_toy(**GRID, echo=said.append, override=CALLS), said


def test_every_replica_is_recorded_once_with_its_curve(whole):
    outcome, said = whole
    lines = read_lines(outcome.folder)
    keys = [(line["phase"], line["cell"], str(line["tuned"]), line["seed"]) for line in lines]
    finals = [key for key, line in zip(keys, lines, strict=True) if line.get("final")]
    assert len(finals) == len(set(finals)) == 8 + 6 == len(outcome.lines)
    for key in finals:
        mine = [line for k, line in zip(keys, lines, strict=True) if k == key]
        assert [line.get("epoch") for line in mine] == [1, 2, None]
        assert [line["step"] for line in mine] == [5, 10, 10]
        assert mine[1]["validation_error"] == mine[2]["validation_error"]
        assert set(mine[0]) >= {"train_loss", "validation_error", "validation_size", "diverged"}
    assert any(text.startswith("14 replicas in 1 program, one trace each") for text in said)
    assert said[-1].endswith(f"folder: {outcome.folder}") and outcome.text in said[-1]


def test_a_report_says_if_the_folder_holds_more_seeds(train_toy, tmp_path):
    for seeds, told in ((2, False), (1, True)):
        study = train_toy(seeds=seeds, out=tmp_path / "out").study
        said: list[str] = []
        reopened(tmp_path / "out", study).report(100, said.append)
        assert any("has 2 seeds, and this is about the first 1 of them" in t for t in said) == told


def test_a_gap_says_by_how_much_a_cell_is_worse_on_the_test_rows(whole):
    outcome, _ = whole
    with (outcome.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    shown = reopened(outcome.folder, outcome.study).answer(read_lines(outcome.folder), 100)
    assert shown is not None
    for cell, gap in enumerate(shown.extra["gap"]):
        mine = [row for row in rows if row["cell"] == str(cell)]
        errors = [[float(row[f"{split}_error"]) for row in mine] for split in ("test", "train")]
        assert gap == pytest.approx(np.mean(errors[0]) - np.mean(errors[1]), abs=1e-6)


def test_results_csv_holds_a_row_per_replica(whole):
    outcome, _ = whole
    with (outcome.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["rate"], row["seed"]) for row in rows] == [
        (rate, seed) for rate in ("0.03", "0.1") for seed in "012"
    ]
    for row in rows:
        tuned = (("decay", row["decay"]),)
        line = outcome.lines["report", int(row["cell"]), tuned, int(row["seed"])]
        assert float(row["test_error"]) == line["test_error"]
        assert row["status"] == "finished" and row["epochs"] == "2"
    values = np.array([cell.values for cell in outcome.analysis.cells])
    assert values.ravel().tolist() == [float(row["test_error"]) for row in rows]
    assert len((outcome.folder / "tuning.csv").read_text().splitlines()) == 1 + 8


class Stop(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("calls", [1, 7, 15])
def test_an_interrupted_study_goes_on_to_the_same_bits(
    whole, train_toy, monkeypatch, tmp_path, calls
):
    """Stopped while tuning the first group, the second, and while training: then run again."""
    count = itertools.count(1)
    original = Meter.advance

    def advance(self, steps, text):
        if next(count) == calls:
            raise Stop
        original(self, steps, text)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "advance", advance)
        with pytest.raises(Stop):
            train_toy(**GRID, out=tmp_path, override=CALLS)
    finished = [line for line in read_lines(tmp_path) if line.get("final")]
    assert len(finished) == {1: 0, 7: 4, 15: 8}[calls]
    assert not (tmp_path / "results.csv").exists()
    assert read_study(tmp_path)["looks"] == []
    again = train_toy(**GRID, out=tmp_path)  # in calls of another length
    assert again.lines == whole[0].lines and again.text == whole[0].text
    assert sorted_lines(tmp_path) == sorted_lines(whole[0].folder)
    for name in ("results.csv", "tuning.csv"):
        assert (tmp_path / name).read_text() == (whole[0].folder / name).read_text()


def test_the_same_study_again_trains_nothing_and_answers_the_same(whole, train_toy, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole[0].folder, folder)
    said = []
    again = train_toy(**GRID, out=folder, echo=said.append)
    assert again.text == whole[0].text and again.lines == whole[0].lines
    assert not any("one trace" in text for text in said)
    assert len(read_study(folder)["looks"]) == 1
    before, after = (path / "metrics.jsonl" for path in (whole[0].folder, folder))
    assert after.read_bytes() == before.read_bytes()
    torn = folder / "metrics.jsonl"
    torn.write_bytes(torn.read_bytes()[:-20])
    mended = train_toy(**GRID, out=folder)
    assert mended.text == whole[0].text and sorted_lines(folder) == sorted_lines(whole[0].folder)


def test_added_seeds_are_trained_alone_and_count_as_another_look(whole, train_toy, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(whole[0].folder, folder)
    said = []
    more = train_toy(**GRID | {"seeds": 5}, out=folder, echo=said.append)
    assert any(text.startswith("4 replicas in 1 program") for text in said)
    assert (
        (folder / "metrics.jsonl")
        .read_bytes()
        .startswith((whole[0].folder / "metrics.jsonl").read_bytes())
    )
    assert [look["seeds"] for look in read_study(folder)["looks"]] == [3, 5]
    assert more.analysis.looks == 1  # 3 seeds give no verdict, so looking at them cost nothing
    assert more.analysis.seeds == (0, 1, 2, 3, 4)
    assert {key: more.lines[key] for key in whole[0].lines} == whole[0].lines
    at_once = train_toy(**GRID | {"seeds": 5})
    assert at_once.lines == more.lines and at_once.analysis.looks == 1
    another = train_toy(**GRID | {"seeds": 6}, out=folder)
    assert another.analysis.looks == 2 and "look 2" in another.text
    said.clear()
    fewer = train_toy(**GRID, out=folder, echo=said.append)
    assert any(text.startswith(f"warning: {folder} has 6 seeds") for text in said)
    assert fewer.analysis.looks == 2 and fewer.analysis.seeds == (0, 1, 2)
    assert [look["seeds"] for look in read_study(folder)["looks"]] == [5, 6, 3]


def test_a_report_is_the_printed_answer(whole, train_toy, tmp_path):
    entries = {"toy": Entry(TOY.summary, lambda: TOY)}
    outcome = whole[0]
    assert reopen(entries, outcome.folder).report(100) == outcome.text
    moved = tmp_path / "moved"
    shutil.copytree(outcome.folder, moved)
    assert reopen(entries, moved).report(100) == outcome.text
    assert (moved / "report.txt").read_text() == outcome.text + "\n"
    narrow = reopen(entries, moved).report(70)
    assert max(map(len, narrow.splitlines())) <= 70
    saved = json.loads((moved / "analysis.json").read_text())
    assert saved["contrasts"][0]["level"] == "0.1"
    with pytest.raises(UsageError, match="belongs to the experiment 'toy'"):
        reopen({}, moved)
    armed = train_toy(
        arms={"plain": {}, "decayed": {"decay": 0.1}, "tuned": {"decay": [0.01, 0.3]}},
        vary={"power": ["square", "quartic"]}, seeds=2, margin=0.5, fix=("split",),
        question="Does decay help?", tune_seeds=1,
    )  # fmt: skip
    assert armed.text.startswith("Does decay help?")
    assert reopen(entries, armed.folder).report(100) == armed.text


def test_a_folder_of_another_study_is_refused(whole, train_toy):
    with pytest.raises(UsageError, match=r"holds another study \(decay: .*choose another --out"):
        train_toy(**GRID | {"tune": {"decay": [0.0, 0.02]}}, out=whole[0].folder)


def test_studies_are_compiled(train_toy, tmp_path):
    with jax.disable_jit(), pytest.raises(UsageError, match=r"leave jax.disable_jit .* off"):
        train_toy(seeds=1, out=tmp_path / "eager")
    assert not (tmp_path / "eager").exists()


def test_a_folder_in_use_is_refused(train_toy, tmp_path):
    with (
        lease(tmp_path),
        pytest.raises(UsageError, match=r"is in use by process .*choose another --out"),
    ):
        train_toy(**GRID, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_its_plan_and_its_data(whole, train_toy, train, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole[0].folder, folder)
    with pytest.raises(UsageError, match="planned with --lanes 4 --devices 2"):
        train_toy(**GRID, out=folder, override=Override(lanes=2))
    assert train(TOY, **GRID, out=folder).text == whole[0].text

    def load_other(config, manual_dir):
        dataset = load(config, manual_dir)
        test = {name: array + 1 for name, array in dataset.splits["test"].items()}
        return make_dataset("line", {**dataset.splits, "test": test}, dataset.spec)

    other = dataclasses.replace(TOY, load=load_other)
    with pytest.raises(UsageError, match=r"begun with other data .* choose another --out"):
        train(other, **GRID | {"seeds": 5}, out=folder)


def test_a_study_killed_before_its_record_is_begun_again(whole, train_toy, tmp_path):
    contents = read_study(whole[0].folder)
    unbegun = contents | {"programs": [], "looks": []}
    del unbegun["metrics"]
    write_json(tmp_path / "study.json", unbegun)
    assert (
        reopen({"toy": Entry("", lambda: TOY)}, tmp_path)
        .report(80)
        .endswith("no replica has finished yet")
    )
    assert train_toy(**GRID, out=tmp_path).lines == whole[0].lines
    assert (tmp_path / "record.json").exists()


def test_a_study_under_way_has_no_verdicts(whole, tmp_path):
    """Judging it again and again as seeds come in would be as many looks."""
    folder = pathlib.Path(shutil.copytree(whole[0].folder, tmp_path / "part"))
    write_json(folder / "study.json", read_study(folder) | {"looks": []})
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:-1]))
    text = reopen({"toy": Entry("", lambda: TOY)}, folder).report(100)
    assert "The study has not finished: no verdict until it has." in text
    assert "1 replica missing" in text and "Exploratory." in text
    assert "no verdict (" not in text and "undecided" not in text


def test_another_margin_is_another_look(whole, train_toy, tmp_path):
    folder = pathlib.Path(shutil.copytree(whole[0].folder, tmp_path / "other"))
    grid = GRID | {"seeds": 5}
    assert train_toy(**grid, out=folder).analysis.looks == 1
    other = train_toy(**grid, margin=0.5, out=folder)
    assert other.analysis.looks == 2
    looks = [(look["seeds"], look.get("margin", 0.5)) for look in read_study(folder)["looks"]]
    assert looks == [(3, None), (5, None), (5, 0.5)]
    again = train_toy(**grid, out=folder)
    assert again.analysis.looks == 2 and read_study(folder)["margin"] is None
    assert read_study(folder)["looks"][-1]["margin"] is None


def test_a_metric_that_overflowed_is_that_of_a_diverged_replica(whole):
    study, done = whole[0].study, {key: dict(line) for key, line in whole[0].lines.items()}
    metric = Metric("error", higher_is_better=False)
    jobs = report_jobs(study, choices(study, metric, done))
    done[jobs[1].key]["test_error"] = None
    del done[jobs[2].key]
    grid = make_grid(study, jobs, done, "test_error")
    assert grid.diverged.ravel()[:3].tolist() == [False, True, False]
    assert np.isnan(grid.values.ravel()[:3]).tolist() == [False, True, True]
    scored = score(grid, metric).values.ravel()
    assert np.isposinf(scored[1]) and np.isnan(scored[2])


def test_a_diverged_replica_is_reported_and_the_others_go_on(whole, train_toy):
    outcome = train_toy(vary={"rate": [0.1, 1e30]}, seeds=3)
    lost = [line for key, line in outcome.lines.items() if key[1] == 1]
    assert all(line["status"] == "diverged" and line["diverged_step"] < 10 for line in lost)
    assert [cell.diverged for cell in outcome.analysis.cells] == [0, 3]
    assert "3 diverged" in outcome.text
    with (outcome.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["diverged"] * 3
    assert all((row["diverged_step"] != "") == (row["status"] == "diverged") for row in rows)
    curve = [line for line in read_lines(outcome.folder) if line.get("epoch") == 2]
    assert [line["diverged"] for line in curve] == [line["cell"] == 1 for line in curve]


def test_a_measured_plan_is_the_fastest_and_is_kept(train, monkeypatch, tmp_path):
    """Trains on two lanes of two devices, whatever the clock says here."""
    tried = []

    def measure_rate(study, entry, jobs):
        tried.append(entry.plan.layout)
        return 2.0 if entry.plan.layout == Layout(2, 2) else 1.0

    monkeypatch.setattr(prepare, "measure_rate", measure_rate)
    said, grid = [], {"vary": {"rate": [0.03, 0.1]}, "seeds": 1}
    measured = Override(measure=True)
    train(TOY, **grid, out=tmp_path, override=measured, echo=said.append)
    assert set(tried) == {Layout(1, 1), Layout(2, 1), Layout(2, 2)}
    assert len([text for text in said if "replica-steps/s" in text]) == 3
    (program,) = read_study(tmp_path)["programs"]
    assert (program["lanes"], program["devices"]) == (2, 2)
    more = train(TOY, **grid | {"seeds": 3}, out=tmp_path, override=measured)
    assert len(tried) == 3  # the folder has its plan
    assert len(more.lines) == 6 and read_study(tmp_path)["programs"] == [program]


def test_evaluations_come_as_often_as_asked_and_at_the_end(train_toy):
    config = dataclasses.replace(TOY.config, epochs=5)
    outcome = train_toy(config=config, seeds=1, evaluate_every=2)
    epochs = [line["epoch"] for line in read_lines(outcome.folder) if "epoch" in line]
    assert epochs == [2, 4, 5]


def test_an_unknown_metric_is_refused_before_anything_is_written(train_toy, tmp_path):
    with pytest.raises(UsageError, match="--metric eror: did you mean 'error'"):
        train_toy(**GRID, metric="eror", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    outcome = train_toy(**GRID, metric="size")
    assert outcome.analysis.metric.name == "size"


@pytest.mark.slow
def test_pinned_streams_make_copies_of_one_replica_which_prove_nothing(train_toy):
    streams = ("init", "order", "noise", "split", "labels")
    options = {"vary": {"rate": [0.03, 0.1]}, "seeds": 5}
    pinned = train_toy(**options, fix=streams)
    (contrast,) = pinned.analysis.contrasts
    assert (contrast.verdict, contrast.p, contrast.n) == ("no verdict", None, 5)
    assert "one replica, copied" in " ".join(pinned.text.split())
    (contrast,) = train_toy(**options, fix=streams[:3]).analysis.contrasts
    assert contrast.p is not None
