"""What are the features a net has learned worth to classifiers that learn none, and to a search?"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import classification, convnet, convolutional, whitening
from experiments.data import preprocess
from experiments.data.dataset import Spec
from experiments.data.split import training_size
from experiments.engine.errors import UsageError
from experiments.engine.experiment import Data, Tree
from experiments.engine.pictures import Picture
from experiments.engine.statistics import Metric
from experiments.retrieval_pictures import retrieval_picture
from experiments.rows import by_chunks, rows_of
from nets.probes import Distance, average_precision, linear_svm, nearest, vote

QUERIES = 1000
"""Test rows that are searched for among the training rows."""
ANSWERS = 100
"""Answers to each that are judged."""
SHOWN = 8
"""Answers in the picture of a search."""
DISTANCES = 2**22
"""Most distances at a time, which bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Who reads classes off the net's last hidden layer.

    Attributes:
        probe: the net's own output layer, k nearest neighbours among the training rows, or a linear
            SVM fitted to them.
        neighbours: how many vote.
        distance: between neighbours, and in the search.
        svm_strength: L2 penalty of the SVM.
    """

    probe: Literal["output", "knn", "svm"] = "output"
    neighbours: int = 5
    distance: Distance = "euclidean"
    svm_strength: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Config(convnet.Config):
    """A convolutional net, how it is trained, and who reads its last hidden layer.

    Attributes:
        probing: who reads classes off the last hidden layer; without layers that is the input.
    """

    probing: Probe = Probe()


def metrics(config: Any, spec: Spec) -> tuple[Metric, ...]:
    """Accuracy of the probe."""
    return classification.metrics(config, spec)[:1]


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot work. Raises `UsageError`."""
    convnet.check(config, spec)
    probing, rows = config.probing, training_size(config.data, spec.train_rows)
    if not 0 < probing.neighbours < rows:
        raise UsageError(
            f"--neighbours {probing.neighbours}: at least 1, and fewer than the {rows:,} training "
            "rows"
        )
    if not 0 < probing.svm_strength < float("inf"):
        raise UsageError(f"--svm-strength {probing.svm_strength:g}: must be positive")
    if probing.probe != "output" and config.scores.test_views != "one":
        raise UsageError(
            f"--test-views {config.scores.test_views}: scores of several views are averaged by the "
            "net's own output layer alone (--probe output)"
        )


def evaluate(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data, split: str
) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """Exact accuracy of the probe over a split, and which examples were right.

    A training row is not its own neighbour.
    """
    if config.probing.probe == "output":
        found, right = convnet.evaluate(config, net, params, model_state, data, split)
        return {name: found[name] for name in found if name == "accuracy"}, right
    source, rows = rows_of(data, split)
    if not rows.shape[0]:
        return {}, None
    of = functools.partial(features, net, params, model_state, data)
    known, known_labels = of("train"), data.own["labels"]
    labels = known_labels if split == "train" else source["y"][rows]
    seen = known if split == "train" else of(split)
    classes = net.classes
    if config.probing.probe == "svm":
        svm = linear_svm(known, known_labels, classes, config.probing.svm_strength)
        answers = jnp.argmax(svm(seen), axis=-1)
    else:
        place = jnp.arange(len(seen)) if split == "train" else None
        found = search(seen, known, config.probing.neighbours, config.probing.distance, place)
        answers = vote(known_labels[found], classes)
    right = answers == labels
    return {"accuracy": jnp.mean(right)}, right


def features(net: Any, params: Tree, model_state: Tree, data: Data, split: str) -> jax.Array:
    """What the output layer sees of the rows of a split, [rows, width]."""
    source, rows = rows_of(data, split)

    def chunk(rows: jax.Array) -> jax.Array:
        x = preprocess.apply(data.own["stats"], source["x"][rows])
        return net.apply({"params": params, **model_state}, x, method=net.penultimate)

    return by_chunks(chunk, (rows,), classification.EVALUATION_ROWS)


def search(
    queries: jax.Array,
    database: jax.Array,
    count: int,
    distance: Distance,
    leave_out: jax.Array | None = None,
) -> jax.Array:
    """`nets.probes.nearest`, some queries at a time."""

    def chunk(queries: jax.Array, *leave_out: jax.Array) -> jax.Array:
        return nearest(queries, database, count, distance, *leave_out)

    arrays = (queries,) if leave_out is None else (queries, leave_out)
    return by_chunks(chunk, arrays, max(1, DISTANCES // len(database)))


def measure(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, jax.Array]:
    """`classification.measure`, and `retrieval`: a test row asks for the training rows of its
    class, which is the file's, whatever the label noise; the mean average precision of the first
    100 answers, over the first 1,000 test rows."""
    found = classification.measure(config, net, params, model_state, data)
    known = features(net, params, model_state, data, "train")
    labels = data.splits["train"]["y"][data.own["train_rows"]]
    asked = features(net, params, model_state, data, "test")[:QUERIES]
    wanted = data.splits["test"]["y"][: len(asked)]
    answers = search(asked, known, min(ANSWERS, len(known)), config.probing.distance)
    relevant = (labels[answers] == wanted[:, None]).astype(jnp.float32)
    total = jnp.sum(labels[None] == wanted[:, None], axis=1)
    return found | {"retrieval": jnp.mean(average_precision(relevant, total))}


def pictures(
    config: Any, net: Any, params: Tree, model_state: Tree, data: Data
) -> dict[str, Picture]:
    """Those of a classifier, and `retrieval`: what the first test row of each class finds."""
    found = classification.pictures(config, net, params, model_state, data)
    test, train = (jax.tree.map(np.asarray, dict(data.splits[name])) for name in ("test", "train"))
    if test["x"].ndim > 4:
        return found
    _, first = np.unique(test["y"], return_index=True)
    asking = {name: array[np.sort(first)] for name, array in test.items()}
    placed = jax.tree.map(jnp.asarray, Data({"train": train, "test": asking}, data.own))
    of = functools.partial(features, net, params, model_state, placed)
    known = of("train")
    answers = search(of("test"), known, min(SHOWN, len(known)), config.probing.distance)
    rows = np.asarray(data.own["train_rows"])[np.asarray(answers)]
    right = train["y"][rows] == asking["y"][:, None]
    asked, shown = asking["x"], train["x"][rows]
    if test["x"].ndim < 4:  # no axis of channels
        asked, shown = asked[..., None], shown[..., None]
    return found | {"retrieval": retrieval_picture(asked, shown, right)}


EXPERIMENT = convolutional.classifier(
    name="features",
    summary="features a net has learned, read by neighbours, a linear SVM and a search",
    config=Config(),
    metrics=metrics,
    check=check,
    make_net=convnet.make_net,
    prepare=convnet.prepare,
    adapt=whitening.adapt,
    make_optimizer=convnet.optimizer,
    evaluate=evaluate,
    measure=measure,
    pictures=pictures,
)
