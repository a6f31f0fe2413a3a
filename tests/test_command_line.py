"""The command line as a new and careless user meets it."""

import dataclasses
import gzip
import json
import pathlib
import runpy
import shlex
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, mlp
from experiments.data.published import MNIST
from experiments.engine import Choices, arguments, options, run_study
from experiments.engine import cli as command_line
from experiments.engine.cli import main
from experiments.engine.config import describe, fitted, leaves, takes
from experiments.engine.errors import UsageError
from experiments.engine.lease import lease
from experiments.engine.sealed import write_json
from experiments.studies import STUDIES
from nets.activations import ACTIVATIONS, Activation, as_activation

ROOT = pathlib.Path(__file__).parents[1]
SMALL = "--dataset digits --width 8 --epochs 1"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[[str], Answer]


@pytest.fixture
def cli(tmp_path: pathlib.Path, monkeypatch, capsys) -> Cli:
    """Runs a command line in a folder of its own, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str) -> Answer:
        code = main(EXPERIMENTS, shlex.split(line), prog="launch.py")
        return Answer(code, *capsys.readouterr())

    return run


def refused(answer: Answer, *fragments: str, code: int = 2) -> None:
    """One message, of one line unless it lists files, and nothing else."""
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.startswith("launch.py: ")
    assert answer.err.count("launch.py: ") == 1
    assert "Traceback" not in answer.err
    for fragment in fragments:
        assert fragment in answer.err


def process(*argv: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own."""
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def squeezed(text: str) -> str:
    """Text without white space and frames, wherever lines were broken."""
    return "".join(text.replace("│", " ").split())


# ---------------------------------------------------------------- help


