"""Tuning: chosen by validation alone, never by test, per cell or per seed."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest

from experiments import mlp
from experiments.data.dataset import make_dataset
from experiments.engine.jobs import reporting_seeds, tuning_jobs, tuning_seeds
from experiments.engine.log import Log, finished, read_lines
from experiments.engine.statistics import Metric
from experiments.engine.study import make_study
from experiments.engine.tuning import choices, choose, report_jobs, tuning_text
from tests.engine.toy import TOY, load

pytestmark = pytest.mark.usefixtures("one_build")

METRIC = Metric("error", higher_is_better=False)
RATES = [0.003, 0.03, 0.1, 1e30]
GRID = {"vary": {"noise": [0.0, 1.0]}, "tune": {"rate": RATES}, "tune_seeds": 3, "seeds": 5}


@pytest.fixture(scope="module")
def tuned(train_toy):
    """Two cells, each tuned over four rates, the last of which diverges."""
    return train_toy(**GRID)


def rows_of(outcome, name):
    with (outcome.folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_best_mean_validation_score_is_frozen(tuned):
    scores = {}
    for row in rows_of(tuned, "tuning.csv"):
        value = row["validation_error"] if row["status"] == "finished" else "inf"
        scores.setdefault((row["cell"], float(row["rate"])), []).append(float(value))
    assert all(len(values) == 3 for values in scores.values()) and len(scores) == 8
    assert all(np.isinf(values).all() for (_, rate), values in scores.items() if rate == 1e30)
    for cell in "01":
        best = min(RATES, key=lambda rate: np.mean(scores[cell, rate]))
        used = {float(r["rate"]) for r in rows_of(tuned, "results.csv") if r["cell"] == cell}
        assert used == {best} and best < 1e30


def test_tuning_sees_validation_only_and_other_seeds(tuned):
    lines = read_lines(tuned.folder)
    tuning = [line for line in lines if line["phase"] == "tune"]
    assert tuning and not any(name.startswith("test") for line in tuning for name in line)
    reporting = {line["seed"] for line in lines if line["phase"] == "report"}
    assert reporting == set(reporting_seeds(tuned.study)) == set(range(5))
    assert {line["seed"] for line in tuning} == set(tuning_seeds(tuned.study))
    assert not reporting & {line["seed"] for line in tuning}
    evaluations = [line for line in lines if "epoch" in line]
    assert not any(name.startswith("test") for line in evaluations for name in line)


def test_other_test_data_change_no_choice(tuned, train):
    def load_other(config, manual_dir):
        dataset = load(config, manual_dir)
        test = {name: -3 * array for name, array in dataset.splits["test"].items()}
        return make_dataset("line", {**dataset.splits, "test": test}, dataset.spec)

    from experiments.engine.plan import Override

    other = train(
        dataclasses.replace(TOY, load=load_other), **GRID, override=Override(lanes=4, devices=2)
    )
    mine, theirs = rows_of(tuned, "results.csv"), rows_of(other, "results.csv")
    for name in ("rate", "validation_error", "train_error"):
        assert [row[name] for row in mine] == [row[name] for row in theirs]
    assert all(a["test_error"] != b["test_error"] for a, b in zip(mine, theirs, strict=True))


def test_the_curve_and_the_budget_are_printed(tuned):
    assert "Tuned rate by mean validation error (3 seeds; 24 runs in all):" in tuned.text
    for cell, noise in enumerate(("0", "1")):
        found = choose(tuned.study, METRIC, tuned.lines, cell)
        assert [values["rate"] for values, _ in found.curve] == ["0.003", "0.03", "0.1", "1e+30"]
        chosen = found.values["rate"]
        curve = tuned.text.split(f"  noise={noise}\n")[1].splitlines()[0]
        assert f"{chosen:g}: " in curve and curve.count("*") == 1
        mean = np.mean(found.curve[RATES.index(chosen)][1])
        assert f"{chosen:g}: {mean:.4g}*" in curve
        assert "1e+30: diverged" in curve


def done_with(study, scores):
    """Final lines of a tuning phase: value of the tuned field -> score per seed, None diverged."""
    done = {}
    for cell, point in enumerate(study.cells):
        for tuned in point.grid:
            for seed, score in zip(tuning_seeds(study), scores[next(iter(tuned.values()))],
                                   strict=True):  # fmt: skip
                key = ("tune", cell, tuple((k, f"{v:g}") for k, v in tuned.items()), seed)
                fate = "finished" if score is not None else "diverged"
                done[key] = {"status": fate, "validation_error": score}
    return done


@pytest.mark.parametrize(
    ("values", "best", "at_edge"),
    [
        ([0.1, 0.2, 0.4], 0.2, False),
        ([0.1, 0.2, 0.4], 0.1, True),
        ([0.1, 0.2, 0.4], 0.4, True),
        ([0.4, 0.1, 0.2], 0.2, False),  # the grid need not be sorted
        ([0.0, 0.1, 0.2], 0.0, False),  # there is no less than nothing
        ([0.0, 0.1, 0.2], 0.2, True),
        ([0.1], 0.1, False),
    ],
)
def test_a_choice_at_the_edge_is_known(values, best, at_edge):
    study = make_study(TOY, tune={"rate": values}, tune_seeds=2)
    scores = {value: [1.0 + (value != best), 1.0] for value in values}
    found = choose(study, METRIC, done_with(study, scores), 0)
    assert found.values == {"rate": best}
    assert found.at_edge == (("rate",) if at_edge else ())


@pytest.mark.parametrize(
    ("values", "best", "at_edge"),
    [
        ([(2,), (4,), (8,)], (8,), True),
        ([(2,), (4,), (8,)], (2,), True),
        ([(2,), (4,), (8,)], (4,), False),
        ([(8, 8), (8, 4), (8, 2)], (8, 4), False),  # the first number does not vary
        ([(8, 8), (8, 4), (8, 2)], (8, 2), True),
        ([(), (8,), (8, 8)], (8,), False),
        ([(), (8,), (8, 8)], (8, 8), True),  # the deepest
        ([(), (8,), (8, 8)], (), False),
    ],
)
def test_a_tuple_at_the_edge_is_known(values, best, at_edge):
    study = make_study(mlp.EXPERIMENT, tune={"width": values}, tune_seeds=2)
    done = {
        job.key: {"status": "finished", "validation_error": float(job.config.width != best)}
        for job in tuning_jobs(study)
    }
    found = choose(study, METRIC, done, 0)
    assert found.values == {"width": best}
    assert found.at_edge == (("width",) if at_edge else ())


def test_of_values_that_tie_one_inside_the_grid_wins():
    study = make_study(TOY, tune={"rate": [0.1, 0.2, 0.3, 0.4]}, tune_seeds=2)
    flat = {key: [1.0, 2.0] for key in [0.1, 0.2, 0.3, 0.4]}
    found = choose(study, METRIC, done_with(study, flat), 0)
    assert (found.values, found.at_edge) == ({"rate": 0.2}, ())
    worse = {0.2: [2.0, 2.0], 0.3: [2.0, 2.0]}
    found = choose(study, METRIC, done_with(study, flat | worse), 0)
    assert (found.values, found.at_edge) == ({"rate": 0.1}, ("rate",))


def test_a_diverged_tuning_run_counts_as_the_worst():
    study = make_study(TOY, tune={"rate": [0.1, 0.2, 0.4]}, tune_seeds=2)
    scores = {0.1: [5.0, 5.0], 0.2: [0.1, None], 0.4: [9.0, 9.0]}
    assert choose(study, METRIC, done_with(study, scores), 0).values == {"rate": 0.1}


def test_the_curve_leaves_out_the_scores_of_diverged_replicas():
    """Their frozen parameters have one, which chose nothing."""
    study = make_study(TOY, tune={"rate": [0.1, 0.2, 0.4]}, tune_seeds=2)
    done = done_with(study, {0.1: [5.0, 5.0], 0.2: [3.0, 0.1], 0.4: [0.1, 0.1]})
    for key in list(done)[3:]:
        done[key] |= {"status": "diverged"}
    found = choose(study, METRIC, done, 0)
    text = "\n".join(tuning_text(study, {(0, None): found}, METRIC, 100))
    assert "0.1: 5*   0.2: 3 (1 of 2 diverged)   0.4: diverged" in text


def test_a_winner_at_the_edge_withholds_the_verdict(train_toy):
    """Noise of 1 wants a small rate, and the grid ends at its best one for the other cell."""
    outcome = train_toy(vary={"noise": [0.0, 1.0]}, tune={"rate": [0.003, 0.03]}, seeds=5)
    assert outcome.analysis.cells[0].at_edge
    assert [item.verdict for item in outcome.analysis.contrasts] == ["withheld"]
    assert "at the edge: widen --tune rate" in outcome.text
    inside = train_toy(
        vary={"noise": [0.0, 1.0]}, tune={"rate": [0.003, 0.03]}, seeds=5, tune_per_seed=True
    )
    edges = inside.text.count("at the edge: widen --tune rate")
    assert "seed 4: at the edge: widen --tune rate" in inside.text and edges == 10


def test_tuning_inside_each_seed_chooses_for_that_seed(train_toy):
    outcome = train_toy(
        tune={"rate": RATES[1:3]}, tune_per_seed=True, seeds=5, vary={"noise": [0.0, 1.0]}
    )
    assert {line["seed"] for line in read_lines(outcome.folder)} == set(range(5))
    scores = {
        (row["cell"], row["seed"], row["rate"]): float(row["validation_error"])
        for row in rows_of(outcome, "tuning.csv")
    }
    assert len(scores) == 2 * 5 * 2
    rows = rows_of(outcome, "results.csv")
    for row in rows:
        own = {rate: scores[row["cell"], row["seed"], rate] for rate in ("0.03", "0.1")}
        assert row["rate"] == min(own, key=lambda rate: own[rate])
        assert float(row["validation_error"]) == own[row["rate"]]  # the same replica, again
    assert len({row["rate"] for row in rows}) == 2
    found = choices(outcome.study, METRIC, outcome.lines)
    assert set(found) == {(cell, seed) for cell in (0, 1) for seed in range(5)}
    assert "inside each reporting seed" in outcome.text


def test_a_value_that_tuning_gives_up_is_reported_no_more(tuned, train_toy, tmp_path):
    """Tuning lines were damaged and trained again elsewhere, where another value won."""
    folder = shutil.copytree(tuned.folder, tmp_path / "study")
    (old,) = {line["tuned"]["rate"] for line in reports(folder) if line["cell"] == 0}
    (folder / "metrics.jsonl").unlink()
    with Log(folder) as log:
        for line in read_lines(tuned.folder):
            if line["phase"] == "tune" and line.get("final") and line["cell"] == 0:
                line["validation_error"] = 0.5 + (line["tuned"]["rate"] == old)
            log.write([line])
    again = train_toy(**GRID, out=folder)
    (new,) = {line["tuned"]["rate"] for line in reports(folder) if line["cell"] == 0}
    assert new != old and len(rows_of(again, "results.csv")) == 10
    told = {key[2] for key in again.lines if key[:2] == ("report", 0)}
    assert told == {(("rate", new),)}  # the outcome of the same call knows the new ones alone
    said = []
    train_toy(**GRID, out=folder, echo=said.append)
    assert "every replica was trained before: nothing to do" in said


def reports(folder):
    return [line for line in read_lines(folder) if line["phase"] == "report"]


def test_a_lost_tuning_line_leaves_only_its_cell_open(tuned):
    lines = read_lines(tuned.folder)
    lost = next(line for line in lines if line["phase"] == "tune" and line.get("final"))
    done = finished([line for line in lines if line is not lost])
    assert set(choices(tuned.study, METRIC, done)) == {(1 - lost["cell"], None)}
    left = report_jobs(tuned.study, choices(tuned.study, METRIC, done))
    assert {job.cell for job in left} == {1 - lost["cell"]} and len(left) == 5
