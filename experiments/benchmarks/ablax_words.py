"""Ablax's side of the word vectors, through its own plan, programs and calls."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.benchmarks.ablax import Running, compile_study, train_epoch
from experiments.benchmarks.problem import Side
from experiments.benchmarks.words import WordProblem, scores, text_of
from experiments.data.dataset import Dataset
from experiments.engine.config import replace
from experiments.engine.study import make_study
from experiments.word2vec import EXPERIMENT

HELD: list[tuple[Running, Dataset]] = []
"""What `prepare` made ready in this process, for `quality`."""


def prepare(problem: WordProblem) -> Side:
    """Compiles the problem under the plan."""
    dataset = text_of(problem)
    loaded = dataclasses.replace(
        EXPERIMENT,
        load=lambda config, manual_dir: dataset,
        evaluate=lambda *args: ({}, None),
        measure=None,
    )
    first, last = problem.rates
    values = {
        "dimension": problem.dimension, "window": problem.window, "negatives": problem.negatives,
        "sample": problem.sample, "learning_rate": first, "end_factor": last / first,
        "epochs": problem.epochs, "words": "spaces",
    }  # fmt: skip
    study = make_study(loaded, replace(EXPERIMENT.config, values), seeds=1, first_seed=problem.seed)
    running, seconds = compile_study(study)
    HELD[:] = [(running, dataset)]
    epochs = iter(range(problem.epochs))
    return Side(lambda: train_epoch(running, next(epochs)), seconds, str(running.plan))


def quality() -> Mapping[str, float]:
    """What the vectors are worth, and the bytes of a program per word of the vocabulary."""
    running, dataset = HELD[0]
    (state,) = running.states
    memory = running.program.memory_bytes / dataset.spec.vocabulary
    vectors = np.asarray(state.params["input"])[0]
    return {**scores(vectors, dataset), "bytes_per_word": memory}
