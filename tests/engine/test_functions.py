"""Functions that stand in no file belong to a study by their code."""

import dataclasses

import pytest

from experiments import mlp
from experiments.engine.folder import default_folder
from experiments.engine.functions import typed_functions
from experiments.engine.study import make_study, specification

ONE = "def bent(x):\n    return abs(x) if 'a' in {'a', 'b', 'c'} else x\n"


def typed(text, filename="<cell 1>"):
    """A function as a notebook has it."""
    names = {"__name__": "cells"}
    exec(compile(text, filename, "exec"), names)
    return names["bent"]


def folder(activation, experiment=mlp.EXPERIMENT):
    return default_folder(make_study(experiment, vary={"activation": [activation, "relu"]}))


def test_a_function_typed_anew_with_other_code_is_another_study():
    assert folder(typed(ONE)) == folder(typed("# one\n" + ONE, "<cell 2>"))
    assert folder(typed(ONE)) != folder(typed(ONE.replace("abs(x)", "abs(-2 * x)")))
    assert folder(typed(ONE)) != folder(typed(ONE.replace("'c'", "'d'")))


def test_inner_functions_count():
    outer = "def bent(x):\n    return (lambda y: y + 1)(x)\n"
    assert folder(typed(outer)) != folder(typed(outer.replace("1", "2")))


def test_defaults_and_what_a_function_closes_over_count():
    default = "def bent(x, slope=1.0):\n    return slope * x\n"
    assert folder(typed(default)) != folder(typed(default.replace("1.0", "2.0")))
    closed = "def make(slope):\n    def bent(x):\n        return slope * x\n    return bent\n"
    one, other = (typed(f"{closed}bent = make({slope})\n") for slope in (1, 2))
    assert folder(one) != folder(other)


def test_the_functions_of_an_experiment_count_too():
    def experiment(text):
        return dataclasses.replace(mlp.EXPERIMENT, measure=typed(text))

    one, other = (experiment(text) for text in (ONE, ONE.replace("x", "y")))
    assert folder("tanh", one) == folder("tanh", experiment(ONE)) != folder("tanh", other)


NET = """
import flax.linen as nn
import jax.numpy as jnp

slope = 1.0

def helper(x):
    return slope * x

class Net(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x, *, train):
        return helper(nn.Dense(self.width)(x))

def bent(config, spec):
    return Net()
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("slope = 1.0", "slope = 2.0"), ("slope * x", "slope + x"), ("= 4", "= 5"), ("Dense", "Conv")],
)
def test_what_a_function_finds_by_name_counts(old, new):
    """The net's class, its fields, a function it calls and a number that one reads."""

    def experiment(text):
        return dataclasses.replace(mlp.EXPERIMENT, make_net=typed(text))

    assert folder("tanh", experiment(NET)) == folder("tanh", experiment("# one" + NET))
    assert folder("tanh", experiment(NET)) != folder("tanh", experiment(NET.replace(old, new)))


def test_functions_that_call_each_other_and_themselves():
    text = "def other(x):\n    return bent(x)\n\ndef bent(x):\n    return other(x) or bent(x)\n"
    assert folder(typed(text)) != folder(typed(text.replace("or", "and")))


def test_functions_that_name_each_other_many_times_are_met_once():
    """Each names the next two: 2^30 ways lead to the last."""
    lines = [f"def f{n}(x):\n    return f{n + 1}(x) + f{n + 2}(x)\n" for n in range(60)]
    last = "def f60(x):\n    return x\n\ndef f61(x):\n    return 1\n\nbent = f0\n"
    text = "".join(lines) + last
    assert folder(typed(text)) != folder(typed(text.replace("return 1", "return 2")))


def test_functions_of_files_are_known_by_the_archived_sources():
    assert typed_functions([("typed", typed), ("text", "relu"), ("folder", str)]) == {}
    assert "functions" not in specification(make_study(mlp.EXPERIMENT, seeds=1))
