"""From recorded lines to answers: tuned values, the grid of results, the analysis, the text."""

import dataclasses
import hashlib
import json
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine.analysis import analyse, to_json
from experiments.engine.config import nearest
from experiments.engine.errors import UsageError
from experiments.engine.examples import (
    Crossed,
    cells_crossed,
    contrasts_crossed,
    right_examples,
)
from experiments.engine.jobs import Job, reporting_seeds
from experiments.engine.log import finished
from experiments.engine.measures import measures_text, others_text
from experiments.engine.pairing import score
from experiments.engine.parameters import DIGEST
from experiments.engine.sealed import read_json, write_json, write_text
from experiments.engine.statistics import Analysis, Grid, Interval, Metric
from experiments.engine.study import Part, Study, factors, label
from experiments.engine.tables import LINE_FIELDS
from experiments.engine.text import examples_text, render, render_exploratory
from experiments.engine.tuning import (
    Done,
    Tuned,
    choices,
    recorded,
    report_jobs,
    tuning_text,
)
from experiments.engine.verdicts import diagnosis_text


def metrics(study: Study, parts: Sequence[tuple[Any, Dataset]]) -> list[Metric]:
    """What is measured on the test split, the primary metric first.

    Args:
        parts: static config and data set of each program.

    Raises:
        UsageError: the experiment measures nothing of that name, cells cannot be compared
            because other things are measured of them or guessing scores differently on their data
            sets, or everything is within the margin.
    """
    datasets = [dataset for _, dataset in parts]
    measured = {tuple(study.experiment.metrics(static, data.spec)) for static, data in parts}
    if len(named := {tuple((m.name, m.higher_is_better) for m in each) for each in measured}) > 1:
        sets = "; ".join(sorted(", ".join(name for name, _ in each) for each in named))
        raise UsageError(
            f"the cells' metrics differ ({sets}), or whether higher is better, so their results "
            "cannot be compared: let `metrics` give the same for every config, or give each a "
            "study of its own"
        )
    if len(measured) > 1:
        names = ", ".join(sorted({dataset.name for dataset in datasets}))
        raise UsageError(
            f"the cells' data ({names}) have different scores of guessing, so their results "
            "cannot be compared; give each data set a study of its own"
        )
    examples = min(map(study.experiment.examples, datasets))
    known = {
        metric.name: dataclasses.replace(metric, examples=examples)
        for metric in next(iter(measured))
    }
    name = study.metric or next(iter(known))
    if name not in known:
        raise UsageError(f"--metric {name}: {nearest(name, known)}")
    if study.margin is not None and known[name].is_fraction and study.margin >= 1:
        raise UsageError(
            f"--margin {study.margin:g}: {name} is a fraction, of which no two differ by more than "
            "1; 0.01 is one percentage point"
        )
    return [known.pop(name), *known.values()]


