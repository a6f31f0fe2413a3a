"""The study folder: the single source of truth that everything shown is derived from.

`study.json` (what was asked, the plan, the looks), `record.json` (where it came from),
`sources.tar.gz`, `metrics.jsonl` (append-only, a line per replica and evaluation),
`results.csv` and `tuning.csv` (a row per replica), `report.txt` and `analysis.json`.
"""

import csv
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from experiments.engine.config import describe
from experiments.engine.errors import UsageError
from experiments.engine.record import write_json
from experiments.engine.study import Study, make_job, specification

FORMAT = 1
HIDDEN_FIELDS = ("phase", "cell", "tuned", "seed", "final", "test_correct", "epoch")
BEGUN = ("lease.json", "study.json.")
"""How the names begin of what a process may leave behind before there is a `study.json`."""
LINE_FIELDS = (*HIDDEN_FIELDS, "step", "status", "diverged_step")
"""What a final line holds beside measured values; the hidden ones are no columns of their own."""


def default_folder(study: Study) -> pathlib.Path:
    """`runs/<experiment>-<name>-<digest>`: the same study, the same folder; another, another."""
    text = json.dumps(specification(study), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return pathlib.Path("runs") / f"{study.experiment.name}-{study.name}-{digest}"


def folder_of(study: Study, out: str | pathlib.Path | None) -> pathlib.Path:
    """The folder asked for, or the study's default one."""
    return default_folder(study) if out is None else pathlib.Path(out).expanduser()


def read_study(folder: pathlib.Path) -> dict[str, Any]:
    """`study.json` of a folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = folder / "study.json"
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    try:
        contents = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a study folder: it has no study.json") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    if not isinstance(contents, dict):
        raise UsageError(f"{path} is damaged: it holds no study")
    return contents


def claim_folder(folder: pathlib.Path, study: Study) -> dict[str, Any]:
    """Looks whether a folder is free for a study, or holds the same one. Writes nothing.

    Returns:
        The contents of `study.json`; empty "programs" and "looks" in a new folder.

    Raises:
        UsageError: the folder holds another study, or something else.
    """
    wanted = specification(study)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another --out")
    present = [path.name for path in folder.iterdir()] if folder.exists() else []
    if "study.json" not in present:
        if leftover := [name for name in present if not name.startswith(BEGUN)]:
            raise UsageError(
                f"{folder} is not empty and not a study ({leftover[0]}); choose another --out"
            )
        return {"format": FORMAT, **wanted, "programs": [], "looks": []}
    found = read_study(folder)
    different = [name for name in wanted if found.get(name) != wanted[name]]
    if different:
        raise UsageError(
            f"{folder} holds another study ({_difference(found, wanted, different[0])}); "
            "choose another --out"
        )
    return found


def make_folder(folder: pathlib.Path) -> None:
    """Makes the folder of a study.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}; choose another --out"
        ) from None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> str:
    old, new = found.get(name), wanted[name]
    if isinstance(old, dict) and isinstance(new, dict):
        name = next(key for key in {**old, **new} if old.get(key) != new.get(key))
        old, new = (values.get(name, "varied or tuned") for values in (old, new))
    return f"{name}: {old} there, {new} here"


class Log:
    """Appends to `metrics.jsonl`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._stream = (folder / "metrics.jsonl").open("a")

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, lines: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
        """Writes lines in one go; `durable` ones are on the disk when it returns."""
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        self._stream.write(text)
        self._stream.flush()
        if durable:
            os.fsync(self._stream.fileno())


def read_lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The whole lines of `metrics.jsonl`; a torn last line is left out."""
    try:
        text = (folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def line_key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which replica a line belongs to: `Job.key`."""
    return line["phase"], line["cell"], tuple(line["tuned"].items()), line["seed"]


def finished(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The final line of every replica that has one."""
    return {line_key(line): dict(line) for line in lines if line.get("final")}


def drop_unfinished(folder: pathlib.Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rewrites `metrics.jsonl` without the lines of replicas that did not finish.

    They are trained again from their first step, so nothing is recorded twice.
    """
    lines = read_lines(folder)
    done = finished(lines)
    path = folder / "metrics.jsonl"
    kept = [line for line in lines if line_key(line) in done]
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept)
    if path.exists() and path.read_text() != text:
        partial = path.with_name("metrics.jsonl.partial")
        partial.write_text(text)
        partial.replace(path)
    return done


def write_results(
    folder: pathlib.Path, study: Study, done: Mapping[Any, Mapping[str, Any]]
) -> None:
    """Writes `results.csv` (reporting replicas) and, if any, `tuning.csv`."""
    for phase, name in (("report", "results.csv"), ("tune", "tuning.csv")):
        rows = [
            _row(study, line)
            for key, line in sorted(done.items(), key=lambda item: _order(item[0]))
            if key[0] == phase
        ]
        if rows:
            write_csv(folder / name, rows)


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return key[1], key[2], key[3]


def _row(study: Study, line: Mapping[str, Any]) -> dict[str, Any]:
    job = make_job(study, line["phase"], line["cell"], {}, line["seed"])
    config = describe(job.config) | line["tuned"]
    measured = {name: value for name, value in line.items() if name not in HIDDEN_FIELDS}
    levels = study.cells[line["cell"]].levels
    return {"cell": line["cell"], **levels, "seed": line["seed"], **config, **measured}


def write_csv(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows atomically; columns are the union of the rows' keys in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(buffer.getvalue())
    partial.replace(path)


def write_study(folder: pathlib.Path, contents: Mapping[str, Any]) -> None:
    """Writes `study.json`."""
    write_json(folder / "study.json", contents)
