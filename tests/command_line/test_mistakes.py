"""Mistakes get one line that says what to do."""

import gzip
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from experiments import EXPERIMENTS
from experiments.data.published import MNIST
from experiments.engine import cli as command_line
from experiments.engine.cli import main
from experiments.engine.sources import ROOT
from tests.command_line.calls import SMALL, refused

REFUSED = {
    "": "no command given: list, describe",
    "studdy mlp": "unknown command 'studdy'; did you mean 'study'?",
    "mlp --epochs 1": "launch.py run mlp",
    "activations": "launch.py study activations",
    "frobnicate": "known: list, describe, run, study, report",
    "list mlp": "list takes no arguments",
    "run": "run needs a name",
    "run --epochs 1": "run needs a name before its options",
    "run mpl": "unknown experiment 'mpl'; did you mean 'mlp'?",
    "run activations": "launch.py study activations",
    "study activatoins": "unknown experiment or study 'activatoins'; did you mean 'activations'?",
    "describe mlp --dropuot 0.2": "unknown option --dropuot; did you mean --dropout?",
    "run mlp --learnig_rate=1": "did you mean --learning-rate?",
    "run mlp --zzz": "unknown option --zzz; `launch.py run mlp --help` lists them",
    "run mlp -x": "unknown option -x",
    "run mlp extra": "unexpected argument 'extra'",
    "run mlp --epochs 3 4": "--epochs takes one value, not 2: 3 4",
    "run mlp --width 100 100": "write --width 100,100",
    "run mlp --width 100, 100": "write --width 100,100",
    "run mlp --dropout": "--dropout: no value given; write --dropout FLOAT|none",
    "run mlp --epochs ten": "--epochs: expected a whole number, not 'ten'",
    "run mlp --epochs 1.5": "--epochs: expected a whole number, not '1.5'",
    "run mlp --learning-rate=fast": "--learning-rate: expected a number, not 'fast'",
    "run mlp --learning-rate nan": "--learning-rate: expected a number, not 'nan'",
    "run mlp --skip maybe": "--skip: expected true or false, not 'maybe'",
    "run mlp --norm btach": "--norm: unknown value 'btach'; did you mean 'batch'?",
    "run mlp --activation reul": "--activation: unknown name 'reul'; did you mean 'relu'?",
    "run mlp --activation leaky_relu:x": "what follows 'leaky_relu' must be numbers",
    "run mlp --activation relu:1": "'relu' takes 0 number(s), not 1",
    "run mlp --width 100,": "a value is missing in '100,'",
    "run mlp --width ''": "--width: a value is missing in ''",
    "run mlp --epochs 2 --epochs 3": "--epochs is given twice",
    "run mlp --batch_size 2 --batch-size=3": "--batch-size is given twice",
    "run mlp --seed -1": "--seed -1: from 0",
    "run mlp --seeds 5": "unknown option --seeds; did you mean --seed?",
    "run mlp --plan fastest": "--plan: unknown value 'fastest'; known: auto, measure",
    "run mlp --lanes 3 --devices 2": "--lanes 3: must be a multiple of --devices 2",
    "run mlp --lanes 0": "--lanes 0: at least 1",
    "run mlp --devices 999": "--devices 999: this machine has",
    "run mlp --evaluate-every 0": "--evaluate-every 0: at least 1 epoch",
    "run mlp --learning-rate -1": "--learning-rate -1.0: must be positive",
    "run mlp --dropout 1": "--dropout 1.0: must be at least 0 and below 1",
    "run mlp --epochs 0": "--epochs 0: at least 1",
    "run mlp --width 0": "--width 0: every layer needs at least one unit",
    "run mlp --batch-size 9999 --dataset digits": "--batch-size 9999 is larger than the training",
    "run mlp --norm batch --batch-size 1 --dataset digits": "--batch-size 1: by batch norm",
    "run convnet --norm batch --batch-size 1 --dataset digits": "--batch-size 1: by batch norm",
    "run mlp --dataset mnits": "unknown data set 'mnits'; did you mean 'mnist'?",
    "run mlp --dataset file": "--dataset file needs --data-file",
    "run mlp --data-file x.npz": "--data-file goes with --dataset file",
    "study mlp": "a study needs something to vary: --vary FIELD=VALUE,VALUE",
    "study mlp --vary": "--vary: no value given; write --vary FIELD=A,B",
    "study mlp --vary activation": "no values given; write --vary activation=a,b,c",
    "study mlp --vary activation=": "no values given; write --vary activation=a,b,c",
    "study mlp --vary activation=relu,": "a value is missing in 'relu,'",
    "study mlp --vary activation=relu,relu": "relu is given twice",
    "study mlp --vary activaton=relu": "unknown field 'activaton'; did you mean 'activation'?",
    "study mlp --vary activation=relu,tahn": "unknown name 'tahn'; did you mean 'tanh'?",
    "study mlp --vary epochs=1,two": "--vary epochs=1,two: expected a whole number, not 'two'",
    "study mlp --vary seeds=1,2": "write --seeds N",
    "study mlp --vary width=100 --vary width=50": "--vary width is given twice; list all",
    "study mlp --vary norm=none,batch skip=true,false":
        "write --vary norm=none,batch --vary skip=true,false",
    "study mlp --vary norm=none, batch": "write --vary norm=none,batch",
    "study mlp --vary l2=0,1 --tune l2=0,1": "l2: either in --vary or in --tune, not in both",
    "study mlp --vary l2=0,1 --l2 3": "--l2: this study sets l2 by --vary l2=...; give only one",
    "study default --learning-rate 1": "sets learning_rate by --tune learning_rate=...",
    "study mlp --vary dropout=0,1": "--dropout 1.0: must be at least 0 and below 1",
    "study mlp --vary learning_rate=0.1,-1": "--learning-rate -1.0: must be positive",
    "study mlp --vary l2=0,1 --seeds 0": "--seeds 0: at least one seed",
    "study mlp --vary l2=0,1 --margin -1": "--margin -1.0: must be a positive",
    "study mlp --vary l2=0,1 --margin inf": "--margin inf: must be a positive",
    "study mlp --vary l2=0,1 --fix nothing": "--fix nothing: streams are init, order",
    "study mlp --vary l2=0,1 --metric acuracy": "--metric acuracy: did you mean 'accuracy'?",
    "study mlp --vary l2=0,1 --tune clip=1,2 --tune-seeds 0": "--tune-seeds 0: at least one seed",
    "study mlp --vary l2=0,1 --tune-seeds 7": "--tune-seeds: nothing is tuned; --tune",
    "study mlp --vary l2=0,1 --tune-per-seed": "--tune-per-seed: nothing is tuned; --tune",
    "study default --tune-seeds 7 --tune-per-seed": "each seed tunes for itself; drop one",
    "study mlp --arm 'a l2=1' --arm 'b l2=2' --l2 3": "--l2: this study sets l2 by every --arm",
    "study mlp --arm ''": "begin with a name",
    "study mlp --arm 'l2=1'": "begin with a name",
    "study mlp --arm 'a l2=1'": "one arm is no comparison",
    "study mlp --arm 'a l2=1' --arm 'a l1=1'": "an arm called a is there already",
    "study mlp --arm 'a l2=1 l2=2' --arm b": "l2 is given twice",
    "run mlp --dry-run --dataset digits --time-limit=-5s": "--time-limit -5s: expected a duration",
    "run mlp --dry-run --dataset digits --epochs 99999999999": "more than can be counted",
    "study mlp --arm 'a l2' --arm b": "'l2' has no value; write field=value",
    "study convnet --arm 'a layers=4k3 max2' --arm b": "'max2' has no value; write field=value, or",
    "study convnet --arm 'a layers=\"4k3' --arm b": "a quotation mark has no second",
    "study mlp --arm 'a l3=1' --arm b": "unknown field 'l3'; known: dataset,",
    "study mlp --arm 'a l2=x|1' --arm b": "--l2: expected a number, not 'x'",
    "report": "report takes folders: launch.py report DIR ...",
    "resume a b": "resume takes one folder",
    "report nowhere": "nowhere: there is no such folder",
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_a_mistake_gets_one_line_and_leaves_nothing_behind(cli, tmp_path, line):
    answer = cli(line)
    refused(answer, REFUSED[line])
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_is_no_mistake_of_the_program(cli):
    answer = cli(
        f"run mlp {SMALL} --out {'x' * 300}",
    )
    assert answer.code != 0 and "File name too long" in answer.err
    assert "Traceback" not in answer.err


def interrupt_in_an_import(*_, **__):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("initialization of the extension failed") from error


def test_an_interrupt_that_an_import_turned_into_an_error(cli, monkeypatch):
    monkeypatch.setattr(command_line, "_dispatch", interrupt_in_an_import)
    answer = cli("list")
    assert answer.code == 130 and "interrupted; what was recorded is kept" in answer.err
    assert answer.err.count("\n") == 2


def test_an_import_that_fails_is_not_taken_for_one(monkeypatch):
    def fail(*_, **__):
        raise ImportError("no module of this name")

    monkeypatch.setattr(command_line, "_dispatch", fail)
    with pytest.raises(ImportError, match="no module of this name"):
        main(EXPERIMENTS, ["list"], prog="launch.py")


def test_closed_outputs_are_no_mistake(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(EXPERIMENTS, ["list"], prog="launch.py") == 0
    for stream in (sys.stdout, sys.stderr):
        stream.close()


@pytest.mark.parametrize("line", ["run mlp --dataset mnist", "claim gelu-mnist"])
def test_a_data_set_that_is_missing_offline(cli, tmp_path, monkeypatch, line):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("ABLAX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    answer = cli(line)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.count("launch.py: ") == 1
    for file in MNIST.files:
        assert f"\n  {MNIST.url}{file.name}\n" in answer.err
    manual = tmp_path / "data" / "manual"
    assert f"Put them into {manual / 'mnist'} and run the command again" in answer.err
    assert f"--manual-dir {manual}" in answer.err
    assert not (tmp_path / "runs").exists()


def test_a_wrong_or_truncated_file_in_the_manual_folder(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLAX_DATA_DIR", str(tmp_path / "data"))
    manual = tmp_path / "manual"
    manual.mkdir()
    for file in MNIST.files:
        (manual / file.name).write_bytes(gzip.compress(b"not these"))
    answer = cli("run mlp --dataset mnist --manual-dir manual")
    assert answer.code == 3
    assert f"{MNIST.files[0].name} is not the published file" in answer.err
    assert "truncated, damaged or another file" in answer.err
    assert not (tmp_path / "runs").exists()


def test_files_of_arrays(cli, tmp_path):
    texts = [f"{name} --dataset text --text-file" for name in ("word2vec", "language_model")]
    for command in ("mlp --dataset file --data-file", *texts):
        answer = cli(f"run {command} no.npz")
        refused(answer, f"there is no such file in {tmp_path}; a study that was begun", code=3)
    (tmp_path / "bad.npz").write_text("x")
    refused(cli("run mlp --dataset file --data-file bad.npz"), "cannot be read", code=3)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)), np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x=x, y=y)
    answer = cli("describe mlp --dataset file --data-file x.npz --batch-size 8 --width 7")
    assert answer.code == 0
    assert "kernel 5x7" in answer.out and "kernel 7x3" in answer.out


def test_a_closed_pipe_and_a_full_disk_end_quietly(tmp_path):
    command = f"{shlex.quote(sys.executable)} {ROOT / 'launch.py'} list"
    piped = subprocess.run(
        ["bash", "-c", f"{command} | true"], capture_output=True, text=True, timeout=60
    )
    assert piped.stderr == ""
    full = subprocess.run(
        ["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, timeout=60
    )
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1
    assert "No space left on device" in full.stderr


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_told():
    run = subprocess.run(
        [sys.executable, "launch.py", "run", "mlp", "--dry-run"], cwd=ROOT, capture_output=True,
        text=True, timeout=60, env=os.environ | {"JAX_PLATFORMS": "nowhere"},
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(
        "launch.py: JAX finds no device of the platforms it was told, nowhere"
    )
    assert run.stderr.count("\n") == 1


def test_without_its_packages_it_says_how_to_get_them():
    bare = subprocess.run(
        [sys.executable, "-S", "launch.py", "list"], cwd=ROOT, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert bare.returncode == 1
    assert bare.stderr.startswith("launch.py: this Python has no ")
    assert "`make .venv/.ready` installs what Ablax needs" in bare.stderr
