"""The study folder: whose it is, what survives a torn write, and the tables made from it."""

import csv
import dataclasses
import json

import pytest

from experiments.engine.errors import UsageError
from experiments.engine.folder import (
    Log,
    claim_folder,
    default_folder,
    drop_unfinished,
    finished,
    line_key,
    make_folder,
    read_lines,
    read_study,
    write_results,
    write_study,
)
from experiments.engine.study import make_job, make_study
from tests.engine.toy import TOY, Config

STUDY = make_study(TOY, vary={"rate": [0.1, 0.3], "decay": [None, 0.01]}, seeds=2)


def line(phase="report", cell=0, tuned=(), seed=0, **rest):
    return {"phase": phase, "cell": cell, "tuned": dict(tuned), "seed": seed, **rest}


def claimed(folder, study=STUDY):
    contents = claim_folder(folder, study)
    make_folder(folder)
    write_study(folder, contents)
    return contents


def test_the_default_folder_belongs_to_the_study_whatever_its_seeds():
    folder = default_folder(STUDY)
    assert folder.parts[0] == "runs" and folder.name.startswith("toy-study-")
    assert default_folder(dataclasses.replace(STUDY, seeds=9)) == folder
    assert default_folder(dataclasses.replace(STUDY, fix=("init",))) != folder


def test_a_folder_is_claimed_once_and_taken_up_by_the_same_study(tmp_path):
    folder = tmp_path / "a" / "b"
    contents = claimed(folder)
    assert contents["programs"] == contents["looks"] == []
    assert claim_folder(folder, dataclasses.replace(STUDY, seeds=9)) == contents
    assert read_study(folder) == contents


@pytest.mark.parametrize("left", ["lease.json.0a1b", "study.json.partial"])
def test_what_a_killed_beginning_leaves_is_no_obstacle(tmp_path, left):
    (tmp_path / left).write_text("{")
    assert claim_folder(tmp_path, STUDY)["programs"] == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"vary": {"rate": (0.1, 0.2), "decay": (None, 0.01)}}, "rate: "),
        ({"config": Config(epochs=3)}, "epochs: 2 there, 3 here"),
        ({"fix": ("split",)}, "fix: "),
        ({"evaluate_every": 2}, "evaluate_every: 1 there, 2 here"),
        ({"tune": {"noise": (0.0, 1.0)}}, "noise: "),
        ({"experiment": dataclasses.replace(TOY, name="other")}, "experiment: toy there, other"),
    ],
)
def test_a_folder_of_another_study_is_refused_and_the_difference_named(
    tmp_path, changes, difference
):
    claimed(tmp_path)
    with pytest.raises(UsageError) as caught:
        claim_folder(tmp_path, dataclasses.replace(STUDY, **changes))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path} holds another study ({difference}")
    assert text.endswith("choose another --out")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"not empty and not a study \(thesis.tex\)"):
        claim_folder(tmp_path, STUDY)
    with pytest.raises(UsageError, match=r"thesis.tex is a file; choose another --out"):
        claim_folder(tmp_path / "thesis.tex", STUDY)
    with pytest.raises(UsageError, match="cannot be made"):
        make_folder(tmp_path / "thesis.tex" / "below")
    with pytest.raises(UsageError, match=r"is not a study folder: it has no study.json"):
        read_study(tmp_path)
    with pytest.raises(UsageError, match="there is no such folder"):
        read_study(tmp_path / "nowhere")
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UsageError, match=r"study.json is damaged"):
        claim_folder(tmp_path, STUDY)


def test_a_torn_last_line_is_left_out(tmp_path):
    lines = [line(seed=seed, final=True, status="finished") for seed in range(3)]
    with Log(tmp_path) as log:
        log.write(lines[:2])
        log.write(lines[2:], durable=True)
    assert read_lines(tmp_path) == lines
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    for cut in (1, 2, len(whole) // 3 - 1):
        path.write_text(whole[:-cut])
        assert read_lines(tmp_path) == (lines if cut == 1 else lines[:2])
    path.write_text(whole + "\0" * 40)
    assert read_lines(tmp_path) == lines
    assert read_lines(tmp_path / "nowhere") == []


def test_unfinished_replicas_are_dropped_and_finished_ones_kept_whole(tmp_path):
    curve = [line(seed=seed, epoch=epoch) for epoch in (1, 2) for seed in range(3)]
    finals = [line(seed=seed, final=True, status="finished") for seed in (0, 2)]
    with Log(tmp_path) as log:
        log.write([*curve, *finals])
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"phase": "report", "cell": 0, "tu')
    done = drop_unfinished(tmp_path)
    assert set(done) == {("report", 0, (), 0), ("report", 0, (), 2)}
    assert read_lines(tmp_path) == [x for x in [*curve, *finals] if x["seed"] != 1]
    with Log(tmp_path) as log:
        log.write([line(seed=1, epoch=1)])
    assert len(read_lines(tmp_path)) == 7  # appended after whole lines
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_numbers_that_are_not_finite_never_reach_the_log(tmp_path):
    with Log(tmp_path) as log, pytest.raises(ValueError, match="not JSON compliant"):
        log.write([line(loss=float("nan"))])
    assert read_lines(tmp_path) == []


def test_lines_belong_to_jobs():
    job = make_job(STUDY, "tune", 3, {"noise": 0.5, "power": "quartic"}, 7)
    written = json.loads(json.dumps(line("tune", 3, job.tuned, 7, final=True)))
    assert line_key(written) == job.key
    assert finished([line(epoch=1), written]) == {job.key: written}


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_results_have_a_row_per_replica_with_its_config(tmp_path):
    lines = [
        line("report", cell, (("noise", "0.5"),), seed, final=True, status="finished", step=10,
             test_error=cell + seed / 10, test_correct="AA==")
        for cell in (3, 0) for seed in (1, 0)
    ]  # fmt: skip
    lines[0] |= {"status": "diverged", "diverged_step": 4, "test_error": None}
    lines.append(line("tune", 0, (("noise", "0.5"),), 1_000_000, final=True, status="finished"))
    write_results(tmp_path, STUDY, finished(lines))
    rows = rows_of(tmp_path / "results.csv")
    assert [(row["cell"], row["seed"]) for row in rows] == [
        ("0", "0"), ("0", "1"), ("3", "0"), ("3", "1"),
    ]  # fmt: skip
    assert set(rows[0]) == {
        "cell", "seed", "rate", "decay", "noise", "power", "batch_size", "epochs", "status",
        "step", "diverged_step", "test_error",
    }  # fmt: skip
    assert (rows[0]["rate"], rows[0]["decay"], rows[0]["noise"]) == ("0.1", "none", "0.5")
    assert (rows[3]["rate"], rows[3]["decay"], rows[3]["diverged_step"]) == ("0.3", "0.01", "4")
    assert (rows[3]["test_error"], rows[2]["test_error"]) == ("", "3.0")
    (tuning,) = rows_of(tmp_path / "tuning.csv")
    assert tuning["seed"] == "1000000" and tuning["noise"] == "0.5"


def test_results_name_the_arm(tmp_path):
    study = make_study(TOY, arms={"plain": {}, "decayed": {"decay": 0.1}}, seeds=1)
    done = finished(line(cell=cell, final=True, status="finished") for cell in (0, 1))
    write_results(tmp_path, study, done)
    rows = rows_of(tmp_path / "results.csv")
    assert [(row["arm"], row["decay"]) for row in rows] == [("plain", "none"), ("decayed", "0.1")]
    assert not (tmp_path / "tuning.csv").exists()