def make_grid(study: Study, jobs: Sequence[Job], done: Done, column: str) -> Grid:
    """One column of the results as [cells, seeds]; NaN where a replica has not finished.

    A finished replica whose number is not finite counts as diverged.
    """
    shape = (len(study.cells), study.seeds)
    values, diverged = np.full(shape, np.nan), np.zeros(shape, bool)
    for job in jobs:
        line = done.get(job.key)
        if line is not None:
            values[job.cell, job.seed - study.first_seed] = recorded(line, column)
            lost = line["status"] == "diverged" or line.get(column, 0) is None
            diverged[job.cell, job.seed - study.first_seed] = lost
    levels = tuple(tuple(cell.levels.values()) for cell in study.cells)
    return Grid(factors(study), levels, tuple(reporting_seeds(study)), values, diverged)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a study says.

    Attributes:
        analysis: of the primary metric.
        text: what a terminal shows.
        exploratory: of every other metric.
        extra: "train" and "gap" -> per cell, the mean of the primary metric on the training rows,
            and by how much it is larger there than on the test rows.
        chosen: what tuning chose, by (cell, None), or by (cell, seed).
        measures: what else was measured -> per cell its mean over seeds.
        crossed: the contrasts over seeds and test examples.
        cells_crossed: per cell its interval over seeds and test examples.
    """

    analysis: Analysis
    text: str
    exploratory: tuple[Analysis, ...]
    extra: Mapping[str, Sequence[float | None]]
    chosen: Mapping[tuple[int, int | None], Tuned]
    measures: Mapping[str, Sequence[float | None]]
    crossed: tuple[Crossed, ...]
    cells_crossed: tuple[Interval | None, ...]


def answer(
    study: Study,
    metrics: Sequence[Metric],
    lines: Sequence[Mapping[str, Any]],
    looks: int,
    width: int = 100,
) -> Answer:
    """Analyses the reporting replicas among the lines recorded so far.

    Args:
        looks: how often the finished study has been looked at, this time included; 0 while it
            trains for the first time, which supports no verdict: peeking is not a look.
    """
    metric, done = metrics[0], finished(lines)
    chosen = choices(study, metric, done)
    jobs = report_jobs(study, chosen)
    edges = sorted({cell for (cell, _), tuned in chosen.items() if tuned.at_edge})
    grid = make_grid(study, jobs, done, f"test_{metric.name}")
    some_seeds = study.part.seeds is not None  # looks at parts would not be counted
    early, looks = not looks, max(looks, 1)
    copied = _copied(jobs, done, f"test_{metric.name}")
    analysis = analyse(
        grid, metric, margin=study.margin, looks=looks, edge_cells=tuple(edges),
        copied_cells=copied, exploratory=early or some_seeds,
    )  # fmt: skip
    others = [
        analyse(
            make_grid(study, jobs, done, column), other, looks=looks, copied_cells=copied,
            exploratory=True,
        )
        for other, column in _exploratory(metrics)
    ]  # fmt: skip
    trained = make_grid(study, jobs, done, f"train_{metric.name}")
    extra = _beside(score(trained, metric).values, score(grid, metric).values, metric.direction)
    parts = [*_heading(study, width, early=early), render(analysis, width=width, extra=extra)]
    parts += others_text(others[:-1], width)  # the last is the primary one on the training rows
    parts += [text] if (text := render_exploratory(others, width=width)) else []
    correct = right_examples(metric, jobs, done)
    crossed = contrasts_crossed(grid, analysis, correct)
    parts += examples_text(analysis, crossed, width)
    measures = further_measures(study, jobs, done, metrics)
    parts += measures_text(study, jobs, measures, width)
    parts += tuning_text(study, chosen, metric, width)
    parts += diagnosis_text(lines, lambda cell: label(study, cell))
    return Answer(
        analysis, "\n".join(parts), tuple(others), extra, chosen, measures, crossed,
        cells_crossed(grid, analysis, correct),
    )  # fmt: skip


def _heading(study: Study, width: int, *, early: bool) -> list[str]:
    """The question, and why there is no verdict where there cannot be one yet."""
    text = textwrap.wrap(study.question, width)
    if study.part != Part():
        lack = " There is no verdict on some of the seeds." if study.part.seeds is not None else ""
        text += textwrap.wrap(
            f"Part of a study: `merge` joins the folders of all parts.{lack}", width
        )
    if early:
        text += textwrap.wrap("The study has not finished: no verdict until it has.", width)
    return text


def _copied(jobs: Sequence[Job], done: Done, column: str) -> tuple[int, ...]:
    """Cells of which several seeds have finished, all with the same parameters and score."""
    found: dict[int, list[Any]] = {}
    for job in jobs:
        line = done.get(job.key, {})
        if DIGEST in line:
            found.setdefault(job.cell, []).append((line[DIGEST], line.get(column)))
    return tuple(cell for cell, same in found.items() if len(same) > 1 == len(set(same)))


def _means(values: np.ndarray) -> list[float | None]:
    """Per row the mean of what is there; none of nothing, nor with a diverged replica that no
    number stands for."""
    known = [row[~np.isnan(row)] for row in values]
    return [float(row.mean()) if len(row) and np.isfinite(row).all() else None for row in known]


def _beside(train: np.ndarray, test: np.ndarray, direction: int) -> dict[str, list[float | None]]:
    """The means on the training rows, and by how much each cell is worse on the test rows."""
    means = _means(train)
    pairs = zip(means, _means(test), strict=True)
    gaps = [None if a is None or b is None else direction * (a - b) for a, b in pairs]
    return {"train": means, "gap": gaps}


def _exploratory(metrics: Sequence[Metric]) -> list[tuple[Metric, str]]:
    """Every metric but the primary one, and the primary one on the training rows."""
    train = dataclasses.replace(metrics[0], name=f"train {metrics[0].name}")
    return [
        *((metric, f"test_{metric.name}") for metric in metrics[1:]),
        (train, f"train_{metrics[0].name}"),
    ]


def further_measures(
    study: Study, jobs: Sequence[Job], done: Done, metrics: Sequence[Metric]
) -> dict[str, list[float | None]]:
    """What the experiment measured beside its metrics -> per cell the mean over seeds."""
    scored = {f"{s}_{m.name}" for s in ("train", "validation", "test") for m in metrics}
    known = {*LINE_FIELDS, *scored}
    lines = [done[job.key] for job in jobs if job.key in done]
    names = [name for name in dict.fromkeys(n for line in lines for n in line) if name not in known]
    return {name: _means(_with_losses(make_grid(study, jobs, done, name))) for name in names}


def _with_losses(grid: Grid) -> np.ndarray:
    """A column's values, infinite where a replica has finished without a number."""
    return np.where(grid.diverged & np.isnan(grid.values), np.inf, grid.values)


REPORT = "report_sha256"
"""What `study.json` calls the digest of `report.txt`, whose lines are as wide as a terminal was."""


def save(folder: pathlib.Path, result: Answer) -> None:
    """Writes `analysis.json` and `report.txt`."""
    write_json(folder / "analysis.json", to_json(result.analysis))
    write_text(folder / "report.txt", _report(result))


def _report(result: Answer) -> str:
    return result.text + "\n"


def digests(result: Answer) -> dict[str, str]:
    """What `study.json` notes of what `save` writes."""
    return {REPORT: hashlib.sha256(_report(result).encode()).hexdigest()}


def saved_otherwise(folder: pathlib.Path, contents: Mapping[str, Any], analysis: Analysis) -> str:
    """Which of the files that `save` wrote does not hold this analysis, or is lost; "" if none.

    Args:
        contents: of `study.json`; those of older folders say nothing of `report.txt`.
    """
    try:
        saved = read_json(folder / "analysis.json")
    except (OSError, ValueError):
        return "analysis.json"
    if saved != json.loads(json.dumps(to_json(analysis))):
        return "analysis.json"
    try:
        digest = hashlib.sha256((folder / "report.txt").read_bytes()).hexdigest()
    except OSError:
        return "report.txt"
    return "report.txt" if digest != contents.get(REPORT, digest) else ""
