"""gensim's side of the word vectors."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.benchmarks.problem import Side
from experiments.benchmarks.words import WordProblem, scores, sentences, text_of
from experiments.data.dataset import Dataset

HELD: list[tuple[Any, Dataset]] = []
"""What `prepare` made ready in this process, for `quality`."""


def prepare(problem: WordProblem) -> Side:
    """Builds the vocabulary; the text lies in memory, as lists of strings."""
    from gensim.models import Word2Vec  # pyright: ignore[reportMissingImports]

    dataset, start = text_of(problem), time.perf_counter()
    lines = sentences(dataset)
    model = Word2Vec(
        vector_size=problem.dimension, window=problem.window, negative=problem.negatives,
        sample=problem.sample, workers=problem.workers, seed=problem.seed, sg=1, min_count=5,
    )  # fmt: skip
    model.build_vocab(lines)
    rates = iter(np.linspace(*problem.rates, problem.epochs + 1))
    last = [float(next(rates))]

    def epoch() -> None:
        first, last[0] = last[0], float(next(rates))
        model.train(
            lines, total_examples=len(lines), epochs=1, start_alpha=first, end_alpha=last[0]
        )

    HELD[:] = [(model, dataset)]
    return Side(epoch, time.perf_counter() - start, f"{problem.workers} workers")


def quality() -> Mapping[str, float]:
    """What the vectors are worth, and the bytes that gensim counts per word of the vocabulary."""
    model, dataset = HELD[0]
    vectors = np.stack([model.wv[word] for word in dataset.vocabulary])
    memory = model.estimate_memory()["total"] / dataset.spec.vocabulary
    return {**scores(vectors, dataset), "bytes_per_word": memory}
