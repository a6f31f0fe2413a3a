"""What can be chosen of word vectors: the text, the model, and how it is trained."""

import dataclasses
from typing import Any, Literal

from experiments.data import words
from experiments.data.dataset import Spec
from experiments.engine.config import Static
from experiments.engine.errors import UsageError
from nets.embeddings import Context


@dataclasses.dataclass(frozen=True)
class Model:
    """From what words are predicted, and how.

    Attributes:
        context: skip_gram, from each neighbour; cbow_mean and cbow_sum, from all neighbours at
            once; next_word, from the mean of the words before.
        output: negative sampling, hierarchical (a Huffman tree) or softmax over all words.
        dimension: numbers that stand for a word.
        window: most words between neighbours, plus one.
        dynamic: draw each word's own window, 1 to window; next_word has the whole window.
        negatives: drawn words of each prediction, where output is negative.
    """

    context: Context = "skip_gram"
    output: Literal["negative", "hierarchical", "softmax"] = "negative"
    dimension: int = 100
    window: int = 5
    dynamic: bool = True
    negatives: int = 5


@dataclasses.dataclass(frozen=True)
class Training:
    """How the vectors are learnt, and for how long.

    Attributes:
        learning_rate: of the first step; it falls linearly.
        end_factor: share of it that it falls towards, and would have after the last step.
        sample: words more frequent than this are thinned out; 0 keeps all.
        shared_error: where several words predict at once, each moves as in word2vec's code, by all
            the error of their mean, or by a share of that of their sum; or by the exact gradient.
        batch_size: words of a step.
        block: words that are read together; they share their drawn words.
        drawn: how many those are.
        most_uses: of a row in a step, beyond which it moves no further; none, it moves by their
            sum.
        epochs: passes over the text.
    """

    learning_rate: float = 0.025
    end_factor: float = 0.004
    sample: Static[float] = 1e-3
    shared_error: Literal["word2vec", "exact"] = "word2vec"
    batch_size: int = 1024
    block: int = 64
    drawn: int = 32
    most_uses: float | None = 100.0
    epochs: int = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """Word vectors and how they are trained.

    Attributes:
        data: the text.
        model: what is predicted, and how.
        training: how the vectors are learnt.
    """

    data: words.Words = words.Words()
    model: Model = Model()
    training: Training = Training()


def check(config: Any, spec: Spec) -> None:
    """Refuses values that cannot train. Raises `UsageError`."""
    del spec
    model, training = config.model, config.training
    counts = {
        "--dimension": model.dimension, "--window": model.window, "--negatives": model.negatives,
        "--block": training.block, "--drawn": training.drawn, "--epochs": training.epochs,
    }  # fmt: skip
    for flag, count in counts.items():
        if count < 1:
            raise UsageError(f"{flag} {count}: at least 1")
    if training.batch_size < 1 or training.batch_size % training.block:
        raise UsageError(
            f"--batch-size {training.batch_size}: a multiple of --block {training.block}"
        )
    if not training.learning_rate > 0:
        raise UsageError(f"--learning-rate {training.learning_rate}: must be positive")
    if not 0 <= training.end_factor <= 1:
        raise UsageError(f"--end-factor {training.end_factor}: must be at least 0 and at most 1")
    if 0 < len(config.data.pictured) < 3:
        raise UsageError("--pictured: at least three words")
    if training.sample < 0:
        raise UsageError(f"--sample {training.sample}: must not be negative")
    if training.most_uses is not None and not training.most_uses > 0:
        raise UsageError(f"--most-uses {training.most_uses}: must be positive")
