"""`results.csv` and `tuning.csv`: a row per replica, made from its final line."""

import csv
import io
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from experiments.engine.config import describe
from experiments.engine.jobs import make_job, reporting_pairs
from experiments.engine.sealed import write_text
from experiments.engine.study import Study

HIDDEN_FIELDS = ("phase", "cell", "tuned", "seed", "final", "lines", "test_correct")
LINE_FIELDS = (*HIDDEN_FIELDS, "step", "status", "diverged_step", "kept_step", "parameters_sha256")
"""What a final line holds beside measured values; the hidden ones are no columns of their own."""


def write_results(
    folder: pathlib.Path, study: Study, done: Mapping[Any, Mapping[str, Any]]
) -> None:
    """Writes `results.csv` (reporting replicas) and, if any, `tuning.csv`.

    Replicas of more seeds than the study has now, from before, are left out.
    """
    pairs = {*reporting_pairs(study)}
    for phase, name in (("report", "results.csv"), ("tune", "tuning.csv")):
        rows = [
            row_of(study, line)
            for key, line in sorted(done.items(), key=lambda item: _order(item[0]))
            if key[0] == phase and (phase == "tune" or (line["cell"], line["seed"]) in pairs)
        ]
        if rows:
            write_csv(folder / name, rows)


def read_results(folder: pathlib.Path) -> dict[tuple[int, int], dict[str, str]]:
    """The rows of `results.csv` by (cell, seed); none where it is missing or no such table."""
    try:
        with (folder / "results.csv").open(newline="") as stream:
            return {(int(row["cell"]), int(row["seed"])): row for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return key[1], key[2], key[3]


def row_of(study: Study, line: Mapping[str, Any]) -> dict[str, Any]:
    """A replica's row: its cell, levels, seed, every field of its config, what was measured.

    A config field whose name another column has, such as the `cell` of recurrent nets, stands in
    the column `config_cell`.
    """
    job = make_job(study, line["phase"], line["cell"], {}, line["seed"])
    config = describe(job.config) | line["tuned"]
    measured = {name: value for name, value in line.items() if name not in HIDDEN_FIELDS}
    levels = study.cells[line["cell"]].levels
    taken = {"cell", "seed", *LINE_FIELDS, *measured}
    row = {"cell": line["cell"]} | _renamed(levels, taken) | {"seed": line["seed"]}
    return row | _renamed(config, taken) | measured


def _renamed(fields: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    return {f"config_{name}" if name in taken else name: v for name, v in fields.items()}


def write_csv(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows atomically; columns are the union of the rows' keys in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def contradiction(study: Study, line: Mapping[str, Any], row: Mapping[str, str] | None) -> str:
    """Where `results.csv` does not hold what `metrics.jsonl` does; "" where it agrees.

    Fields that the config has gained since the table was written are not in it.
    """
    if row is None:
        return ""
    wanted = {name: "" if v is None else str(v) for name, v in row_of(study, line).items()}
    known = {*row, *line}
    wrong = [name for name, text in wanted.items() if name in known and row.get(name) != text]
    return f"results.csv records another {wrong[0]} than metrics.jsonl" if wrong else ""
