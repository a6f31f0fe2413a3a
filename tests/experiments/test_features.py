"""The experiment `features`: probes against scikit-learn, on the rows and labels they see."""

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from experiments import EXPERIMENTS, features
from experiments.data.dataset import Spec
from experiments.engine import drawing
from experiments.engine.cli import main
from experiments.engine.config import replace
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data
from experiments.retrieval_pictures import retrieval_picture
from experiments.window_pictures import example_pixels
from nets.probes import linear_svm
from tests.experiments.conftest import first_state


@pytest.fixture(scope="module")
def pieces(image_pieces):
    """The pieces of one replica of a small net, some of whose training labels are wrong."""
    small = {"layers": "4k3 max2 d6", "label_noise": 0.2, "validation": 0.25}
    return functools.partial(image_pieces, features.EXPERIMENT, **small)


def seen_by_the_output_layer(made, split):
    """What precedes the output layer, from the net's own scores: float64 [rows, width], labels."""
    state, (_, net, _) = first_state(made), made.trainer.model(made.replica)
    own, arrays = made.data.own, made.data.splits
    rows = None if split == "test" else own[f"{split}_rows"]
    x = arrays["test"]["x"] if rows is None else arrays["train"]["x"][rows]
    y = arrays["test"]["y"] if rows is None else arrays["train"]["y"][rows]
    y = own["labels"] if split == "train" else y
    shown = np.asarray(x, np.float32) / 255 - np.asarray(own["stats"]["mean"])
    variables = {"params": state.params, **state.model_state}
    kept = {"train": False, "capture_intermediates": True, "mutable": True}
    _, found = net.apply(variables, jnp.asarray(shown), **kept)
    hidden = found["intermediates"]["activation_2"]["__call__"][0]
    return np.asarray(hidden.reshape(len(hidden), -1), np.float64), np.asarray(y)


def true_labels(made):
    """The training rows' labels in the file."""
    labels = np.asarray(made.data.splits["train"]["y"])[np.asarray(made.data.own["train_rows"])]
    assert (labels != np.asarray(made.data.own["labels"])).any()
    return labels


def evaluated(made, split):
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    evaluate = jax.jit(functools.partial(features.evaluate, config, net, split=split))
    return evaluate(state.params, state.model_state, made.data)


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize(("distance", "split"), [("euclidean", "test"), ("cosine", "validation")])
def test_neighbours_vote_as_in_scikit_learn(pieces, split, distance, neighbours):
    made = pieces(probe="knn", neighbours=neighbours, distance=distance)
    found, right = evaluated(made, split)
    known, known_labels = seen_by_the_output_layer(made, "train")
    asked, labels = seen_by_the_output_layer(made, split)
    reference = KNeighborsClassifier(neighbours, metric=distance, algorithm="brute")
    near = reference.fit(known, known_labels).kneighbors(asked, return_distance=False)
    votes = [np.bincount(known_labels[row], minlength=3) for row in near]
    want = [
        label if (vote == vote.max()).sum() == 1 else known_labels[row[0]]
        for vote, row, label in zip(votes, near, reference.predict(asked), strict=True)
    ]
    np.testing.assert_array_equal(right, np.array(want) == labels)
    assert found["accuracy"] == pytest.approx(np.mean(np.array(want) == labels))
    assert 0.2 < float(found["accuracy"]) < 1


def test_a_training_row_is_not_its_own_neighbour(pieces):
    made = pieces(probe="knn", neighbours=1)
    known, labels = seen_by_the_output_layer(made, "train")
    apart = np.linalg.norm(known[:, None] - known[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    want = labels[apart.argmin(1)] == labels
    np.testing.assert_array_equal(evaluated(made, "train")[1], want)
    assert 0.2 < want.mean() < 1


@pytest.mark.slow
def test_the_svm_is_that_of_liblinear(pieces):
    made = pieces(probe="svm", svm_strength=1e-2)
    known, known_labels = seen_by_the_output_layer(made, "train")
    asked, labels = seen_by_the_output_layer(made, "test")
    mean, spread = known.mean(0), known.std(0)
    spread[spread == 0] = 1
    settings = {"dual": False, "tol": 1e-8, "intercept_scaling": 100.0, "max_iter": 10_000}
    reference = LinearSVC(C=1 / (1e-2 * len(known)), **settings)
    reference.fit((known - mean) / spread, known_labels)
    want = reference.decision_function((asked - mean) / spread)
    svm = linear_svm(jnp.asarray(known, jnp.float32), jnp.asarray(known_labels), 3, 1e-2)
    np.testing.assert_allclose(svm(jnp.asarray(asked, jnp.float32)), want, atol=0.02)
    for split, rows, right in (("test", asked, labels), ("train", known, known_labels)):
        predicted = reference.predict((rows - mean) / spread)
        np.testing.assert_array_equal(evaluated(made, split)[1], predicted == right)


def test_the_own_output_is_the_nets(pieces):
    made = pieces()
    found, right = evaluated(made, "test")
    assert set(found) == {"accuracy"}
    hidden, labels = seen_by_the_output_layer(made, "test")
    kept = first_state(made).params["output"]
    output = {name: np.asarray(leaf, np.float64) for name, leaf in kept.items()}
    scores = hidden @ output["kernel"] + output["bias"]
    np.testing.assert_array_equal(right, scores.argmax(1) == labels)


@pytest.mark.parametrize("probe", ["output", "knn", "svm"])
def test_without_validation_rows_nothing_is_measured_on_them(pieces, probe):
    assert evaluated(pieces(probe=probe, validation=0.0), "validation") == ({}, None)


def test_retrieval_is_the_mean_average_precision_of_scikit_learn(pieces):
    made = pieces(distance="cosine")
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    measure = jax.jit(functools.partial(features.measure, config, net))
    found = measure(state.params, state.model_state, made.data)
    known, known_labels = seen_by_the_output_layer(made, "train")[0], true_labels(made)
    asked, labels = seen_by_the_output_layer(made, "test")
    lengths = np.linalg.norm(known, axis=1)
    precisions = [
        average_precision_score(known_labels == label, known @ row / lengths)
        for row, label in zip(asked, labels, strict=True)
    ]
    assert len(known) < features.ANSWERS
    assert found["retrieval"] == pytest.approx(np.mean(precisions), rel=1e-5)
    assert {"parameters", "curvature"} < set(found)


def test_a_search_in_pieces_is_the_search(monkeypatch):
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)), jnp.float32)
    whole = features.search(rows, rows, 3, "euclidean", jnp.arange(50))
    monkeypatch.setattr(features, "DISTANCES", 7 * 50)
    pieces = features.search(rows, rows, 3, "euclidean", jnp.arange(50))
    np.testing.assert_array_equal(pieces, whole)


