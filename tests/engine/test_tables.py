"""`results.csv` and `tuning.csv`: a row per replica, with its config."""

import csv
import dataclasses

from experiments import memory
from experiments.engine.log import finished
from experiments.engine.study import make_study
from experiments.engine.tables import contradiction, read_results, row_of, write_results
from tests.engine.test_folder import STUDY, line
from tests.engine.toy import TOY


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_results_have_a_row_per_replica_with_its_config(tmp_path):
    lines = [
        line("report", cell, (("noise", "0.5"),), seed, final=True, lines=0,
             status="finished", step=10, test_error=cell + seed / 10, test_correct="AA==")
        for cell in (3, 0) for seed in (1, 0)
    ]  # fmt: skip
    lines[0] |= {"status": "diverged", "diverged_step": 4, "test_error": None}
    lines.append(
        line("tune", 0, (("noise", "0.5"),), 1_000_000, final=True, lines=0, status="finished")
    )
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
    done = finished(line(cell=cell, final=True, lines=0, status="finished") for cell in (0, 1))
    write_results(tmp_path, study, done)
    rows = rows_of(tmp_path / "results.csv")
    assert [(row["arm"], row["decay"]) for row in rows] == [("plain", "none"), ("decayed", "0.1")]
    assert not (tmp_path / "tuning.csv").exists()


def test_a_cell_of_recurrent_nets_is_not_a_cell_of_the_study(tmp_path):
    study = make_study(memory.EXPERIMENT, vary={"cell": ["rnn", "gru"]}, seeds=1)
    done = finished(line(cell=cell, final=True, lines=0, status="finished") for cell in (0, 1))
    write_results(tmp_path, study, done)
    rows = read_results(tmp_path)
    assert [(key, row["config_cell"]) for key, row in rows.items()] == [
        ((0, 0), "rnn"), ((1, 0), "gru"),
    ]  # fmt: skip


def test_fields_named_like_other_columns_stand_beside_them(tmp_path):
    made = dataclasses.make_dataclass(
        "Named", [("seed", int, 7), ("status", str, "mine"), ("words", str, "all")],
        bases=(type(TOY.config),), frozen=True,
    )  # fmt: skip
    study = make_study(dataclasses.replace(TOY, config=made()), vary={"words": ["all", "few"]})
    known = line(cell=1, final=True, lines=0, status="finished", words=5.0)
    row = row_of(study, known)
    assert (row["cell"], row["seed"], row["status"], row["words"]) == (1, 0, "finished", 5.0)
    named = [row[f"config_{name}"] for name in ("seed", "status", "words")]
    assert named == ["7", "mine", "few"]


def test_a_field_that_the_config_has_gained_contradicts_no_older_table():
    made = dataclasses.make_dataclass(
        "Gained", [("extra", float, 0.0)], bases=(type(TOY.config),), frozen=True
    )
    known = line(final=True, lines=0, status="finished", test_error=0.5)
    before = make_study(TOY, vary={"rate": [0.1, 0.3]})
    after = make_study(dataclasses.replace(TOY, config=made()), vary={"rate": [0.1, 0.3]})
    table = {name: "" if v is None else str(v) for name, v in row_of(before, known).items()}
    assert contradiction(before, known, table) == contradiction(after, known, table) == ""
    for name in ("test_error", "rate"):
        said = f"results.csv records another {name} than metrics.jsonl"
        assert contradiction(after, known, table | {name: "0.25"}) == said
    del table["test_error"]
    assert "another test_error" in contradiction(after, known, table)
