"""From recorded lines to answers: tuned values, the grid of results, the analysis, the text."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.data.dataset import Dataset
from experiments.engine.analysis import analyse, to_json
from experiments.engine.config import nearest, spell
from experiments.engine.errors import UsageError
from experiments.engine.folder import finished
from experiments.engine.record import write_json
from experiments.engine.statistics import Analysis, Grid, Metric, select
from experiments.engine.study import (
    Job,
    Study,
    cells,
    factors,
    label,
    make_job,
    reporting_seeds,
    tuning_jobs,
    tuning_seeds,
)
from experiments.engine.text import render, render_exploratory
from experiments.engine.verdicts import diagnosis_text

Done = Mapping[tuple[Any, ...], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What tuning chose for one cell (or one seed of it).

    Attributes:
        values: field -> chosen value.
        at_edge: fields whose choice is at an end of its grid that could be widened.
        curve: per combination of the grid, its spelled values and its validation scores.
    """

    values: dict[str, Any]
    at_edge: tuple[str, ...]
    curve: tuple[tuple[dict[str, str], tuple[float, ...]], ...]


def metrics(study: Study, dataset: Dataset) -> list[Metric]:
    """What is measured on the test split, the primary metric first.

    Raises:
        UsageError: the experiment measures nothing of that name.
    """
    examples = len(next(iter(dataset.splits["test"].values())))
    known = {
        metric.name: dataclasses.replace(metric, examples=examples)
        for metric in study.experiment.metrics(study.config, dataset.spec)
    }
    name = study.metric or next(iter(known))
    if name not in known:
        raise UsageError(f"--metric {name}: {nearest(name, known)}")
    return [known.pop(name), *known.values()]


def choose(study: Study, metric: Metric, done: Done, cell: int, seed: int | None = None) -> Tuned:
    """The tuned values of a cell by mean validation score; of one seed if given."""
    seeds = list(tuning_seeds(study)) if seed is None else [seed]
    tune, grid = cells(study)[cell].tune, cells(study)[cell].grid
    lines = [[done[make_job(study, "tune", cell, tuned, s).key] for s in seeds] for tuned in grid]
    scores = np.array(
        [[_score(line, f"validation_{metric.name}") for line in row] for row in lines]
    )
    diverged = np.array([[line["status"] == "diverged" for line in row] for row in lines])
    best, _ = select(scores, metric.higher_is_better, diverged)
    at_edge = [name for name in tune if _at_edge(tune[name], grid[best][name])]
    curve = tuple(
        ({name: spell(value) for name, value in tuned.items()}, tuple(row))
        for tuned, row in zip(grid, scores.tolist(), strict=True)
    )
    return Tuned(dict(grid[best]), tuple(at_edge), curve)


def _score(line: Mapping[str, Any], name: str) -> float:
    value = line.get(name)
    return float("nan") if value is None else float(value)


def _at_edge(values: Sequence[Any], value: Any) -> bool:
    """Whether a wider grid could do better: the value is its grid's smallest or largest number.

    A smallest value of 0 (no penalty, no dropout) has nothing beyond it, and neither has a
    choice that is not a number.
    """
    grid = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(grid) < 2 or value not in grid:
        return False
    return value == max(grid) or (value == min(grid) and value != 0)


def choices(study: Study, metric: Metric, done: Done) -> dict[tuple[int, int | None], Tuned]:
    """What tuning chose, by (cell, None), or by (cell, seed) with `tune_per_seed`."""
    seeds: Sequence[int | None] = reporting_seeds(study) if study.tune_per_seed else [None]
    return {
        (cell, seed): choose(study, metric, done, cell, seed)
        for cell, point in enumerate(cells(study))
        if point.tune
        for seed in seeds
    }


def report_jobs(study: Study, chosen: Mapping[tuple[int, int | None], Tuned]) -> list[Job]:
    """The reporting replicas, at the tuned values."""
    jobs = []
    for cell in range(len(cells(study))):
        for seed in reporting_seeds(study):
            tuned = chosen.get((cell, seed)) or chosen.get((cell, None))
            jobs.append(make_job(study, "report", cell, tuned.values if tuned else {}, seed))
    return jobs


