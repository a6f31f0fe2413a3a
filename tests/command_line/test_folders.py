"""Commands on folders as a careless user gives them."""

import pathlib

import pytest

from experiments.engine.lease import lease
from experiments.engine.sealed import write_json
from tests.command_line.calls import SMALL, refused


def test_the_answer_is_on_stdout_and_progress_on_stderr(cli, finished):
    line = f"study mlp {SMALL} --vary dropout=0,0.5 --seeds 2 --out {finished}"
    before = (finished / "results.csv").read_bytes()
    again = cli(line)
    assert again.code == 0
    assert again.out.startswith("accuracy, 2 cells x 2 seeds")
    assert again.out.endswith(f"folder: {finished}\n")
    assert "every replica was trained before" in again.err
    assert max(map(len, again.out.replace(str(finished), "").splitlines())) <= 80
    assert (finished / "results.csv").read_bytes() == before


@pytest.mark.slow
def test_without_validation_rows_there_are_no_validation_columns_and_no_tuning(cli, tmp_path):
    line = f"study mlp {SMALL} --validation 0 --vary dropout=0,0.5 --seeds 2 --out all"
    answer = cli(line)
    assert answer.code == 0
    for name in ("metrics.jsonl", "results.csv"):
        text = (tmp_path / "all" / name).read_text()
        assert "train_accuracy" in text and "validation_" not in text
    assert cli("report all").out == answer.out.removesuffix("\nfolder: all\n")
    refused(
        cli(f"{line}_tuned --tune learning_rate=1e-3,1e-2"),
        "learning_rate: chosen by validation score, but no rows are held out",
    )
    refused(cli(f"{line}_best --keep best"), "--keep best: chosen by validation score")


def test_report_says_the_same_again(cli, finished):
    line = f"study mlp {SMALL} --vary dropout=0,0.5 --seeds 2 --out {finished}"
    trained, reported = cli(line), cli(f"report {finished}")
    assert (reported.code, reported.err) == (0, "")
    assert trained.out == f"{reported.out}\nfolder: {finished}\n"


def test_a_folder_of_another_study(cli, finished):
    refused(
        cli(f"study mlp {SMALL} --vary dropout=0,0.1 --seeds 2 --out {finished}"),
        "holds another study (dropout: ['0', '0.5'] there, ['0', '0.1'] here)",
    )
    refused(cli(f"run mlp {SMALL} --out {finished}"), "holds another study (dropout: ")
    refused(
        cli(f"study mlp {SMALL} --vary dropout=0,0.1 --dry-run --out {finished}"),
        "holds another study",
    )


def test_a_folder_in_use(cli, tmp_path):
    (tmp_path / "busy").mkdir()
    with lease(tmp_path / "busy"):
        answer = cli(f"run mlp {SMALL} --out busy")
    refused(answer, "busy is in use by process", "choose another --out")


def test_a_folder_that_is_a_file_or_holds_something_else(cli, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    refused(cli(f"run mlp {SMALL} --out file"), "file is a file; choose another --out")
    refused(cli(f"run mlp {SMALL} --out file/x"), "cannot be made: Not a directory")
    refused(cli(f"run mlp {SMALL} --out full"), "not a study (thesis.tex)")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "x"


def test_a_folder_that_cannot_be_written(cli, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "write_text", refuse)
    refused(cli(f"run mlp {SMALL} --out locked"), "locked cannot be written: Permission denied")


DAMAGED = {
    '{"experiment": "mlp"': "study.json is damaged",
    '{"experiment": "mlp"}': "study.json is damaged",
    "[1]": "study.json is damaged",
    "": "study.json is damaged",
    '{"experiment": "other"}': "study.json is damaged",
}


@pytest.mark.parametrize("text", DAMAGED)
def test_report_on_a_damaged_folder(cli, tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    refused(cli("report ."), DAMAGED[text])


def test_report_on_a_sealed_file_that_holds_no_study(cli, tmp_path):
    begun = {"format": 1, "programs": [], "looks": []}
    write_json(tmp_path / "study.json", begun | {"experiment": "other"})
    refused(cli("report ."), "belongs to the experiment 'other'")
    write_json(tmp_path / "study.json", begun | {"experiment": "mlp"})
    refused(cli("report ."), "study.json is damaged: KeyError")


def test_report_on_a_folder_without_a_study(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    refused(cli("report empty"), "empty is not a study folder: it has no study.json")
    refused(cli("report file"), "file: there is no such folder")


def test_report_on_a_study_that_has_trained_nothing_yet(cli, finished, tmp_path):
    (tmp_path / "study.json").write_text((finished / "study.json").read_text())
    answer = cli("report .")
    assert (answer.code, answer.err) == (0, "")
    assert "no replica has finished yet" in answer.out
