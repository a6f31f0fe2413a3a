"""Sets that word vectors are judged by, from the folder `word_eval` of the publishers' files."""

import re
from collections.abc import Iterator
from pathlib import Path

from experiments.data.files import check_folder, decoded
from experiments.engine.errors import DataMissingError

FOLDER = "word_eval"
SIMILARITIES = {"wordsim353": "EN-WS-353-ALL.txt", "simlex999": "EN-SIMLEX-999.txt"}
"""Two words and how alike people found them, separated by tabs (Finkelstein et al. 2001, Hill et
al. 2015, in the files of Faruqui and Dyer 2014)."""
ANALOGIES = "questions-words.txt"
"""Four words a line, sections begin with a colon (Mikolov et al. 2013)."""
SIMILARITY = re.compile(r"([^\t]+)\t([^\t]+)\t\s*(-?\d*\.?\d+)\s*")


def word_files(manual_dir: Path) -> list[Path]:
    """Where the sets lie, if they are there."""
    return [manual_dir / FOLDER / file for file in (*SIMILARITIES.values(), ANALOGIES)]


def read_sets(manual_dir: Path | None) -> dict[str, list[list[str]]]:
    """The sets that are there.

    Returns:
        Name -> rows of words and, last, a number: of a similarity, how alike they are; of
        "analogies", 1 for a question of syntax and 0 for one of meaning.

    Raises:
        UsageError: there is no such folder.
        DataMissingError: a file is not of the form described above; names its line.
    """
    if manual_dir is None:
        return {}
    check_folder(manual_dir)
    readers = {file: (name, _similarities) for name, file in SIMILARITIES.items()}
    readers[ANALOGIES] = ("analogies", _questions)
    found = {}
    for file, (name, read) in readers.items():
        path = manual_dir / FOLDER / file
        if path.is_file():
            found[name] = read(path)
            if not found[name]:
                raise _malformed(f"{path}: it has no rows")
    return found


def _similarities(path: Path) -> list[list[str]]:
    rows = []
    for where, line in _lines(path):
        fields = SIMILARITY.fullmatch(line)
        if not fields:
            raise _malformed(f"{where}: expected two words and a number with tabs between them")
        rows.append(list(fields.groups()))
    return rows


def _questions(path: Path) -> list[list[str]]:
    questions, kind = [], "0"
    for where, line in _lines(path):
        match line.split():
            case [":", section, *_]:
                kind = "1" if section.startswith("gram") else "0"
            case [_, _, _, _] as words:
                questions.append([*words, kind])
            case _:
                raise _malformed(f"{where}: expected four words, or a colon and a section's name")
    return questions


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line is and what it says; empty ones are passed over."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path}, line {number}"
        if line.strip():
            yield where, decoded(where, line)


def _malformed(what: str) -> DataMissingError:
    return DataMissingError(f"{what}; replace the file by the published one")
