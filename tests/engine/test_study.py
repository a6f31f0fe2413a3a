"""Studies: cells, seeds, tuning seeds and programs, and what is refused."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mlp
from experiments.data.dataset import Spec, make_dataset
from experiments.engine import study as studies
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.jobs import programs, reporting_seeds, tuning_jobs, tuning_seeds
from experiments.engine.plan import Override
from experiments.engine.prepare import possible_jobs, prepare_programs
from experiments.engine.study import FIRST_TUNING_SEED, factors, label, make_study, specification
from tests.engine.toy import TOY

GRID = {"activation": ["relu", "sigmoid", "tanh", "gelu"], "dropout": [0, 0.2, 0.5]}


def test_cells_are_the_product_with_the_last_factor_fastest():
    study = make_study(mlp.EXPERIMENT, vary=GRID, seeds=5)
    assert factors(study) == {
        "activation": ("relu", "sigmoid", "tanh", "gelu"), "dropout": ("0", "0.2", "0.5"),
    }  # fmt: skip
    levels = [tuple(cell.levels.values()) for cell in study.cells]
    assert levels == [(a, d) for a in GRID["activation"] for d in ("0", "0.2", "0.5")]
    assert label(study, 4) == "activation=sigmoid dropout=0.2"
    assert list(reporting_seeds(study)) == [0, 1, 2, 3, 4]
    assert list(reporting_seeds(dataclasses.replace(study, first_seed=7))) == [7, 8, 9, 10, 11]


def test_sixty_replicas_are_four_programs():
    """Floats and seeds share a program; 0 is a traced rate, none is the option switched off."""
    jobs = possible_jobs(make_study(mlp.EXPERIMENT, vary=GRID, seeds=5))
    assert len(jobs) == 60 and len({job.key for job in jobs}) == 60
    assert [len(group) for group in programs(jobs).values()] == [15] * 4
    off = make_study(mlp.EXPERIMENT, vary={"dropout": [None, 0, 0.5]}, seeds=2)
    assert [len(group) for group in programs(possible_jobs(off)).values()] == [2, 4]


def test_values_may_be_spelled_or_given():
    spelled = make_study(
        mlp.EXPERIMENT, vary={"dropout": "none,0,0.5", "width": "();64,64", "activation": "relu"}
    )
    given = make_study(
        mlp.EXPERIMENT,
        vary={"dropout": [None, 0.0, np.float64(0.5)], "width": [(), [64, 64]],
              "activation": ["relu"]},
    )  # fmt: skip
    assert spelled.vary == given.vary
    mixed = make_study(mlp.EXPERIMENT, vary={"activation": ["elu:2", jnp.sin]})
    assert factors(mixed) == {"activation": ("elu:2", "sin")}


def test_arms_set_several_fields_and_may_tune_one():
    study = make_study(
        mlp.EXPERIMENT,
        arms={"plain": {}, "l2": {"l2": [1e-3, 1e-2]}, "both": {"dropout": 0.5, "l1": "1e-4"}},
        vary={"width": [(8,), (16,)]},
        tune={"learning_rate": [0.01, 0.1]},
        seeds=3, tune_seeds=2,
    )  # fmt: skip
    assert factors(study) == {"arm": ("plain", "l2", "both"), "width": ("8", "16")}
    assert [tuple(cell.levels.values()) for cell in study.cells[:3]] == [
        ("plain", "8"), ("plain", "16"), ("l2", "8"),
    ]  # fmt: skip
    assert study.cells[4].values == {"dropout": 0.5, "l1": 1e-4, "width": (8,)}
    assert study.cells[2].grid == [
        {"learning_rate": r, "l2": s} for r in (0.01, 0.1) for s in (1e-3, 1e-2)
    ]
    assert len(tuning_jobs(study)) == 2 * (2 + 4 + 2) * 2
    assert {job.config.objective.l2 for job in tuning_jobs(study) if job.cell in (0, 1)} == {None}


def test_tuning_seeds_are_disjoint_from_reporting_seeds():
    study = make_study(mlp.EXPERIMENT, tune={"learning_rate": [0.1, 1]}, seeds=1000, tune_seeds=50)
    assert not set(tuning_seeds(study)) & set(reporting_seeds(study))
    assert {job.seed for job in tuning_jobs(study)} == set(tuning_seeds(study))
    late = {"first_seed": FIRST_TUNING_SEED - 10, "tune": {"learning_rate": [0.1, 1]}}
    with pytest.raises(UsageError, match="--seed"):
        make_study(mlp.EXPERIMENT, seeds=20, **late)  # would reach into the tuning seeds
    inside = dataclasses.replace(study, tune_per_seed=True)
    assert tuning_seeds(inside) == reporting_seeds(inside)


def test_every_cell_gets_the_same_grid_and_seeds():
    study = make_study(
        mlp.EXPERIMENT, vary=GRID, tune={"learning_rate": [0.1, 1], "momentum": [0.5, 0.9]}
    )
    budgets = [
        sorted((job.tuned, job.seed) for job in tuning_jobs(study) if job.cell == cell)
        for cell in range(len(study.cells))
    ]
    assert all(budget == budgets[0] for budget in budgets) and len(budgets[0]) == 2 * 2 * 3


def test_a_specification_tells_studies_apart_but_not_by_their_seeds():
    study = make_study(mlp.EXPERIMENT, vary={"dropout": [0, 0.5]}, tune={"clip": [1, 2]}, seeds=3)
    text = json.dumps(specification(study))
    same = [dataclasses.replace(study, seeds=5), dataclasses.replace(study, name="x", margin=1.0)]
    assert all(json.dumps(specification(each)) == text for each in same)
    others = [
        make_study(mlp.EXPERIMENT, vary={"dropout": [0.5, 0]}, tune={"clip": [1, 2]}, seeds=3),
        make_study(mlp.EXPERIMENT, vary={"dropout": [0, 0.5]}, tune={"clip": [1, 3]}, seeds=3),
        dataclasses.replace(study, config=replace(study.config, {"epochs": 3})),
        dataclasses.replace(study, config=replace(study.config, {"learning_rate": 0.3})),
        *(
            dataclasses.replace(study, **{name: value})
            for name, value in {
                "first_seed": 1, "tune_seeds": 2, "tune_per_seed": True, "fix": ("init",),
                "metric": "loss", "evaluate_every": 2, "diagnose": True,
            }.items()
        ),
    ]  # fmt: skip
    assert len({text, *(json.dumps(specification(each)) for each in others)}) == len(others) + 1
    irrelevant = replace(study.config, {"dropout": 0.3, "clip": 9.0})  # varied, tuned
    assert json.dumps(specification(dataclasses.replace(study, config=irrelevant))) == text


def named(name):
    """A function of one array by a given name."""

    def function(x):
        return 2 * x

    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": {"activatoin": ["relu"]}}, "unknown field 'activatoin'; did you mean 'activatio"),
        ({"vary": {"dropout": []}}, "dropout: no values given; write dropout=a,b,c"),
        ({"vary": {"dropout": [0.5, "0.50"]}}, "dropout: 0.5 is given twice"),
        ({"vary": {"epochs": [1, 2.5]}}, "--epochs: expected INT, not 2.5"),
        ({"vary": {"epochs": ["x"]}}, "--epochs: expected a whole number, not 'x'"),
        (
            {"vary": {"activation": [jnp.cos, named("cos")]}},
            "activation: cos is given twice; every level needs its own name",
        ),
        ({"vary": {"activation": [lambda x: x]}}, "'<lambda>': results are kept by a function's"),
        (
            {"vary": {"dropout": [0.5]}, "tune": {"dropout": [0.5]}},
            "dropout: either in --vary or in --tune, not in both",
        ),
        (
            {"arms": {"a": {}, "b": {"l2": 1.0}}, "vary": {"l2": [1.0]}},
            "l2: either in --vary or in --arm, not in both",
        ),
        ({"arms": {"a": {"l2": []}}}, "l2: no values given"),
        (
            {"width": (8,)},
            "width is a field of the config: vary it, or give config=",
        ),
        ({"sedes": 3}, "unknown option 'sedes'; did you mean 'seeds'?"),
        ({"seeds": 0}, "--seeds 0: at least one seed is needed"),
        ({"first_seed": -1}, "--seed -1: from 0 to 999999"),
        ({"tune": {"l2": [1.0]}, "tune_seeds": 0}, "--tune-seeds 0: at least one seed"),
        ({"evaluate_every": 0}, "--evaluate-every 0: at least 1 epoch"),
        ({"margin": 0.0}, "--margin 0.0: must be a positive number"),
        ({"name": "../x"}, "name '../x': it is part of a folder's name"),
        ({"arms": {"": {}, "b": {"l2": 1.0}}}, "arm '': its name must be some text"),
        ({"name": "a\0b"}, "name 'a\\x00b': it is part of a folder's name"),
        ({"fix": ("splt",)}, "--fix splt: streams are init, order, noise, split, labels"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(UsageError) as caught:
        make_study(mlp.EXPERIMENT, **options)
    assert str(caught.value).startswith(message)


def test_an_option_is_meant_where_the_config_has_a_field_of_its_name():
    @dataclasses.dataclass(frozen=True)
    class Config:
        """A config.

        Attributes:
            epochs: passes over the training data.
            margin: of something else.
        """

        epochs: int = 1
        margin: float = 0.1

    study = make_study(dataclasses.replace(mlp.EXPERIMENT, config=Config()), margin=0.02)
    assert (study.margin, study.config.margin) == (0.02, 0.1)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "si/ren"}, ValueError),
        ({"name": ""}, ValueError),
        ({"config": mlp.Config}, TypeError),
    ],
)
def test_an_experiment_that_cannot_be(change, error):
    with pytest.raises(error, match=r"name|config"):
        dataclasses.replace(mlp.EXPERIMENT, **change)


@pytest.mark.parametrize("value", [2.0, "2", None])
def test_a_count_that_is_no_whole_number_is_refused(value):
    with pytest.raises(UsageError, match=f"seeds {value!r}: must be a whole number"):
        studies._whole("seeds", value)
    assert type(studies._whole("seeds", np.int64(2))) is int


@pytest.mark.parametrize("value", [3, None])
def test_a_text_that_is_none_is_refused(value):
    with pytest.raises(UsageError, match=f"metric {value}: must be some text"):
        studies._text("metric", value)
    assert studies._text("metric", "error") == "error"


def test_an_experiment_has_epochs_and_something_to_test_with():
    @dataclasses.dataclass(frozen=True)
    class Bare:
        rate: float = 0.1

    with pytest.raises(TypeError, match="config: it needs a field `epochs`"):
        dataclasses.replace(TOY, config=Bare())
    splits = {"train": {"x": np.ones((3, 2))}}
    with pytest.raises(UsageError, match="the data set mine has no split test"):
        make_dataset("mine", splits, Spec((2,), 1))
    study = make_study(TOY, replace(TOY.config, {"epochs": -1}), seeds=1)
    with pytest.raises(UsageError, match="--epochs -1: at least 1"):
        prepare_programs(study, None, Override(), [], print)
