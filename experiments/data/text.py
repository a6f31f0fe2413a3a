"""Texts as token arrays: characters or words, numbered by a vocabulary of the training split."""

import collections
import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from experiments.data.dataset import Dataset, Spec, make_dataset
from experiments.engine.errors import UsageError

Unit = Literal["character", "word"]
END = "<eos>"
"""The word that stands for the end of a line, as in the common preparations of PTB and WikiText."""
UNKNOWN = {"character": "\ufffd", "word": "<unk>"}
FIRST = {"character": re.compile(r"(?s)."), "word": re.compile(r"[^\S\n]*(\n|\S+)")}
"""A text's first unit, as it stands there, with the white space before it."""
SPLITS = ("train", "validation", "test")


def split_units(text: str, unit: Unit) -> list[str]:
    """A text as characters, or as what white space separates, with `<eos>` for each line's end."""
    if unit == "character":
        return list(text)
    first, *others = text.split("\n")
    words = first.split()
    for line in others:
        words += [END, *line.split()]
    return words


def join_units(units: list[str], unit: Unit) -> str:
    """A text again; words are set apart by single spaces."""
    if unit == "character":
        return "".join(units)
    text = " ".join("\n" if unit == END else unit for unit in units)
    return text.replace(" \n", "\n").replace("\n ", "\n")


def make_vocabulary(units: Mapping[str, list[str]], unit: Unit) -> tuple[str, ...]:
    """The distinct units of "train" in sorted order; the number of a unit is its place here.

    Where another split holds units that training does not, and training has no unknown unit of its
    own, one is added for them. It also stands for the units that training holds once: a net could
    not learn what comes of a unit it never reads.
    """
    seen = collections.Counter(units["train"])
    others = {each for split in SPLITS[1:] for each in units[split]} - seen.keys()
    if others and UNKNOWN[unit] not in seen:
        return tuple(sorted({*(u for u, count in seen.items() if count > 1), UNKNOWN[unit]}))
    return tuple(sorted(seen))


def numbered(units: list[str], vocabulary: tuple[str, ...], unit: Unit) -> np.ndarray:
    """The numbers of units, [units], of the smallest unsigned type that holds the vocabulary.

    What the vocabulary lacks becomes the unknown unit.

    Raises:
        KeyError: the vocabulary has neither a unit nor an unknown one.
    """
    place = {each: number for number, each in enumerate(vocabulary)}
    kind = np.min_scalar_type(len(vocabulary) - 1)
    if UNKNOWN[unit] not in place:
        return np.array([place[each] for each in units], kind)
    unknown = place[UNKNOWN[unit]]
    return np.array([place.get(each, unknown) for each in units], kind)


def encode(text: str, vocabulary: tuple[str, ...], unit: Unit) -> np.ndarray:
    """The numbers of a prompt, int32 [units].

    Raises:
        UsageError: it holds what the vocabulary does not, or nothing.
    """
    units, known = split_units(text, unit), set(vocabulary)
    if not units:
        raise UsageError(f"--prompt: give at least one {unit} to begin with")
    if strange := list(dict.fromkeys(each for each in units if each not in known)):
        shown = ", ".join(map(repr, strange[:8])) + " ..." * (len(strange) > 8)
        raise UsageError(
            f"--prompt: not among the {len(vocabulary):,} {unit}s the net knows: {shown}"
        )
    return numbered(units, vocabulary, unit).astype(np.int32)


def make_text(name: str, texts: Mapping[str, str], unit: Unit) -> Dataset:
    """A data set of texts.

    Args:
        name: as given to `load`.
        texts: "train", "validation" and "test".
        unit: what a token is.

    Returns:
        "x", the tokens in the order of the text, [tokens]; and "characters" int32 [1], how many
        characters of the text the tokens after the first stand for.

    Raises:
        UsageError: a split has fewer than two tokens, or the vocabulary fewer than two.
    """
    units = {split: split_units(texts[split], unit) for split in SPLITS}
    if short := [split for split in SPLITS if len(units[split]) < 2]:
        raise UsageError(f"{name}: its {short[0]} text has fewer than two {unit}s")
    vocabulary = make_vocabulary(units, unit)
    if not vocabulary[1:]:
        raise UsageError(
            f"{name}: {vocabulary[0]!r} is the one {unit} that can be learned from its training "
            "text; there must be two or more"
        )
    splits = {
        split: {
            "x": numbered(units[split], vocabulary, unit),
            "characters": np.array([len(FIRST[unit].sub("", texts[split], count=1))], np.int32),
        }
        for split in SPLITS
    }
    spec = Spec((), classes=0, vocabulary=len(vocabulary))
    return make_dataset(name, splits, spec, vocabulary)


def cut(text: str) -> dict[str, str]:
    """The first 90 % of a text for training, then 5 % and 5 %, by characters.

    As TFDS cuts tiny_shakespeare: 1,003,854, 55,770 and 55,770 characters.
    """
    first = int(len(text) * 0.9)
    second = first + (len(text) - first) // 2
    return {"train": text[:first], "validation": text[first:second], "test": text[second:]}