def make_grid(study: Study, jobs: Sequence[Job], done: Done, column: str) -> Grid:
    """One column of the results as [cells, seeds]; NaN where a replica has not finished."""
    shape = (len(cells(study)), study.seeds)
    values, diverged = np.full(shape, np.nan), np.zeros(shape, bool)
    for job in jobs:
        line = done.get(job.key)
        if line is not None:
            values[job.cell, job.seed - study.first_seed] = _score(line, column)
            diverged[job.cell, job.seed - study.first_seed] = line["status"] == "diverged"
    levels = tuple(tuple(cell.levels.values()) for cell in cells(study))
    return Grid(factors(study), levels, tuple(reporting_seeds(study)), values, diverged)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a study says: the analysis of its primary metric, and the text a terminal shows."""

    analysis: Analysis
    text: str


def answer(
    study: Study,
    metrics: Sequence[Metric],
    lines: Sequence[Mapping[str, Any]],
    looks: int,
    width: int = 100,
) -> Answer:
    """Analyses the reporting replicas among the lines recorded so far."""
    metric, done = metrics[0], finished(lines)
    tuned_done = all(job.key in done for job in tuning_jobs(study))
    chosen = choices(study, metric, done) if tuned_done else {}
    jobs = report_jobs(study, chosen) if tuned_done else []
    edges = sorted({cell for (cell, _), tuned in chosen.items() if tuned.at_edge})
    grid = make_grid(study, jobs, done, f"test_{metric.name}")
    analysis = analyse(grid, metric, margin=study.margin, looks=looks, edge_cells=tuple(edges))
    others = [
        analyse(make_grid(study, jobs, done, column), other, looks=looks, exploratory=True)
        for other, column in _exploratory(metrics)
    ]
    train = make_grid(study, jobs, done, f"train_{metric.name}").values
    extra = {"train": _means(train), "gap": _means(train - grid.values)}
    parts = [study.question] * bool(study.question) + [
        render(analysis, width=width, extra=extra),
        render_exploratory(others, width=width),
    ]
    parts += tuning_text(study, chosen, metric)
    parts += diagnosis_text(lines, lambda cell: label(study, cell))
    return Answer(analysis, "\n".join(parts))


def _means(values: np.ndarray) -> list[float | None]:
    known = [row[np.isfinite(row)] for row in values]
    return [float(row.mean()) if len(row) else None for row in known]


def _exploratory(metrics: Sequence[Metric]) -> list[tuple[Metric, str]]:
    """Every metric but the primary one, and the primary one on the training rows."""
    train = dataclasses.replace(metrics[0], name=f"train {metrics[0].name}")
    return [
        *((metric, f"test_{metric.name}") for metric in metrics[1:]),
        (train, f"train_{metrics[0].name}"),
    ]


def tuning_text(
    study: Study, chosen: Mapping[tuple[int, int | None], Tuned], metric: Metric
) -> list[str]:
    """The sensitivity curve of every cell, the chosen value marked, and the budget."""
    if not chosen:
        return []
    runs = len(tuning_jobs(study))
    per = "inside each reporting seed" if study.tune_per_seed else f"{study.tune_seeds} seeds"
    fields = ", ".join(dict.fromkeys(name for cell in cells(study) for name in cell.tune))
    lines = ["", f"Tuned {fields} by validation {metric.name}, {per}: {runs} runs in all."]
    scale, unit = (100, " %") if metric.is_fraction else (1, "")
    for (cell, seed), tuned in chosen.items():
        if seed not in (None, study.first_seed):
            continue
        best = {name: spell(value) for name, value in tuned.values.items()}
        points = []
        for values, scores in tuned.curve:
            mark = "*" if values == best else ""
            text = "/".join(values.values())
            finite = [s for s in scores if np.isfinite(s)]
            mean = f"{scale * np.mean(finite):.4g}" if finite else "diverged"
            points.append(f"{text}: {mean}{mark}")
        edge = f"  (at the edge: widen --tune {tuned.at_edge[0]}=)" if tuned.at_edge else ""
        lines.append(f"  {label(study, cell)}  {'  '.join(points)}{unit}{edge}")
    return lines


def save(folder: pathlib.Path, result: Answer) -> None:
    """Writes `analysis.json` and `report.txt`."""
    write_json(folder / "analysis.json", to_json(result.analysis))
    (folder / "report.txt").write_text(result.text + "\n")
