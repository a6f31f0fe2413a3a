"""A script of one's own, and studies from Python."""

import dataclasses
import json
import runpy
import shlex
import sys
import tarfile
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mlp
from experiments.engine import Choices, run_study
from experiments.engine.config import fitted
from experiments.engine.errors import UsageError
from nets.activations import ACTIVATIONS, Activation, as_activation
from tests.command_line.calls import SMALL, Answer, Cli, process, refused, squeezed

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
    overview = mine("--help").out
    assert "usage: my_experiment.py COMMAND [options]" in overview
    assert "  reproduce " in overview and "  claim " not in overview  # claims are the project's own
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


@pytest.mark.slow
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


@pytest.mark.slow
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
