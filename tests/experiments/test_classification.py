"""What classifiers share: exact evaluation, batches, loss and penalties, measures of a net."""

import base64
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS, classification, mlp
from experiments.data import preprocess
from experiments.data.dataset import Spec
from experiments.engine import load_trained
from experiments.engine.cli import main
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.keys import key_of, permutation
from experiments.engine.log import finished, read_lines
from experiments.engine.run import train_study
from experiments.engine.study import make_study
from experiments.objectives import Objective, example_loss
from nets import losses
from tests.experiments.conftest import ROWS, first_state, reference_losses, reference_scores


@functools.partial(jax.jit, static_argnums=(0, 4))
def evaluate(trainer, state, replica, data, split):
    return trainer.evaluate(trainer.current(state, replica), replica, data, split)


@functools.partial(jax.jit, static_argnums=0)
def measure(trainer, state, replica, data):
    return trainer.measure(trainer.current(state, replica), replica, data)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_is_exact_over_a_whole_split_of_odd_size(pieces, split):
    """1,270, 141 and 1,237 rows, the larger ones in two chunks, with a padded row or without."""
    made = pieces(preprocess="standardise", label_noise=0.3)
    state = first_state(made)
    measured, correct = evaluate(made.trainer, state, made.replica, made.data, split)
    scores, labels = reference_scores(made, state.params, split)
    expected = scores.argmax(1) == labels
    assert len(expected) == {"train": 1270, "validation": 141, "test": ROWS["test"]}[split]
    np.testing.assert_array_equal(correct, expected)
    assert float(measured["accuracy"]) == np.float32(expected.mean())
    assert float(measured["loss"]) == pytest.approx(
        reference_losses(scores, labels).mean(), rel=1e-6
    )


def test_training_labels_are_the_noisy_ones_and_test_labels_are_not(pieces):
    made = pieces(label_noise=0.3)
    rows = np.asarray(made.data.own["train_rows"])
    wrong = np.asarray(made.data.own["labels"]) != made.dataset.splits["train"]["y"][rows]
    assert 0.2 < wrong.mean() < 0.4


@pytest.mark.parametrize("chunk", [1, 100, 619, 1236, 1237])
def test_the_size_of_chunks_changes_no_score(pieces, monkeypatch, chunk):
    monkeypatch.setattr(classification, "EVALUATION_ROWS", chunk)
    made = pieces(preprocess="standardise")
    state = first_state(made)
    config, net, _ = made.trainer.model(made.replica)
    scored = jax.jit(
        lambda state: classification.evaluate(config, net, state.params, {}, made.data, "test")
    )
    measured, correct = scored(state)
    scores, labels = reference_scores(made, state.params, "test")
    np.testing.assert_array_equal(correct, scores.argmax(1) == labels)
    expected = reference_losses(scores, labels).mean()
    assert float(measured["loss"]) == pytest.approx(expected, rel=1e-6)


def test_an_epoch_uses_each_training_row_once_but_for_the_remainder(pieces):
    made = pieces(batch_size=64)
    draw = jax.jit(made.trainer.epoch_inputs)
    epochs = [np.asarray(draw(made.replica, made.data, epoch)) for epoch in range(40)]
    steps, rest = divmod(1270, 64)
    assert rest == 54
    for epoch in epochs:
        assert epoch.shape == (steps, 64) and epoch.dtype == np.int32
        assert len(np.unique(epoch)) == epoch.size
        assert epoch.min() >= 0 and epoch.max() < 1270
    assert set(np.concatenate(epochs[:10], axis=None)) == set(range(1270))  # not the same rest
    left_out = 40 * 1270 - sum(epoch.size for epoch in epochs)
    counts = np.bincount(np.concatenate(epochs, axis=None), minlength=1270)
    assert (40 - counts).sum() == left_out and counts.min() >= 30


def test_the_order_is_a_permutation_by_the_key_of_seed_and_epoch(pieces):
    """Which study folders rely on: their runs are trained again to the bit."""
    made = pieces(seed=2, batch_size=64)
    key = jax.random.fold_in(key_of(jnp.int32(2), "order"), 5)
    expected = permutation(key, 1270)[: 19 * 64].reshape(19, 64)
    drawn = jax.jit(made.trainer.epoch_inputs)(made.replica, made.data, 5)
    np.testing.assert_array_equal(drawn, expected)


