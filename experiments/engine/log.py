"""`metrics.jsonl`: append-only, one sealed line per replica and evaluation, a final one each."""

import collections
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from experiments.engine.sealed import open_line, seal_line, write_text


class Log:
    """Appends sealed lines to `metrics.jsonl`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._path = folder / "metrics.jsonl"
        self._stream = self._path.open("ab", buffering=0)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, lines: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
        """Writes lines in one go; `durable` ones are on the disk when it returns."""
        content = "".join(seal_line(line) + "\n" for line in lines).encode()
        while content:
            content = content[self._stream.write(content) :]
        if durable:
            os.fsync(self._stream.fileno())

    def sync(self) -> None:
        """Waits until everything written is on the disk."""
        os.fsync(self._stream.fileno())

    def counts(self) -> collections.Counter[tuple[Any, ...]]:
        """How many sound lines every replica has beside its final one."""
        lines = read_lines(self._path.parent)
        return collections.Counter(line_key(line) for line in lines if not line.get("final"))

    def rewind(self, keys: Collection[tuple[Any, ...]], epochs: int) -> None:
        """Takes back what replicas recorded after `epochs` epochs, and that they finished."""
        lines = read_lines(self._path.parent)
        self._rewrite([
            line for line in lines
            if line_key(line) not in keys or (not line.get("final") and line["epoch"] <= epochs)
        ])  # fmt: skip

    def keep(self, keys: Collection[tuple[Any, ...]]) -> None:
        """Drops the lines of all other replicas, and lines that are torn or damaged."""
        self._rewrite([line for line in read_lines(self._path.parent) if line_key(line) in keys])

    def drop_finals(self) -> None:
        """Makes every replica an unfinished one."""
        lines = read_lines(self._path.parent)
        self._rewrite([line for line in lines if not line.get("final")])

    def _rewrite(self, lines: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(seal_line(line) + "\n" for line in lines)
        if text.encode() == self._path.read_bytes():
            return
        write_text(self._path, text)
        self._stream.close()
        self._stream = self._path.open("ab", buffering=0)


def read_lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The sound lines of `metrics.jsonl`, each once; torn or damaged ones are left out."""
    return [record for record in map(open_line, _texts(folder)) if record is not None]


def damaged_lines(folder: pathlib.Path) -> int:
    """How many lines of `metrics.jsonl` are torn or damaged."""
    return sum(open_line(text) is None for text in _texts(folder))


def _texts(folder: pathlib.Path) -> list[str]:
    try:
        content = (folder / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    texts = content.decode("utf-8", "replace").split("\n")
    return [text for text in dict.fromkeys(texts) if text]


def line_key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which replica a line belongs to: `Job.key`."""
    return line["phase"], line["cell"], tuple(line["tuned"].items()), line["seed"]


def finished(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The final line of every replica whose lines are all there, as that line counts them."""
    counts, finals = collections.Counter[tuple[Any, ...]](), {}
    for line in lines:
        if line.get("final"):
            finals[line_key(line)] = dict(line)
        else:
            counts[line_key(line)] += 1
    return {key: line for key, line in finals.items() if counts[key] == line["lines"]}
