"""Trained word vectors of a study folder: neighbours, analogies, and files for other programs."""

import dataclasses
import difflib
import pathlib
from typing import Literal

import numpy as np

from experiments.engine.errors import UsageError
from experiments.engine.reopen import Reopened
from experiments.engine.sealed import write_bytes
from experiments.engine.trained import text_net

Answers = list[tuple[str, float]]
EPSILON = 1e-3  # of 3CosMul (Levy and Goldberg 2014)


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """Words and their vectors.

    Attributes:
        vocabulary: the words, the most frequent first.
        vectors: float32 [words, features].
    """

    vocabulary: tuple[str, ...]
    vectors: np.ndarray

    @staticmethod
    def read(opened: Reopened, cell: int, replica: int | None) -> "WordVectors":
        """Those of a net of a folder.

        Raises:
            UsageError: the experiment has none, or the net is not there.
        """
        experiment = opened.study.experiment
        if experiment.vectors is None:
            raise UsageError(
                f"{opened.folder} belongs to the experiment {experiment.name!r}, whose nets have "
                "no word vectors: take the folder of `word2vec`"
            )
        net = text_net(opened, cell, replica)
        return WordVectors(net.vocabulary, np.asarray(experiment.vectors(net.params)))

    @property
    def unit(self) -> np.ndarray:
        """The vectors at length 1."""
        norms = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return self.vectors / np.maximum(norms, 1e-30)

    def place(self, word: str) -> int:
        """The number of a word, in small letters if it is known so only.

        Raises:
            UsageError: it is not in the vocabulary; names the most alike.
        """
        for spelled in (word, word.lower()):
            if spelled in self.vocabulary:
                return self.vocabulary.index(spelled)
        near = difflib.get_close_matches(word.lower(), self.vocabulary, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "and none is spelled much like it"
        raise UsageError(
            f"{word!r} is not among the {len(self.vocabulary):,} words of the text that were "
            f"frequent enough; {hint}"
        )

    def nearest(self, word: str, count: int) -> Answers:
        """The words whose vectors have the largest cosines with a word's."""
        place, unit = self.place(word), self.unit
        return self._best(unit @ unit[place], [place], count)

    def analogy(
        self, words: tuple[str, str, str], count: int, method: Literal["add", "mul"], top: int
    ) -> Answers:
        """What is to c as b is to a, with the scores of 3CosAdd or 3CosMul.

        Args:
            words: a, b and c.
            top: answers are among the first.
        """
        if top < 1:
            raise UsageError(f"--top {top}: at least 1")
        places, unit = [self.place(word) for word in words], self.unit
        a, b, c = (unit[:top] @ unit[place] for place in places)
        product = (b + 1) * (c + 1) / 2 / (a + 1 + 2 * EPSILON)
        scores = b - a + c if method == "add" else product
        barred = sorted({place for place in places if place < top})
        if len(barred) == len(scores):
            raise UsageError(f"--top {top}: no word but those given is among them; a larger one")
        return self._best(scores, barred, count)

    def _best(self, scores: np.ndarray, barred: list[int], count: int) -> Answers:
        if count < 1:
            raise UsageError(f"--count {count}: at least 1")
        scores = scores.copy()
        scores[barred] = -np.inf
        order = np.argsort(-scores)[: min(count, len(scores) - len(barred))]
        return [(self.vocabulary[i], float(scores[i])) for i in order]

    def write(self, path: pathlib.Path, form: Literal["text", "binary"]) -> None:
        """Writes a file of word2vec's format: sizes, then a word and its numbers in each row.

        Numbers of the text have nine digits, from which float32 comes back exactly.

        Raises:
            UsageError: the folder is not there.
        """
        if not path.parent.is_dir():
            raise UsageError(f"--out {path}: there is no folder {path.parent}")
        parts = [f"{len(self.vocabulary)} {self.vectors.shape[1]}\n".encode()]
        for word, row in zip(self.vocabulary, self.vectors.astype("<f4"), strict=True):
            numbers = (
                row.tobytes() if form == "binary" else " ".join(f"{x:.9g}" for x in row).encode()
            )
            parts.append(word.encode() + b" " + numbers + b"\n")
        write_bytes(path, b"".join(parts))
