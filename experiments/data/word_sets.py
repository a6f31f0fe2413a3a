"""Sets that word vectors are judged by, from the folder `word_eval` of the publishers' files."""

from pathlib import Path

FOLDER = "word_eval"
SIMILARITIES = {"wordsim353": "EN-WS-353-ALL.txt", "simlex999": "EN-SIMLEX-999.txt"}
"""Two words and how alike people found them, separated by tabs (Finkelstein et al. 2001, Hill et
al. 2015, in the files of Faruqui and Dyer 2014)."""
ANALOGIES = "questions-words.txt"
"""Four words a line, sections begin with a colon (Mikolov et al. 2013)."""


def read_sets(manual_dir: Path | None) -> dict[str, list[list[str]]]:
    """The sets that are there.

    Returns:
        Name -> rows of words and, last, a number: of a similarity, how alike they are; of
        "analogies", 1 for a question of syntax and 0 for one of meaning.
    """
    folder, found = Path(manual_dir or ".") / FOLDER, {}
    if manual_dir is None or not folder.is_dir():
        return {}
    for name, file in SIMILARITIES.items():
        if (folder / file).is_file():
            found[name] = [line.split("\t") for line in _lines(folder / file)]
    if (folder / ANALOGIES).is_file():
        found["analogies"] = _questions(_lines(folder / ANALOGIES))
    return found


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if line.strip()]


def _questions(lines: list[str]) -> list[list[str]]:
    questions, kind = [], "0"
    for line in lines:
        if line.startswith(":"):
            kind = "1" if line.split()[1].startswith("gram") else "0"
        else:
            questions.append([*line.split(), kind])
    return questions