HELP_WITHOUT_JAX = """
import runpy, sys
sys.argv = [{script!r}, *{arguments!r}]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0, stop.code
slow = {{"jax", "flax", "optax", "tyro", "scipy", "sklearn", "tensorflow_datasets"}}
sys.exit(f"imported {{slow & sys.modules.keys()}}" if slow & sys.modules.keys() else 0)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["study", "--help"], ["list"], ["claim", "--help"]]
)
def test_help_imports_nothing_slow(arguments):
    script = HELP_WITHOUT_JAX.format(script=str(ROOT / "launch.py"), arguments=arguments)
    done = process("-c", script, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "mlp" in done.stdout


def test_the_overview_names_every_command_and_fits(cli):
    answer = cli("--help")
    assert (answer.code, answer.err) == (0, "")
    for verb in ("list", "describe", "run", "study", "report", "claim"):
        assert f"\n  {verb} " in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    assert cli("help") == answer == cli("-h")


@pytest.mark.parametrize("verb", ["describe mlp", "run mlp", "study mlp", "study regularization"])
def test_every_config_field_is_in_the_help_with_its_doc_type_and_default(cli, verb):
    answer = cli(f"{verb} --help")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    text = squeezed(answer.out)
    changed = dict(STUDIES["regularization"].config) if "regularization" in verb else {}
    for name, default in (describe(mlp.Config()) | changed).items():
        leaf = leaves(mlp.Config)[name]
        assert leaf.doc
        kind = "" if leaf.kind is bool else takes(leaf.kind)
        head = squeezed(f"{leaf.flag} {kind} {leaf.doc.rstrip('.')}")
        assert head in text
        if leaf.kind not in (bool, str):
            assert squeezed(f"(default: {default})") in text.partition(head)[2].partition("--")[0]
    assert "leaky_relu:0.01,prelu" in text
    assert "--manual-dirDIRfolderofthepublishers" in text
    for box in ("mlp options", "data options", "optimizer options", "objective options"):
        assert box in answer.out
    assert ("--varyFIELD=A,Bafactoranditslevels" in text) == verb.startswith("study")
    assert ("--seedINTdrives" in text) == verb.startswith("run")


def test_help_of_the_other_verbs(cli):
    assert cli("report --help").out.startswith("usage: launch.py report DIR")
    assert cli("list --help").out.startswith("usage: launch.py list")
    studies = cli("study --help").out
    assert "default" in studies and "Which activation and how much dropout" in studies


def test_list_names_experiments_studies_and_data_sets_in_80_columns(cli):
    answer = cli("list")
    assert (answer.code, answer.err) == (0, "")
    for name in ("mlp", "default", "linearity", "mnist1d", "fashion_mnist", "file"):
        assert f"\n  {name} " in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


@dataclasses.dataclass(frozen=True)
class Inner:
    """Names that the options have, too.

    Attributes:
        rate: of something.
    """

    rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    """A config whose parts are called like boxes of options.

    Attributes:
        training: a part.
        on: switched off by `--on false`.
        sizes: of something.
    """

    training: Inner = Inner()
    on: bool = True
    sizes: tuple[int, ...] = (1,)


def test_any_config_becomes_flags(capsys):
    given = ["--rate", "2", "--on", "false", "--sizes=3,-4", "--seed", "7", "--out", "x"]
    asked, config = arguments.read(options.Run(), Outer(), given, "prog", "my-study")
    assert config == Outer(Inner(2.0), False, (3, -4))
    assert (asked.run.seed, asked.training.out) == (7, "x")
    assert arguments.read(options.Run(), Outer(), ["--on"], "prog", "x")[1] == Outer()
    with pytest.raises(SystemExit):
        arguments.read(options.Run(), Outer(), ["--help"], "prog", "my-study")
    text = squeezed(capsys.readouterr().out)
    assert "--on{true,false}switchedoffby`--onfalse`(default:true)" in text
    assert "--rateFLOATofsomething(default:0.5)" in text
    assert "--outDIR" in text


@dataclasses.dataclass(frozen=True)
class Clash:
    """A config with a field named like an option."""

    seed: int = 0


def test_a_field_named_like_an_option_is_refused():
    with pytest.raises(UsageError, match="names of options: seed; rename"):
        arguments.read(options.Run(), Clash(), [], "prog", "x")


# ---------------------------------------------------------------- bad input


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


# ---------------------------------------------------------------- data


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
    refused(cli("run mlp --dataset file --data-file no.npz"), "there is no such file", code=3)
    (tmp_path / "bad.npz").write_text("x")
    refused(cli("run mlp --dataset file --data-file bad.npz"), "cannot be read", code=3)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)), np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x=x, y=y)
    answer = cli("describe mlp --dataset file --data-file x.npz --batch-size 8 --width 7")
    assert answer.code == 0
    assert "kernel 5x7" in answer.out and "kernel 7x3" in answer.out


# ---------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """A folder of a finished study of two cells and two seeds."""
    folder = tmp_path_factory.mktemp("studies") / "finished"
    line = f"study mlp {SMALL} --vary dropout=0,0.5 --seeds 2 --out {folder}"
    assert main(EXPERIMENTS, line.split(), prog="launch.py") == 0
    return folder


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


# ---------------------------------------------------------------- dry runs and describe


def test_a_dry_run_shows_the_cost_and_writes_nothing(cli, tmp_path):
    answer = cli(
        "study mlp --dataset digits --epochs 1 --vary 'width=();8,4' "
        "--vary dropout=none,0,0.5 --seeds 3 --dry-run"
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("6 cells x 3 seeds:")
    assert "  width=8,4 dropout=0.5\n" in answer.out
    assert "4 programs:" in answer.out
    assert "width=8,4 dropout=traced" in answer.out
    for part in ("replicas", "steps", "lanes", "devices", "memory", "s of training"):
        assert part in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_describe_shows_layers_parameters_and_flops(cli, tmp_path):
    answer = cli("describe mlp --dataset digits --width 20,10 --norm batch")
    assert (answer.code, answer.err) == (0, "")
    rows = {line.split()[0]: line.split() for line in answer.out.splitlines() if line}
    assert rows["layer_1"] == ["layer_1", "Dense", "20", "1,280", "kernel", "64x20"]
    assert rows["norm_2"][:4] == ["norm_2", "BatchNorm", "10", "20"]
    assert rows["output"][:4] == ["output", "Dense", "10", "110"]
    expected = 64 * 20 + 2 * 20 + 20 * 10 + 2 * 10 + 10 * 10 + 10
    assert f"parameters: {expected:,}\n" in answer.out
    assert "other state (batch_stats): 60\n" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_the_linear_classifier_in_every_spelling(cli):
    answers = [
        cli(f"describe mlp --dataset digits {width}")
        for width in ('--width "()"', '--width="()"', "--width '[]'")
    ]
    assert answers[0].code == 0
    assert "parameters: 650\n" in answers[0].out
    assert answers[0] == answers[1] == answers[2]


def test_values_in_every_spelling(cli):
    plain = cli("describe mlp --dataset digits --width 8,8 --activation leaky_relu:0.2")
    spelled = cli(
        "describe mlp --dataset=digits --width='(8, 8)' --activation=leaky_relu:2e-1 "
        "--learning_rate 1E-3 --dropout none --skip false --init normal:1e-2"
    )
    assert plain.code == 0
    assert plain == spelled
    refused(cli("describe mlp --init normal:-1e-2 --learning-rate -1e-3"), "--learning-rate -0.001")


def test_a_flag_alone_is_true(cli, finished):
    answer = cli(f"run mlp {SMALL} --skip --dry-run --out {finished}")
    refused(answer, "skip: false there, true here")


# ---------------------------------------------------------------- processes


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


MINE = '''
"""Do sines beat ReLUs, and how fast should they swing?"""

import dataclasses
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments import mlp
from experiments.engine import Choices, main
from nets.activations import ACTIVATIONS, Activation, Nonlinearity, as_activation


@dataclasses.dataclass(frozen=True)
class Config(mlp.Config):
    """A perceptron of sines.

    Attributes:
        activation: of every hidden layer.
        frequency: factor on what enters an activation.
    """

    activation: Annotated[
        Activation, Choices(ACTIVATIONS | {"sine": jnp.sin}, as_activation)
    ] = ACTIVATIONS["relu"]
    frequency: float = 1.0


class Siren(nn.Module):
    config: Any
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(len(x), -1)
        for width in self.config.width:
            x = nn.Dense(width)(x) * self.config.frequency
            x = Nonlinearity(self.config.activation)(x)
        return nn.Dense(self.classes)(x)


EXPERIMENT = dataclasses.replace(
    mlp.EXPERIMENT,
    name="siren",
    summary="perceptrons of sines",
    config=Config(),
    make_net=lambda config, spec: Siren(config, spec.classes),
)

if __name__ == "__main__":
    main(EXPERIMENT)
'''


@pytest.fixture
def mine(tmp_path, monkeypatch, capsys) -> Cli:
    """Runs a user's own script, in this process, from a folder outside the project."""
    (tmp_path / "my_experiment.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["my_experiment.py", *shlex.split(line)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path("my_experiment.py", run_name="__main__")
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, *capsys.readouterr())

    return run