def test_the_order_of_the_file_is_the_same_in_every_epoch(pieces):
    made = pieces(batch_size=64, order="file", validation=0.0)
    draw = jax.jit(made.trainer.epoch_inputs)
    for epoch in range(2):
        rows = made.data.own["train_rows"][draw(made.replica, made.data, epoch)]
        np.testing.assert_array_equal(rows, np.arange(22 * 64).reshape(22, 64))


def test_without_validation_rows_nothing_is_measured_on_them(pieces):
    made = pieces(validation=0.0)
    state = first_state(made)
    assert evaluate(made.trainer, state, made.replica, made.data, "validation") == ({}, None)
    _, correct = evaluate(made.trainer, state, made.replica, made.data, "train")
    assert correct.shape == (ROWS["train"],)


def test_a_batch_holds_the_rows_of_its_positions(pieces):
    made = pieces(preprocess="standardise", label_noise=0.2)
    x = jnp.array([3, 0, 1269, 77])
    batch = classification.make_batch(made.config, made.data, x, jax.random.key(0))
    rows = np.asarray(made.data.own["train_rows"])[np.asarray(x)]
    train = made.dataset.splits["train"]["x"]
    seen = train[np.asarray(made.data.own["train_rows"])].astype(np.float64)
    np.testing.assert_allclose(
        batch["x"], (train[rows] - seen.mean(0)) / seen.std(0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(batch["y"], np.asarray(made.data.own["labels"])[np.asarray(x)])


LOSSES = {
    "cross_entropy": lambda s, y: losses.softmax_cross_entropy(s, y, 0.1),
    "hinge": lambda s, y: losses.multiclass_hinge(s, y, 2.0),
    "crammer_singer": lambda s, y: losses.crammer_singer_hinge(s, y, 2.0),
    "squared_hinge": lambda s, y: losses.one_vs_rest_squared_hinge(s, y, 2.0),
    "sigmoid": losses.sigmoid_cross_entropy,
    "squared_error": losses.one_hot_squared_error,
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_the_named_one(name):
    random = np.random.default_rng(0)
    scores = jnp.asarray(random.normal(size=(9, 4)), jnp.float32)
    labels = jnp.asarray(random.integers(0, 4, 9))
    chosen = example_loss(Objective(name, hinge_margin=2.0, label_smoothing=0.1))
    np.testing.assert_array_equal(chosen(scores, labels), LOSSES[name](scores, labels))


def test_penalties_enter_the_loss_and_no_metric(pieces):
    """Traced strengths, over kernels and not over biases."""
    made = pieces(l1=0.0, l2=0.0, width=(7, 3), bias_init="fan_in_uniform")
    params = first_state(made).params
    batch = {"x": made.data.splits["test"]["x"][:50], "y": made.data.splits["test"]["y"][:50]}

    @jax.jit
    @jax.vmap
    def lost(l1, l2):
        config = replace(made.config, {"l1": l1, "l2": l2})
        net = mlp.make_net(config, made.dataset.spec)
        loss, (_, metrics) = classification.loss_fn(
            config, net, params, {}, batch, jax.random.key(0)
        )
        return loss, metrics

    strengths = np.array([[0, 0], [0.5, 0], [0, 0.25], [0.5, 0.25]], np.float32)
    loss, metrics = lost(*jnp.asarray(strengths.T))
    kernels = [np.asarray(layer["kernel"], np.float64) for layer in params.values()]
    sizes = [sum(np.abs(k).sum() for k in kernels), sum((k**2).sum() for k in kernels)]
    assert np.ptp(metrics["loss"]) == np.ptp(metrics["accuracy"]) == 0
    assert float(loss[0]) == float(metrics["loss"][0])
    np.testing.assert_allclose(loss - loss[0], strengths @ sizes, rtol=1e-5)


def test_a_deep_linear_net_is_one_matrix(pieces):
    """No curvature, and the product of its matrices gives the same scores; ReLU bends."""
    made = pieces(width=(9, 8, 7), activation=mlp.ACTIVATIONS["identity"])
    state = first_state(made)
    measured = measure(made.trainer, state, made.replica, made.data)
    assert float(measured["curvature"]) < 1e-6
    layers = [state.params[name] for name in ("layer_1", "layer_2", "layer_3", "output")]
    matrix, bias = np.eye(5), np.zeros(5)
    for layer in layers:
        kernel = np.asarray(layer["kernel"], np.float64)
        matrix, bias = matrix @ kernel, bias @ kernel + np.asarray(layer["bias"])
    x = np.random.default_rng(0).normal(size=(20, 5))
    net = mlp.make_net(made.config, made.dataset.spec)
    scores = net.apply({"params": state.params}, jnp.asarray(x, jnp.float32), train=False)
    expected = x @ matrix + bias
    np.testing.assert_allclose(np.asarray(scores), expected, rtol=1e-4, atol=1e-5)
    bent = pieces(width=(9, 8, 7))
    bends = measure(bent.trainer, first_state(bent), bent.replica, bent.data)
    assert float(bends["curvature"]) > 0.01


def test_measures_against_numpy(pieces):
    made = pieces(preprocess="none")
    state = first_state(made)
    found = measure(made.trainer, state, made.replica, made.data)
    measured = {name: float(value) for name, value in found.items()}
    leaves = [leaf for layer in state.params.values() for leaf in layer.values()]
    assert measured["parameters"] == sum(leaf.size for leaf in leaves)
    weights = np.concatenate([np.ravel(layer["kernel"]) for layer in state.params.values()])
    weights, n = np.abs(weights.astype(np.float64)), weights.size
    hoyer = (n**0.5 - weights.sum() / np.sqrt((weights**2).sum())) / (n**0.5 - 1)
    assert measured["weight_hoyer"] == pytest.approx(hoyer, rel=1e-4)
    effective = (weights**2).sum() ** 2 / (weights**4).sum()
    assert measured["weight_effective_number"] == pytest.approx(effective, rel=1e-4)
    layers = [
        [np.asarray(layer[name], np.float64) for name in ("kernel", "bias")]
        for layer in (state.params["layer_1"], state.params["output"])
    ]

    def f(x):
        (w, b), (v, c) = layers
        return np.maximum(x @ w + b, 0) @ v + c

    x = made.dataset.splits["test"]["x"].astype(np.float64)
    a, b = x[:100], x[100:200]
    bend = np.linalg.norm(f((a + b) / 2) - (f(a) + f(b)) / 2) / np.linalg.norm(f(a) - f(b))
    assert measured["curvature"] == pytest.approx(bend, rel=1e-4)

    test = made.dataset.splits["test"]
    one = made.data._replace(splits={"test": {name: test[name][:1] for name in test}})
    alone = measure(made.trainer, state, made.replica, one)
    assert {*found} - {*alone} == {"curvature"}  # of a pair


def test_chance_is_one_in_as_many_as_there_are_classes():
    accuracy, loss = classification.metrics(mlp.Config(), Spec((5,), 4))
    assert (accuracy.name, accuracy.chance, accuracy.higher_is_better) == ("accuracy", 0.25, True)
    assert (loss.name, loss.chance, loss.higher_is_better) == ("loss", None, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l1": -1.0}, "--l1 -1.0: must not be negative"),
        ({"l2": float("nan")}, "--l2 nan: must not be negative"),
        ({"max_norm": 0.0}, "--max-norm 0: must be positive; none switches it off"),
        ({"hinge_margin": 0.0}, "--hinge-margin 0.0: must be positive"),
        ({"label_smoothing": 1.0}, "--label-smoothing 1.0: must be at least 0 and below 1"),
        ({"learning_rate": -0.1}, "--learning-rate -0.1: must be positive"),
        ({"batch_size": 1271}, "--batch-size 1271 is larger than the training set (1270 examples)"),
        ({"train_size": 50}, "--batch-size 100 is larger than the training set (50 examples)"),
        ({"train_size": 1271}, "--train-size 1271: must be 1 to 1,270"),
        ({"label_noise": 1.0}, "--label-noise 1: must be at least 0 and below 1"),
        ({"validation": -0.1}, "--validation -0.1: must be at least 0 and below 1"),
        ({"dropout": 1.0}, "--dropout 1.0: must be at least 0 and below 1"),
        ({"input_dropout": -0.1}, "--input-dropout -0.1: must be at least 0 and below 1"),
        ({"input_noise": -1.0}, "--input-noise -1.0: must not be negative"),
        ({"init_scale": float("inf")}, "--init-scale inf: must not be negative"),
        ({"width": (3, 0)}, "--width 3,0: every layer needs at least one unit"),
    ],
)
def test_values_that_cannot_train_are_refused(pieces, changes, message):
    made = pieces()
    config = replace(made.config, changes)
    with pytest.raises(UsageError) as caught:
        mlp.check(config, made.dataset.spec)
    assert str(caught.value).startswith(message)


def test_the_same_data_are_loaded_and_prepared_once(pieces):
    one, two, other = pieces(), pieces(learning_rate=0.5, dropout=0.1), pieces(seed=1)
    assert one.dataset is two.dataset is other.dataset
    assert dataclasses.asdict(one.config.data) == dataclasses.asdict(two.config.data)
    np.testing.assert_array_equal(one.data.own["train_rows"], two.data.own["train_rows"])
    assert not np.array_equal(one.data.own["train_rows"], other.data.own["train_rows"])


def test_a_file_of_arrays_that_is_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "x.npz"
    config = replace(mlp.Config(), {"dataset": "file", "data_file": str(path)})
    for classes in (2, 5):
        np.savez(path, x=np.zeros((100, 3), "f"), y=np.arange(100) % classes)
        found = classification.load(config, None)
        assert found.spec.classes == classes
        assert classification.load(config, None) is found


class Outputs(nn.Module):
    """A linear classifier that gives its scores in some way."""

    features: int
    give: Callable[[jax.Array], Any]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Any:
        return self.give(nn.Dense(self.features)(x.reshape(len(x), -1)))


@pytest.mark.parametrize(
    ("features", "give", "told"),
    [
        (3, lambda scores: scores, r"gives \[1, 3\] for a batch of one example, not \[1, 10\]"),
        (10, lambda scores: scores[:, 0], r"gives \[1\] for a batch of one example, not \[1, 10\]"),
        (10, lambda scores: (scores, scores), r"gives a tuple, not one array \[1, 10\]"),
    ],
)
def test_a_net_without_a_score_for_each_class_is_refused(tmp_path, features, give, told):
    """With fewer, labels would index beyond them, and every loss would be NaN."""
    experiment = dataclasses.replace(
        mlp.EXPERIMENT, make_net=lambda config, spec: Outputs(features, give)
    )
    config = replace(mlp.EXPERIMENT.config, {"dataset": "digits"})
    with pytest.raises(UsageError, match=told):
        train_study(make_study(experiment, config, seeds=1), tmp_path / "out", echo=print)


@pytest.mark.slow
def test_predictions_of_a_classifier(rows_file, tmp_path):
    arguments = [
        "run", "mlp", "--dataset", "file", "--data-file", rows_file, "--batch-size", "100",
        "--epochs", "1", "--width", "7", "--norm", "batch", "--preprocess", "standardise",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, arguments, prog="launch.py") == 0
    net = load_trained(tmp_path / "run")
    with np.load(rows_file) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    scores = net.net.apply(
        net.variables, preprocess.apply(net.data.own["stats"], jnp.asarray(x)), train=False
    )
    right = np.asarray(scores).argmax(-1) == y
    (line,) = finished(read_lines(tmp_path / "run")).values()
    bits = np.unpackbits(np.frombuffer(base64.b64decode(line["test_correct"]), np.uint8))
    np.testing.assert_array_equal(bits[: len(y)], right)
    assert net.evaluate()["accuracy"] == pytest.approx(line["test_accuracy"], abs=1e-6)
