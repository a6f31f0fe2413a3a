"""The verbs that work on study folders, as a careless user meets them."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

from experiments import Entry
from experiments.engine import cli
from experiments.engine.sealed import read_json
from experiments.engine.sources import ROOT
from tests.engine import toy

ENTRIES = {"toy": Entry(toy.TOY.summary, lambda: toy.TOY)}
VERBS = ("report", "resume", "reproduce", "merge", "pack")
SEVERAL = ("report", "merge")
STUDY = "study toy --vary rate=0.03,0.1 --seeds 2 --lanes 4 --devices 2"


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """A command line in a folder of its own: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(line):
        code = cli.main(ENTRIES, shlex.split(line), prog="launch.py")
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verbs") / "study"
    assert cli.main(ENTRIES, [*STUDY.split(), "--out", str(folder)], prog="launch.py") == 0
    return folder


@pytest.fixture
def study(finished, tmp_path):
    """`study`, in the folder of the command line."""
    return shutil.copytree(finished, tmp_path / "study")


def refused(answer, *fragments):
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("launch.py: ") and err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err, err


FLAGS = {
    "report": ("--figures FORMAT", "--tables FORMAT"),
    "resume": ("--seeds INT", "--manual-dir DIR", "--checkpoint-every N|TIME", "--time-limit TIME"),
    "reproduce": ("--cells INT,...", "--seeds INT,...", "--tolerance FLOAT", "--out DIR"),
    "merge": ("--out DIR",),
    "pack": ("--out DIR",),
}


@pytest.mark.parametrize("verb", VERBS)
def test_help(call, verb, study):
    takes = {"merge": "DIR DIR ...", "report": "DIR ..."}.get(verb, "DIR")
    for line in (f"{verb} --help", f"{verb} study -h"):
        code, out, err = call(line)
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: launch.py {verb} {takes}")
        assert max(map(len, out.splitlines())) <= 80
        for flag in FLAGS[verb]:
            assert flag in out
    assert f"\n  {verb} " in call("--help")[1]


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_folders_and_flags(call, verb, study):
    some = "folders" if verb in SEVERAL else "one folder"
    refused(call(verb), f"{verb} takes {some}: launch.py {verb} DIR")
    refused(call(f"{verb} --sed 3"), f"{verb} takes {some}")
    refused(call(f"{verb} nowhere"), "nowhere: there is no such folder")
    (study.parent / "file").write_text("x")
    refused(call(f"{verb} file"), "file: there is no such folder")
    refused(call(f"{verb} {study.parent}"), "is not a study folder: it has no study.json")
    refused(call(f"{verb} study --lanes 4"), "unknown option --lanes; ")
    if verb not in SEVERAL:
        refused(call(f"{verb} study study"), f"{verb} takes one folder: launch.py {verb} DIR")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("report study --figures bmp", "--figures bmp: one of pdf, svg, png"),
        ("report study --tables html", "--tables html: one of markdown, latex, csv"),
        ("resume study --checkpoint-every 0", "--checkpoint-every 0: at least 1 epoch"),
        ("resume study --checkpoint-every abc", "--checkpoint-every abc: expected epochs"),
        ("resume study --checkpoint-every 5.5", "--checkpoint-every 5.5: expected epochs"),
        ("resume study --checkpoint-every=-1", "--checkpoint-every -1: expected epochs"),
        ("resume study --keep-checkpoints 0", "--keep-checkpoints 0: at least 1"),
        ("resume study --time-limit 0s", "--time-limit 0s: expected a duration such as 90s"),
        ("resume study --seeds two", "--seeds: expected a whole number, not 'two'"),
        ("resume study --sedes 2", "unknown option --sedes; did you mean --seeds?"),
        ("resume study --seeds 3 --seeds 4", "--seeds is given twice"),
        (
            "reproduce study --cells 0 1",
            "--cells takes one value without spaces: write --cells 0,1",
        ),
        ("reproduce study --cells 2", "--cells 2: the study has 0 to 1"),
        ("reproduce study --seeds 2", "--seeds 2: the study has 0 to 1"),
        ("reproduce study --out study", "a study that was not begun to reproduce study"),
        ("reproduce study --tolerance=-1", "--tolerance -1: 0 or a positive number"),
        ("resume study --seeds=-1", "--seeds -1: at least one seed is needed"),
        ("resume study --seeds 0", "--seeds 0: at least one seed is needed"),
        ("resume study --seeds 2000000", "--seeds 2000000: at most 1000000"),
        ("merge study", "merge joins the folders of two parts or more"),
        ("merge study study", "both hold rate=0.03, seed 0: parts of a study do not overlap"),
        ("pack study --out no/x.tar.gz", "no/x.tar.gz cannot be written: No such file"),
        ("resum study", "unknown command 'resum'; did you mean 'resume'?"),
        ("reproduct study", "did you mean 'reproduce'?"),
        (f"{STUDY} --shard 3/2", "--shard 3/2: expected i/n, such as 2/3"),
        (f"{STUDY} --shard 1/9", "--shard 1/9: 2 cells x 2 seeds have fewer parts"),
    ],
)
def test_mistakes_are_one_line_and_leave_everything_as_it_was(call, study, line, message):
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    refused(call(line), message)
    after = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert before == after and [path.name for path in study.parent.iterdir()] == ["study"]