def test_a_script_of_ones_own_has_every_command(mine):
    assert "siren  perceptrons of sines" in mine("list").out
    assert "usage: my_experiment.py COMMAND [options]" in mine("--help").out
    text = mine("study --help").out
    assert "maxout:2,sine" in squeezed(text)
    assert "factor on what enters an activation" in text
    assert "Dense_0" in mine("describe --dataset digits --width 8 --activation sine").out
    unknown = mine("run --activation sin")
    assert unknown.code == 2
    assert unknown.err == (
        "my_experiment.py: --activation: unknown name 'sin'; did you mean 'sine'?\n"
    )
    assert "unexpected argument 'mlp'" in mine("run mlp").err
    assert mine("report nowhere").code == 2


def test_a_script_of_ones_own_studies_and_its_source_is_kept(mine, cli, tmp_path):
    done = process(
        "my_experiment.py", "study", "--vary", "activation=relu,sine", "--vary", "frequency=1,3",
        "--seeds", "2", *SMALL.split(), "--out", "s", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accuracy, 4 cells x 2 seeds")
    assert "8 replicas in 2 programs, one trace each" in done.stderr
    record = json.loads((tmp_path / "s" / "record.json").read_text())
    assert "outside/my_experiment.py" in record["sources"]
    with tarfile.open(tmp_path / "s" / "sources.tar.gz") as archive:
        kept = archive.extractfile("outside/my_experiment.py")
        assert kept is not None
        assert kept.read().decode() == MINE
    assert mine("report s").out == done.stdout.removesuffix("\nfolder: s\n")
    refused(cli("report s"), "belongs to the experiment 'siren'")
    assert mine("run --activation sine --width 8 --dataset digits --epochs 1 --out r").code == 0


# ---------------------------------------------------------------- from Python


def test_a_study_from_python_takes_functions_and_can_be_reported(cli, tmp_path):
    heard: list[str] = []
    outcome = run_study(
        mlp.EXPERIMENT,
        mlp.Config(data=mlp.Data(dataset="digits"), width=(8,)),
        vary={"activation": [jnp.sin], "epochs": [1]},
        seeds=2,
        out=tmp_path / "s",
        echo=heard.append,
    )
    assert [cell.levels["activation"] for cell in outcome.study.cells] == ["sin"]
    assert outcome.text in heard[-1]
    reported = cli("report s")
    assert reported.code == 0
    assert "sin " in reported.out


def square(x):
    return x * x


def relu(x):
    return x * x


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"activation": ["tanh", lambda x: x]}, "<lambda>.*a name|needs one of its own"),
        ({"activation": ["tanh", relu]}, "relu.*one of its own"),
        ({"activation": [square, square]}, "square is given twice"),
        ({"activation": ["tanh", 3]}, "--activation: expected NAME"),
        ({"dropout": []}, "no values given"),
        ({"dropuot": [0.5]}, "did you mean 'dropout'"),
        ({"epochs": [1.5]}, "--epochs: expected INT, not 1.5"),
        ({"width": [8, 9]}, "--width: expected INT,..., not 8"),
    ],
)
def test_mistakes_from_python(vary, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        run_study(mlp.EXPERIMENT, vary=vary, seeds=1, out=tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


@dataclasses.dataclass(frozen=True)
class Loose:
    """Values as a careless author writes them."""

    activation: Annotated[Activation, Choices(ACTIVATIONS | {"square": square}, as_activation)]
    width: tuple[int, ...]
    rate: float | None


def test_a_config_made_in_python_may_hold_functions_lists_and_whole_numbers():
    loose: Any = Loose
    config = fitted(loose(square, [8, np.int64(4)], 0))
    assert config == Loose(Activation("square", square), (8, 4), 0.0)
    assert isinstance(config.rate, float)
    assert fitted(loose(jnp.tanh, [], "none")) == Loose(ACTIVATIONS["tanh"], (), None)
    assert hash(config) == hash(fitted(loose("square", "8,4", "0")))


def test_without_its_packages_it_says_how_to_get_them():
    bare = subprocess.run(
        [sys.executable, "-S", "launch.py", "list"], cwd=ROOT, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert bare.returncode == 1
    assert bare.stderr.startswith("launch.py: this Python has no ")
    assert "`make .venv/.ready` installs what Ablax needs" in bare.stderr
