"""The experiment `sequence_classifier`: what is read step by step, and that it trains."""

import csv
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, classification, sequence_classifier
from experiments.data.dataset import Spec
from experiments.engine.cli import main
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from nets.activations import ACTIVATIONS
from nets.initializers import INITIALIZERS
from tests.experiments.conftest import step_of

CONFIG = sequence_classifier.Config()
SHAPES = {
    ((40,), "row"): (40, 1),
    ((28, 28), "row"): (28, 28),
    ((28, 28), "pixel"): (784, 1),
    ((32, 32, 3), "row"): (32, 96),
    ((32, 32, 3), "pixel"): (1024, 3),
}


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_elements_of_a_sequence(case):
    shape, element = case
    config = replace(CONFIG, {"element": element, "reading": "all"})
    net = sequence_classifier.make_net(config, Spec(shape, 10))
    x = jnp.zeros((1, *shape))
    shapes = jax.eval_shape(lambda key: net.init(key, x, train=False), jax.random.key(0))["params"]
    length, features = SHAPES[case]
    assert shapes["stack"]["layer_1"]["inputs"]["kernel"].shape == (features, 4 * 32)
    assert shapes["output"]["kernel"].shape == (length * 32, 10)


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("reading", ["last", "mean", "all"])
def test_dropout_reaches_whatever_is_read(reading, bidirectional):
    """At a rate of nearly 1 nothing is read but zeros; without, the ends are the last carries'."""
    changes = {"reading": reading, "bidirectional": bidirectional, "dropout": 0.999999}
    net = sequence_classifier.make_net(replace(CONFIG, changes), Spec((6,), 3))
    x, key = jax.random.normal(jax.random.key(1), (2, 6)), jax.random.key(2)
    variables = net.init(jax.random.key(0), x, train=False)
    read = functools.partial(net.apply, variables, x, method=net.features_and_scores)
    dropped, _ = read(train=True, rngs={"dropout": key})
    kept, _ = read(train=False)
    assert not np.asarray(dropped).any() and np.asarray(kept).all()
    if reading == "last":
        stack = {"params": variables["params"]["stack"]}
        carries = net.stack.apply(stack, x[..., None], train=False)[1]
        expected = np.concatenate([carry[0] for carry in carries], axis=-1)
        np.testing.assert_array_equal(kept, expected)


@pytest.mark.slow
def test_rows_of_an_image_follow_each_other():
    """The last state of a net that adds up what it reads is the sum over rows."""
    adding = {"activation": ACTIVATIONS["identity"], "recurrent_init": INITIALIZERS["identity"]}
    config = replace(CONFIG, {"cell": "rnn"} | adding)
    net = sequence_classifier.make_net(config, Spec((5, 7), 3))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 7)), jnp.float32)
    variables = net.init(jax.random.key(0), x, train=False)
    seen: Any = net.apply(variables, x, method=net.penultimate)
    kernel = np.asarray(variables["params"]["stack"]["layer_1"]["inputs"]["kernel"])
    np.testing.assert_allclose(seen, np.asarray(x).sum(1) @ kernel, rtol=1e-4, atol=1e-5)


def test_the_published_gru_but_for_its_second_biases():
    """5,134 parameters with PyTorch's two biases a gate; the two are one here, but for the new
    content's."""
    config = replace(
        CONFIG, {"cell": "gru", "width": (6,), "bidirectional": True, "reading": "all"}
    )
    net, x = sequence_classifier.make_net(config, Spec((40,), 10)), jnp.zeros((1, 40))
    shapes = jax.eval_shape(lambda key: net.init(key, x, train=False), jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == 5_134 - 2 * 2 * 6


def test_options_change_the_program(image_pieces):
    make = functools.partial(image_pieces, sequence_classifier.EXPERIMENT, width=(4,))
    plain = step_of(make())
    assert step_of(make(element="pixel")) != plain
    assert step_of(make(reading="mean")) != plain
    assert step_of(make(reading="all")) != plain


def test_max_norm_is_refused():
    config = replace(CONFIG, {"max_norm": 1.0})
    with pytest.raises(UsageError, match="--max-norm: not with recurrent layers"):
        sequence_classifier.check(config, classification.load(config, None).spec)


@pytest.mark.slow
def test_it_learns_through_run(images_file, tmp_path):
    arguments = [
        "run", "sequence_classifier", "--dataset", "file", "--data-file", images_file, "--width",
        "16", "--batch-size", "18", "--epochs", "40", "--learning-rate", "0.02", "--cell", "rnn",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, arguments, prog="launch.py") == 0
    with (tmp_path / "run" / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["test_accuracy"]) > 0.9
