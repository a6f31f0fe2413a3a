"""Functions that stand in no file belong to a study by their code."""

import argparse
import dataclasses
import functools
import logging
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, mlp
from experiments.engine.folder import default_folder
from experiments.engine.functions import typed_functions
from experiments.engine.study import make_study, specification
from nets.activations import ACTIVATIONS

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


def made(slope, other=0.0, *, more=None):
    """A function of a file that closes over something, has such defaults, or more of the kind."""

    def bent(x, at=other):
        return slope * x + at + (more or 0)

    return bent


class Slope:
    """Whose methods and instances are functions with a state."""

    def __init__(self, slope):
        self.slope = slope

    def bent(self, x):
        return self.slope * x

    def __call__(self, x):
        return self.bent(x)


@dataclasses.dataclass(frozen=True)
class Frozen:
    slope: object

    def __call__(self, x):
        return self.slope * x


class Plain:
    def __init__(self, slope):
        self.slope = slope


def in_itself(slope):
    found: list = [slope]
    found.append(found)
    return found


def wrapping(slope):
    @functools.wraps(typed_functions)
    def bent(x):
        return slope * x

    return bent


FORMS = {
    "closure": made,
    "default": lambda slope: made(1.0, slope),
    "keyword": lambda slope: made(1.0, more=slope),
    "compiled": lambda slope: jax.jit(made(slope)),
    "derivative": lambda slope: jax.custom_jvp(made(slope)),
    "wraps": wrapping,
    "method": lambda slope: Slope(slope).bent,
    "partial": lambda slope: functools.partial(made(1.0), at=slope),
    "partial of a module's": lambda slope: functools.partial(typed_functions, slope),
    "instance": Slope,
    "dataclass": Frozen,
    "closure of closures": lambda slope: made(made(slope)),
    "array": lambda slope: made(np.array([slope, 1.0])),
    "array of jax": lambda slope: made(jnp.array(slope)),
    "dict": lambda slope: made({"slope": [slope]}),
    "set": lambda slope: made(frozenset({slope, 7.0})),
    "namespace": lambda slope: made(types.SimpleNamespace(slope=slope)),
    "arguments of a command": lambda slope: made(argparse.Namespace(slope=slope)),
    "object": lambda slope: made(Plain(slope)),
    "method of an object": lambda slope: made(Slope(slope).bent),
    "list in itself": lambda slope: made(in_itself(slope)),
    "bytes": lambda slope: made(b"a" if slope > 1 else b"b"),
    "dtype": lambda slope: made(np.zeros(2, np.float32 if slope > 1 else np.int32)),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_function_of_a_file_holds_counts(form):
    one, same, other = (typed_functions([("bent", FORMS[form](n))]) for n in (1.5, 1.5, 0.5))
    assert one == same != other and len(one["bent"]) == 16


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("slope = jnp.array(1.0)", "slope = jnp.array(2.0)"),
        ("y * 1", "y * 2"),
        ("'k': 1", "'k': 2"),
    ],
)
def test_methods_arrays_and_dicts_of_a_notebook_count(old, new):
    text = (
        "import jax.numpy as jnp\nslope = jnp.array(1.0)\ntable = {'k': 1}\n"
        "class Acts:\n    def wave(self, y):\n        return y * 1\n"
        "acts = Acts().wave\ndef bent(x):\n    return slope * acts(x) * table['k']\n"
    )
    assert old in text
    assert folder(typed(text)) == folder(typed(text)) != folder(typed(text.replace(old, new)))


class Same(Plain):
    """All of one hash, so that a set has them in the order in which they came."""

    def __hash__(self):
        return 1


def test_sets_have_no_order():
    forward, back = (frozenset(map(Same, each)) for each in ((1, 2), (2, 1)))
    assert [each.slope for each in forward] != [each.slope for each in back]
    one, other = made(forward), made(back)
    assert typed_functions([("bent", one)]) == typed_functions([("bent", other)]) != {}
    assert typed_functions([("bent", functools.partial(typed, {typed, folder}))]) == {}


def test_what_wraps_itself_or_answers_to_every_name_ends():
    class Proxy:
        def __getattr__(self, name):
            if name.startswith("__") and name != "__wrapped__":
                raise AttributeError(name)
            return Proxy()

    assert typed_functions([("bent", functools.partial(typed, Proxy()))]) == {}


def test_closures_of_one_name_are_two_studies():
    first, second = (folder(made(slope)) for slope in (0.0, 0.9))
    assert first != second == folder(made(0.9))


def test_a_closure_over_itself_ends():
    def recursive(depth):
        return recursive(depth - 1) if depth else 0

    assert typed_functions([("recursive", recursive)]) == {}


def test_a_closure_over_what_is_not_there_yet():
    def early():
        return late

    assert typed_functions([("early", early)]) == {}
    late = 1.0
    assert typed_functions([("early", early)]) != {}


def test_keys_of_random_numbers_and_modules_are_passed_over():
    assert typed_functions([("bent", functools.partial(typed, jax.random.key(0)))]) == {}
    for nothing in (dataclasses, logging.getLogger(), threading.Lock(), object(), np.tanh):
        assert typed_functions([("bent", functools.partial(typed, nothing))]) == {}


def test_functions_of_files_are_known_by_the_archived_sources():
    assert typed_functions([("typed", typed), ("text", "relu"), ("folder", str)]) == {}
    for entry in EXPERIMENTS.values():
        assert "functions" not in specification(make_study(entry.load(), seeds=1))
    assert typed_functions([(name, each.function) for name, each in ACTIVATIONS.items()]) == {}
