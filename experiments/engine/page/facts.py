"""Everything a page shows, read from a study folder; nothing is computed twice."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.jobs import Job, reporting_pairs, tuning_jobs
from experiments.engine.lease import is_held
from experiments.engine.log import damaged_lines, finished, line_key, read_lines
from experiments.engine.reopen import Reopened
from experiments.engine.results import Answer
from experiments.engine.sealed import read_json
from experiments.engine.statistics import Metric
from experiments.engine.study import Study, label
from experiments.engine.tuning import known_reports, missing_replicas

Lines = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a folder holds.

    Attributes:
        folder: where it is.
        study: what was asked.
        metrics: what is measured, the primary metric first; empty before training has begun.
        answer: what it says so far; None while no replica has finished.
        lines: every sound line of `metrics.jsonl` that belongs to a replica of the study.
        finals: the final line of every finished reporting replica.
        wanted: how many replicas the study has, those that tune included.
        missing: how many of them have not finished.
        state: "finished", "training" (a process works on it now), "unfinished", "not begun".
        damaged: lines of `metrics.jsonl` that cannot be read.
        record: where the study came from; empty where `record.json` cannot be read.
        contents: `study.json`.
        pictures: cell -> files.
    """

    folder: pathlib.Path
    study: Study
    metrics: Sequence[Metric]
    answer: Answer | None
    lines: Lines
    finals: Lines
    wanted: int
    missing: int
    state: str
    damaged: int
    record: Mapping[str, Any]
    contents: Mapping[str, Any]
    pictures: Mapping[int, Sequence[pathlib.Path]]

    @property
    def metric(self) -> str:
        """The name of the primary metric; "" before training has begun."""
        return next((metric.name for metric in self.metrics), "")

    @property
    def labels(self) -> list[str]:
        """The cells' names, in their order."""
        return [label(self.study, i) for i in range(len(self.study.cells))]


def read_facts(opened: Reopened, width: int = 100) -> Facts:
    """Reads a folder as it is now, also while it trains.

    Args:
        width: columns of the answer as text.
    """
    folder, study, lines = opened.folder, opened.study, read_lines(opened.folder)
    done = finished(lines)
    jobs = known_reports(study, opened.metrics, done)
    missing = missing_replicas(study, opened.metrics, done)
    return Facts(
        folder=folder,
        study=study,
        metrics=opened.metrics,
        answer=opened.answer(lines, width),
        lines=_current(lines, jobs),
        finals=[done[job.key] for job in jobs if job.key in done],
        wanted=len(tuning_jobs(study)) + len(reporting_pairs(study)),
        missing=missing,
        state=_state(folder, missing, begun=bool(lines)),
        damaged=damaged_lines(folder),
        record=_record(folder),
        contents=opened.contents,
        pictures=_pictures(folder),
    )


def _current(lines: Lines, jobs: Sequence[Job]) -> Lines:
    """Without reporting replicas that are none now: of more seeds, or of a value tuning gave up."""
    keys = {job.key for job in jobs}
    known = [line for line in lines if line["phase"] != "report" or line_key(line) in keys]
    return known if keys else lines


def _state(folder: pathlib.Path, missing: int, begun: bool) -> str:
    if is_held(folder):
        return "training"
    if not missing:
        return "finished"
    return "unfinished" if begun else "not begun"


def _record(folder: pathlib.Path) -> Mapping[str, Any]:
    try:
        return read_json(folder / "record.json")
    except (OSError, ValueError):
        return {}


def _pictures(folder: pathlib.Path) -> dict[int, list[pathlib.Path]]:
    found: dict[int, list[pathlib.Path]] = {}
    for path in sorted((folder / "pictures").glob("cell_*/*.png")):
        number = path.parent.name.removeprefix("cell_")
        if number.isdigit():
            found.setdefault(int(number), []).append(path)
    return dict(sorted(found.items()))
