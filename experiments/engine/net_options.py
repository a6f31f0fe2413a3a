"""Options of the verbs that use a trained net: `sample`, `nearest`, `analogy`, `export`."""

import dataclasses
from typing import Annotated, Literal

from experiments.engine.options import Count
from experiments.engine.values import Shown


@dataclasses.dataclass(frozen=True)
class Writing:
    """What is written, and by which net.

    Attributes:
        prompt: the beginning of the text, which the net reads first; by default a line's end.
        length: tokens (characters or words) that the net writes after it.
        temperature: below 1, likely tokens become likelier; 0 takes the likeliest.
        seed: of the draws.
        cell: index of the cell, as results.csv has it.
        replica: seed of the net; by default the study's first.
    """

    prompt: Annotated[str, Shown("TEXT", verbatim=True)] = ""
    length: int = 500
    temperature: Annotated[float, Shown("FLOAT")] = 0.8
    seed: int = 0
    cell: int = 0
    replica: Count = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """Options of `sample`.

    Attributes:
        writing: what is written, and by which net.
    """

    writing: Writing = Writing()


@dataclasses.dataclass(frozen=True)
class Asking:
    """How many answers, by which net.

    Attributes:
        count: words shown.
        cell: index of the cell, as results.csv has it.
        replica: seed of the net; by default the study's first.
    """

    count: int = 10
    cell: int = 0
    replica: Count = None


@dataclasses.dataclass(frozen=True)
class Nearest:
    """Options of `nearest`.

    Attributes:
        asking: how many answers, by which net.
    """

    asking: Asking = Asking()


@dataclasses.dataclass(frozen=True)
class Method:
    """How an analogy is answered.

    Attributes:
        method: add, by the cosine with b - a + c (3CosAdd); mul, by the product of cosines
            (3CosMul).
        top: answers are among so many of the most frequent words.
    """

    method: Literal["add", "mul"] = "add"
    top: int = 30_000


@dataclasses.dataclass(frozen=True)
class Analogy:
    """Options of `analogy`.

    Attributes:
        asking: how many answers, by which net.
        how: how they are found.
    """

    asking: Asking = Asking(count=5)
    how: Method = Method()


@dataclasses.dataclass(frozen=True)
class Exporting:
    """What is written, and where.

    Attributes:
        format: of word2vec's vectors, text or binary.
        out: the file; by default vectors.txt or vectors.bin in the folder.
        cell: index of the cell, as results.csv has it.
        replica: seed of the net; by default the study's first.
    """

    format: Literal["text", "binary"] = "text"
    out: Annotated[str | None, Shown("FILE")] = None
    cell: int = 0
    replica: Count = None


@dataclasses.dataclass(frozen=True)
class Export:
    """Options of `export`.

    Attributes:
        exporting: what is written, and where.
    """

    exporting: Exporting = Exporting()
