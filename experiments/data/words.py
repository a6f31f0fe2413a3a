"""Texts as numbered words for word vectors: lines, the frequent first, the rare left out."""

import collections
import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.data import texts
from experiments.data.dataset import Dataset, Spec, make_dataset
from experiments.data.text import SPLITS
from experiments.data.word_sets import read_sets, word_files
from experiments.engine.errors import UsageError
from experiments.engine.paths import manual_folder, own_file, stamp

LETTERS = re.compile(r"<unk>|\w+")


@dataclasses.dataclass(frozen=True)
class Words:
    """What is read, and which words count.

    Attributes:
        dataset: python_docs, tiny_shakespeare, wikitext2 or text8, which `list` explains, or text:
            any file of UTF-8.
        text_file: path of the file, where dataset is text.
        words: letters, runs of letters, digits and underscores in small letters, which end at marks
            that are characters of their own (as in Hindi); or spaces, whatever white space
            separates.
        min_count: words that the training text holds less often are left out.
        top: analogies are asked and answered among so many of the most frequent words.
        pictured: words that a picture shows in the plane, three or more.
    """

    dataset: Literal["python_docs", "tiny_shakespeare", "wikitext2", "text8", "text"] = (
        "python_docs"
    )
    text_file: str | None = None
    words: Literal["letters", "spaces"] = "letters"
    min_count: int = 5
    top: int = 30_000
    pictured: tuple[str, ...] = ()


def load(config: Words, manual_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """The words of a text, kept for the next that asks for them.

    Returns:
        Splits "train", "validation" and "test", each with "x", the words int32 [n], and "lines"
        int32 [n], the line each stands in; "train" also "counts" int32 [words]. The vocabulary is
        in falling order of count. Where the folder of the publishers' files has word sets, "sets"
        holds them (`word_sets.read_sets`).

    Raises:
        UsageError: there is no such text or folder, or fewer than two words that count.
        DataMissingError: files are missing, damaged or not the published ones.
    """
    texts.check_own(config.dataset, config.text_file)
    if config.min_count < 1 or config.top < 1:
        raise UsageError("--min-count and --top: at least 1")
    folder = manual_folder(manual_dir)
    files = [own_file(config.text_file, folder)] if config.text_file is not None else []
    files += word_files(folder) if folder else []
    written = tuple(map(stamp, files))
    return _load(dataclasses.replace(config, pictured=()), folder, written)


def numbers_of(words: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """The numbers of words, int32 [n]. Raises `UsageError` for one that is not there."""
    for word in words:
        if word not in vocabulary:
            near = difflib.get_close_matches(word, vocabulary, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--pictured: {word!r} is not in the vocabulary{hint}")
    return np.array([vocabulary.index(word) for word in words], np.int32)


@functools.lru_cache(maxsize=4)
def _load(config: Words, manual_dir: Path | None, written: tuple[Any, ...]) -> Dataset:
    """One reading of a text; `config.pictured` does not matter to it, and `written` tells files
    that were written anew apart."""
    del written
    name = config.text_file or config.dataset
    parts = texts.splits_of(config.dataset, manual_dir, config.text_file)
    return make_words(name, parts, config, read_sets(manual_dir))


def make_words(
    name: str, parts: Mapping[str, str], config: Words, sets: Mapping[str, list[list[str]]]
) -> Dataset:
    """A data set of texts and word sets; see `load`."""
    lines = {split: _lines(parts[split], config.words) for split in SPLITS}
    counted = collections.Counter(word for line in lines["train"] for word in line)
    if not counted:
        raise UsageError(f"{name}: its training text has no words")
    often = sorted((-n, word) for word, n in counted.items() if n >= config.min_count)
    if len(often) < 2:
        raise UsageError(
            f"{name}: {len(often)} of its {len(counted):,} words stand in the training text "
            f"--min-count {config.min_count} times or more; two at least are needed"
        )
    vocabulary = tuple(word for _, word in often)
    place = {word: number for number, word in enumerate(vocabulary)}
    splits = {split: _numbered(lines[split], place) for split in SPLITS}
    splits["train"]["counts"] = np.array([-n for n, _ in often], np.int32)
    small = config.words == "letters"
    if sets:
        splits["sets"] = _known(sets, place, small, config.top)
    return make_dataset(name, splits, Spec((), 0, len(vocabulary)), vocabulary)


def _lines(text: str, words: str) -> list[list[str]]:
    """The words of each line."""
    if words == "spaces":
        return [line.split() for line in text.split("\n")]
    return [LETTERS.findall(line) for line in text.lower().split("\n")]


def _numbered(lines: list[list[str]], place: Mapping[str, int]) -> dict[str, np.ndarray]:
    """ "x" and "lines" of what the vocabulary holds."""
    known = [[place[word] for word in line if word in place] for line in lines]
    sizes = [len(line) for line in known]
    words = np.fromiter((word for line in known for word in line), np.int32, sum(sizes))
    return {"x": words, "lines": np.repeat(np.arange(len(lines), dtype=np.int32), sizes)}


def _known(
    sets: Mapping[str, list[list[str]]], place: Mapping[str, int], small: bool, top: int
) -> dict[str, np.ndarray]:
    """The rows of word sets whose words are known, as numbers."""
    arrays: dict[str, np.ndarray] = {}
    for name, rows in sets.items():
        asked, values, limit = [], [], top if name == "analogies" else len(place)
        for *words, value in rows:
            numbers = [place.get(w.lower() if small else w, limit) for w in words]
            if max(numbers) < limit:
                asked.append(numbers)
                values.append(float(value))
        size = len(rows[0]) - 1
        arrays[f"{name}_words"] = np.array(asked, np.int32).reshape(-1, size)
        arrays[name] = np.array(values, np.float32)
    return arrays
