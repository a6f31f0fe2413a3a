"""Declared studies: all of them build, through the path of the command line."""

import math

import pytest

from experiments import EXPERIMENTS, data
from experiments.engine import run
from experiments.engine.cli import main
from experiments.engine.run import Outcome
from experiments.engine.session import possible_jobs
from experiments.engine.study import programs, tuning_jobs
from experiments.studies import STUDIES


class Asked(Exception):
    """Carries a study out of the command line, before anything is trained."""


@pytest.fixture
def ask(monkeypatch):
    """The study that a command line would train."""

    def train_study(study, *args, **kwargs) -> Outcome:
        raise Asked(study)

    def call(*arguments):
        with pytest.raises(Asked) as caught:
            main(EXPERIMENTS, ["study", *arguments], prog="launch.py")
        return caught.value.args[0]

    monkeypatch.setattr(run, "train_study", train_study)
    return call


def test_names_are_of_studies_or_of_experiments():
    assert not set(STUDIES) & set(EXPERIMENTS)
    assert not set(STUDIES) & set(data.DATASETS)
    assert set(STUDIES) >= {
        "default", "activations", "regularization", "margin", "initialization", "width",
        "preprocessing", "loss", "linearity",
    }  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_every_declared_study_builds(ask, name):
    declared, study = STUDIES[name], ask(name)
    assert study.experiment.name == declared.experiment and study.name == name
    assert study.question == declared.question and "?" in declared.question
    assert list(study.vary) == list(declared.vary) and list(study.tune) == list(declared.tune)
    assert [arm.name for arm in study.arms] == list(declared.arms)
    assert study.seeds == declared.seeds >= 5  # enough for a verdict
    assert len(study.cells) > 1
    assert len(study.cells) == math.prod(map(len, study.vary.values())) * max(1, len(study.arms))
    assert any(cell.tune for cell in study.cells)  # each at its own best
    dataset = study.experiment.load(study.config, None)
    for job in possible_jobs(study):
        study.experiment.check(job.config, dataset.spec)


def test_the_default_study_is_four_programs_of_what_the_readme_says(ask):
    study = ask("default")
    assert len(study.cells) == 12 and study.seeds == 10
    assert study.config.data.dataset == "mnist1d"
    assert len(programs(possible_jobs(study))) == 4
    assert len(tuning_jobs(study)) == 12 * len(study.tune["learning_rate"]) * study.tune_seeds


def test_options_change_a_declaration(ask):
    study = ask("default", "--dataset", "digits", "--seeds", "6", "--vary", "dropout=0,0.1")
    assert study.config.data.dataset == "digits" and study.seeds == 6
    assert list(study.vary) == ["activation", "dropout"] and study.vary["dropout"] == (0.0, 0.1)
    assert len(study.vary["activation"]) == 4


def test_a_study_from_the_command_line(ask):
    study = ask(
        "mlp", "--vary", "activation=relu,sigmoid,tanh,gelu", "--vary", "dropout=0,0.2,0.5",
        "--seeds", "5", "--dataset", "digits",
    )  # fmt: skip
    jobs = programs(possible_jobs(study))
    assert [len(group) for group in jobs.values()] == [15] * 4
