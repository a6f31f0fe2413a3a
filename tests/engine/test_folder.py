"""The study folder: whose it is, and what of a beginning is left behind."""

import dataclasses

import pytest

from experiments.engine.errors import UsageError
from experiments.engine.folder import (
    claim_folder,
    default_folder,
    looks_of,
    make_folder,
    read_study,
    write_study,
)
from experiments.engine.study import make_study
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


@pytest.mark.parametrize(
    ("seeds", "counted"), [([], 0), ([2], 1), ([2, 3], 1), ([3, 5], 1), ([5, 3, 10, 20], 3)]
)
def test_looks_count_that_can_give_a_verdict(seeds, counted):
    assert looks_of({"looks": [{"seeds": n} for n in seeds]}) == counted


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
