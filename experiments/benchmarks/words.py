"""The word vectors both sides of the benchmark train, and what they are worth."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.data import words
from experiments.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class WordProblem:
    """Skip-gram with negative sampling, at gensim's defaults where nothing else is said.

    Attributes:
        manual_dir: folder of the publishers' files.
        dataset: the text; its training split is read.
        epochs: passes over it.
        seed: of the initial vectors and of all draws.
        dimension, window, negatives: sizes.
        sample: words more frequent than this are thinned out.
        rates: the learning rate at first and at last; it falls linearly.
        workers: gensim's threads.
    """

    manual_dir: str | None
    dataset: str = "wikitext2"
    epochs: int = 5
    seed: int = 0
    dimension: int = 100
    window: int = 5
    negatives: int = 5
    sample: float = 1e-3
    rates: tuple[float, float] = (0.025, 0.0001)
    workers: int = 2


def text_of(problem: WordProblem) -> Dataset:
    """The words and word sets, separated by spaces."""
    config = words.Words(dataset=problem.dataset, words="spaces", top=10_000)  # type: ignore
    return words.load(config, problem.manual_dir)


def sentences(dataset: Dataset) -> list[list[str]]:
    """The lines of the training split, of the words that count."""
    split, vocabulary = dataset.splits["train"], np.array(dataset.vocabulary, object)
    ends = np.flatnonzero(np.diff(split["lines"])) + 1
    return [list(line) for line in np.split(vocabulary[split["x"]], ends)]


def scores(vectors: np.ndarray, dataset: Dataset) -> Mapping[str, float]:
    """What vectors are worth by the word sets, in the order of the vocabulary."""
    import jax.numpy as jnp

    from experiments.word_scores import set_scores

    sets = {name: jnp.asarray(rows) for name, rows in dataset.splits.get("sets", {}).items()}
    found = set_scores(jnp.asarray(vectors), sets, top=10_000)
    return {name: float(value) for name, value in found.items()}