def test_resume_with_more_and_with_fewer_seeds(call, study):
    code, out, err = call("resume study")
    assert (code, err) == (0, "every replica was trained before: nothing to do\n")
    assert out == f"{call('report study')[1]}\nfolder: study\n"
    code, more, err = call("resume study --seeds 4")
    assert code == 0 and "4 replicas in 1 program" in err and "2 cells x 4 seeds" in more
    assert "lanes" in err and "lanes" not in more
    code, fewer, err = call("resume study --seeds 2")
    assert code == 0 and "nothing to do" in err and "2 cells x 2 seeds" in fewer
    assert call("resume study")[1] == more


def test_shards_are_merged_and_packed(call, finished):
    assert call(f"{STUDY} --shard 1/2 --out a")[0] == call(f"{STUDY} --shard 2/2 --out b")[0] == 0
    code, out, err = call("merge b a --out whole")
    assert (code, err) == (0, "")
    assert out == f"{call('report whole')[1]}\nfolder: whole\n"
    alone = call(f"report {finished}")[1]
    assert out.partition("\npage: ")[0] == alone.partition("\npage: ")[0]
    refused(call("merge a b --out whole"), "whole holds this study already; choose another --out")
    code, out, err = call("pack whole")
    assert (code, err) == (0, "")
    assert out.startswith("We trained the grid of rate (0.03, 0.1)")
    assert pathlib.Path(out.splitlines()[-1].removeprefix("archive: ")).is_file()


def test_a_folder_of_another_experiment(call, study, capsys):
    for verb in VERBS:
        code = cli.main({}, [verb, "study"], prog="launch.py")
        assert code == 2 and "belongs to the experiment 'toy'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_script_of_ones_own_resumes(study):
    """`python my.py resume DIR`, under another number of devices than planned."""
    shutil.copyfile(toy.__file__, study.parent / "my.py")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "my.py", *arguments], cwd=study.parent, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}, timeout=120,
        )  # fmt: skip

    done = run("resume", "study", "--seeds", "3")
    assert done.returncode == 0, done.stderr
    assert "2 cells x 3 seeds" in done.stdout and "2 replicas in 1 program" in done.stderr
    assert "warning: this study was planned for 2 devices, and here are 1" in done.stderr
    session = read_json(study / "record.json")["sessions"][-1]
    assert session["devices"] == 1 and "device.count" not in session["differs"]
    wrong = run("resume", "nowhere")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "my.py: nowhere: there is no such folder\n"


@pytest.mark.slow
def test_a_shard_of_some_seeds_takes_no_more(call, study):
    assert call("study toy --vary rate=0.03,0.1 --seeds 4 --shard 1/4 --out shard")[0] == 0
    refused(call("resume shard --seeds 9"), "--seeds: this is a shard of some seeds")