def test_the_picture_shows_what_the_first_example_of_each_class_finds(pieces):
    made = pieces()
    state, (config, net, _) = first_state(made), made.trainer.model(made.replica)
    host = Data(made.dataset.splits, jax.device_get(made.data.own))
    found = features.pictures(config, net, state.params, state.model_state, host)
    assert {"retrieval", "filters_conv_1"} < set(found)
    known, known_labels = seen_by_the_output_layer(made, "train")[0], true_labels(made)
    asked, labels = seen_by_the_output_layer(made, "test")
    first = sorted(np.flatnonzero(labels == k)[0] for k in range(3))
    apart = np.linalg.norm(asked[first][:, None] - known[None], axis=-1)
    near = apart.argsort(1)[:, : features.SHOWN]
    right = known_labels[near] == labels[first][:, None]
    np.testing.assert_array_equal(found["retrieval"].values, right)
    assert right.any() and not right.all()
    images = made.dataset.splits
    rows = np.asarray(made.data.own["train_rows"])[near]
    shown = retrieval_picture(images["test"]["x"][first], images["train"]["x"][rows], right)
    np.testing.assert_array_equal(found["retrieval"].pixels, shown.pixels)


def test_answers_of_another_class_are_framed():
    random = np.random.default_rng(0)
    asked = random.integers(0, 100, (2, 4, 5, 1), dtype=np.uint8)
    found = np.stack([asked, asked, asked], axis=1)
    right = np.array([[True, False, True], [True, True, False]])
    pixels = retrieval_picture(asked, found, right).pixels
    yellow = (pixels == np.array(drawing.YELLOW)).all(-1)
    height, width = example_pixels(asked[0]).shape[:2]
    for line, row in enumerate(right):
        top, left = line * (height + 3 * drawing.GAP), width + 3 * drawing.GAP
        for place, same in enumerate(row):
            start = left + place * (width + drawing.GAP)
            tile = yellow[top : top + height, start : start + width]
            assert tile.any() != same
            edges, middle = (tile[0], tile[:, -1]), tile[height // 2, width // 2]
            assert same or (all(edge.all() for edge in edges) and not middle)
    assert not yellow[:, :width].any()


SPEC = Spec((8, 8, 3), 3, train_rows=60)
REFUSED = {
    "neighbours": ({"neighbours": 0}, "--neighbours 0: at least 1, and fewer than the 54"),
    "all": ({"neighbours": 54}, "--neighbours 54: at least 1, and fewer than the 54 training"),
    "strength": ({"svm_strength": 0.0}, "--svm-strength 0: must be positive"),
    "views": ({"probe": "knn", "test_views": "mirror"}, "--test-views mirror: scores of several"),
    "layers": ({"layers": "linear d"}, "--layers 'linear d': 'linear' is no layer"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_cannot_work_are_refused(changes, message):
    config = replace(features.Config(), {"batch_size": 20, **changes})
    with pytest.raises(UsageError) as told:
        features.check(config, SPEC)
    assert str(told.value).startswith(message)


@pytest.mark.slow
def test_a_study_of_probes_reads_the_same_nets(images_file, tmp_path, capsys):
    study = [
        "study", "features", "--vary", "probe=output,knn,svm", "--seeds", "2", "--dataset", "file",
        "--data-file", images_file, "--batch-size", "18", "--layers", "4k3 max2 d6", "--epochs",
        "3", "--out", str(tmp_path / "study"),
    ]  # fmt: skip
    assert main(EXPERIMENTS, study, prog="launch.py") == 0
    assert "retrieval" in capsys.readouterr().out
    with (tmp_path / "study" / "results.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for seed in ("0", "1"):
        own = [line for line in lines if line["seed"] == seed]
        assert [line["probe"] for line in own] == ["output", "knn", "svm"]
        assert len({line["parameters_sha256"] for line in own}) == 1
        assert len({line["retrieval"] for line in own}) == 1
    assert "test_loss" not in lines[0]
    assert main(EXPERIMENTS, ["reproduce", str(tmp_path / "study")], prog="launch.py") == 0
    assert "identical" in capsys.readouterr().out
