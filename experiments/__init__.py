"""One script per question, the engine that trains them, and the index the command line reads."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from experiments.engine.experiment import Experiment


class Entry(NamedTuple):
    """An experiment without the cost of importing it: one line, and how to get it."""

    summary: str
    load: Callable[[], "Experiment"]


def _mlp() -> "Experiment":
    from experiments.mlp import EXPERIMENT

    return EXPERIMENT


def _convnet() -> "Experiment":
    from experiments.convnet import EXPERIMENT

    return EXPERIMENT


def _resnet() -> "Experiment":
    from experiments.resnet import EXPERIMENT

    return EXPERIMENT


def _features() -> "Experiment":
    from experiments.features import EXPERIMENT

    return EXPERIMENT


def _super_resolution() -> "Experiment":
    from experiments.super_resolution import EXPERIMENT

    return EXPERIMENT


def _detection() -> "Experiment":
    from experiments.detection import EXPERIMENT

    return EXPERIMENT


def _memory() -> "Experiment":
    from experiments.memory import EXPERIMENT

    return EXPERIMENT


def _sequence_classifier() -> "Experiment":
    from experiments.sequence_classifier import EXPERIMENT

    return EXPERIMENT


def _language_model() -> "Experiment":
    from experiments.language_model import EXPERIMENT

    return EXPERIMENT


def _word2vec() -> "Experiment":
    from experiments.word2vec import EXPERIMENT

    return EXPERIMENT


EXPERIMENTS = {
    "mlp": Entry("multilayer perceptrons, from the linear classifier up", _mlp),
    "convnet": Entry("convolutional nets from a short spec, on images and sequences", _convnet),
    "resnet": Entry("residual nets of any depth, and plain ones without shortcuts", _resnet),
    "features": Entry(
        "features a net has learned, read by neighbours, a linear SVM and a search", _features
    ),
    "super_resolution": Entry(
        "nets that make small images large, against bicubic interpolation", _super_resolution
    ),
    "detection": Entry(
        "nets that find the objects of a scene: boxes, classes, mean average precision", _detection
    ),
    "memory": Entry("what recurrent nets remember: the adding and the copy task", _memory),
    "sequence_classifier": Entry(
        "recurrent nets that classify sequences, or images row by row or pixel by pixel",
        _sequence_classifier,
    ),
    "word2vec": Entry(
        "vectors of words from the words around them: skip-gram, CBOW, next word", _word2vec
    ),
    "language_model": Entry(
        "recurrent nets that predict the next character or word of a text, and write",
        _language_model,
    ),
}
