"""The language model all sides of the benchmark train."""

import dataclasses

import numpy as np

LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class TextProblem:
    """One LSTM language model, trained by Adam on random tokens.

    Embedding, LSTM layers of one width, a linear layer over the vocabulary; every step gathers a
    batch of sequences and makes one update of the mean cross-entropy of each next token.

    Attributes:
        width: units of every layer, and of the embedding.
        layers: how many.
        vocabulary, length, batch: sizes of one step.
        rows: training sequences; an epoch has rows // batch steps.
    """

    width: int
    layers: int = 2
    vocabulary: int = 64
    length: int = 64
    batch: int = 32
    rows: int = 320

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch

    @property
    def tokens(self) -> int:
        """Tokens of an epoch."""
        return self.steps * self.batch * self.length


def random_text(problem: TextProblem, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of random tokens, int32 `[rows, length]`, and the token after each of them."""
    shape = rows, problem.length + 1
    text = np.random.default_rng(0).integers(0, problem.vocabulary, shape, dtype=np.int32)
    return text[:, :-1], text[:, 1:]
