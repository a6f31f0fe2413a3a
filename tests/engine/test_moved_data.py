"""Data files of one's own that are no longer where a study found them."""

import numpy as np
import pytest

from experiments import EXPERIMENTS
from experiments.engine import errors
from experiments.engine.cli import main
from experiments.engine.paths import own_file

pytestmark = pytest.mark.usefixtures("one_build")


def launch(*words):
    return main(EXPERIMENTS, [str(word) for word in words], prog="launch.py")


def test_a_file_is_taken_from_the_manual_folder_only_where_it_is_not_in_its_place(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("ABLAX_MANUAL_DIR", raising=False)
    folder, given = tmp_path / "manual", tmp_path / "mine" / "x.npz"
    folder.mkdir()
    assert own_file(given, None) == own_file(given, folder) == given
    (folder / "x.npz").write_text("moved")
    assert own_file(given, None) == given
    assert own_file(given, folder) == folder / "x.npz"
    monkeypatch.setenv("ABLAX_MANUAL_DIR", str(folder))
    assert own_file(given, None) == folder / "x.npz"
    given.parent.mkdir()
    given.write_text("in its place")
    assert own_file(given, folder) == given


def test_a_study_whose_file_has_moved_goes_on_and_is_reproduced(tmp_path, capsys):
    file, moved, study = tmp_path / "x.npz", tmp_path / "moved", tmp_path / "study"
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    np.savez(file, x=random.normal(size=(60, 3)) + labels[:, None], y=labels)
    flags = ["--dataset", "file", "--data-file", file, "--width", "4", "--batch-size", "20"]
    assert launch("run", "mlp", *flags, "--epochs", "2", "--extendable", "--out", study) == 0
    moved.mkdir()
    file.rename(moved / "x.npz")
    capsys.readouterr()

    for verb in (["resume", study, "--seeds", "2"], ["reproduce", study]):
        assert launch(*verb) == errors.DataMissingError.code
        told = capsys.readouterr().err
        assert f"--data-file {file}: there is no such file" in told and "--manual-dir" in told
        assert launch(*verb, "--manual-dir", moved) == 0
    assert "2 of 2 replicas reproduced to the bit" in capsys.readouterr().out

    np.savez(moved / "x.npz", x=random.normal(size=(60, 3)), y=labels)
    assert launch("reproduce", study, "--manual-dir", moved) == errors.UsageError.code
    assert "the data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_text_that_has_moved_is_found(tmp_path, capsys):
    file, moved, study = tmp_path / "x.txt", tmp_path / "moved", tmp_path / "study"
    file.write_text("the cat sat on the mat and the dog sat on the log\n" * 40)
    for experiment, small in (
        ("language_model", "--width 4 --embedding 4 --window 8 --batch-size 4"),
        ("word2vec", "--dimension 4 --min-count 1 --batch-size 64"),
    ):
        out = ["--epochs", "1", "--out", study / experiment]
        flags = ["--dataset", "text", "--text-file", file, *small.split(), *out]
        assert launch("run", experiment, *flags) == 0
    moved.mkdir()
    file.rename(moved / "x.txt")
    for experiment in ("language_model", "word2vec"):
        assert launch("reproduce", study / experiment, "--manual-dir", moved) == 0
        assert "1 of 1 replicas reproduced to the bit" in capsys.readouterr().out
