"""Help texts, lists, and how a config becomes flags."""

import dataclasses

import pytest

from experiments import mlp
from experiments.engine import arguments, options
from experiments.engine.config import describe, leaves, takes
from experiments.engine.errors import UsageError
from experiments.engine.sources import ROOT
from experiments.studies import STUDIES
from tests.command_line.calls import process, squeezed

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
