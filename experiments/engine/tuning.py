"""Tuning: what the validation scores choose for each cell, and the curve they form."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from experiments.engine.config import spell
from experiments.engine.jobs import (
    Job,
    make_job,
    part_cells,
    reporting_pairs,
    tuning_jobs,
    tuning_seeds,
)
from experiments.engine.statistics import ROUNDING, Metric
from experiments.engine.study import Study, label
from experiments.engine.wording import count

Done = Mapping[tuple[Any, ...], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What tuning chose for one cell (or one seed of it).

    Attributes:
        values: field -> chosen value.
        at_edge: fields whose choice is at an end of its grid that could be widened.
        curve: per combination of the grid, its spelled values and its validation scores, NaN
            for replicas that diverged.
    """

    values: dict[str, Any]
    at_edge: tuple[str, ...]
    curve: tuple[tuple[dict[str, str], tuple[float, ...]], ...]


def choose(study: Study, metric: Metric, done: Done, cell: int, seed: int | None = None) -> Tuned:
    """The tuned values of a cell by mean validation score; of one seed if given.

    Of values that tie, those win that sit at the edge of the fewest grids, then those listed first.
    """
    seeds = list(tuning_seeds(study)) if seed is None else [seed]
    tune, grid = study.cells[cell].tune, study.cells[cell].grid
    lines = [[done[make_job(study, "tune", cell, tuned, s).key] for s in seeds] for tuned in grid]
    scores = np.array(
        [[recorded(line, f"validation_{metric.name}") for line in row] for row in lines]
    )
    diverged = np.array([[line["status"] == "diverged" for line in row] for row in lines])
    places = best_places(scores, diverged, metric.higher_is_better)
    edges = {at: [name for name in tune if _at_edge(tune[name], grid[at][name])] for at in places}
    best = min(places, key=lambda place: len(edges[place]))
    curve = tuple(
        ({name: spell(value) for name, value in tuned.items()}, tuple(row))
        for tuned, row in zip(grid, np.where(diverged, np.nan, scores).tolist(), strict=True)
    )
    return Tuned(dict(grid[best]), tuple(edges[best]), curve)


def best_places(
    scores: Float[np.ndarray, "grid seeds"],
    diverged: Bool[np.ndarray, "grid seeds"],
    higher_is_better: bool,
) -> list[int]:
    """The places on the grid that have the best mean score: one, or several that tie.

    Diverged is worst: a value with fewer diverged (or non-finite) replicas precedes one with more,
    whatever the others score. What only the rounding of float32 scores tells apart is a tie.

    Args:
        scores: validation metric of each value of the grid.
        diverged: which tuning replicas diverged.
        higher_is_better: direction of the metric.
    """
    lost = diverged | ~np.isfinite(scores)
    survivors = np.maximum((~lost).sum(axis=1), 1)
    mean = np.where(lost, 0.0, scores).sum(axis=1) / survivors
    fewest = lost.sum(axis=1) == lost.sum(axis=1).min()
    behind = (mean[fewest].max() - mean) if higher_is_better else (mean - mean[fewest].min())
    tied = fewest & (behind <= ROUNDING * np.abs(mean[fewest]).max())
    return np.flatnonzero(tied).tolist()


def recorded(line: Mapping[str, Any], name: str) -> float:
    """A recorded number; NaN where the line has none or it was not finite."""
    value = line.get(name)
    return float("nan") if value is None else float(value)


def _at_edge(values: Sequence[Any], value: Any) -> bool:
    """Whether a wider grid could do better: the value is its grid's smallest or largest number.

    A smallest value of 0 (no penalty, no dropout) has nothing beyond it, and neither has a
    choice that is not a number. A tuple is at the edge by its length, or by one of its numbers
    among the tuples that are as long.
    """
    if isinstance(value, tuple):
        tuples = [v for v in values if isinstance(v, tuple)]
        long = [v for v in tuples if len(v) == len(value)]
        columns = [(len(v) for v in tuples), *zip(*long, strict=True)]
        mine = (len(value), *value)
        return any(_at_edge([*each], own) for each, own in zip(columns, mine, strict=True))
    grid = {v for v in values if isinstance(v, int | float) and not isinstance(v, bool)}
    if len(grid) < 2 or value not in grid:
        return False
    return value == max(grid) or (value == min(grid) and value != 0)


def choices(study: Study, metric: Metric, done: Done) -> dict[tuple[int, int | None], Tuned]:
    """What tuning chose, by (cell, None), or by (cell, seed) with `tune_per_seed`.

    Nothing where replicas that choose are missing.
    """
    pairs: list[tuple[int, int | None]] = list(reporting_pairs(study))
    if not study.tune_per_seed:
        pairs = [(cell, None) for cell in part_cells(study)]
    missing = [job for job in tuning_jobs(study) if job.key not in done]
    open_pairs = {(job.cell, job.seed if study.tune_per_seed else None) for job in missing}
    return {
        (cell, seed): choose(study, metric, done, cell, seed)
        for cell, seed in pairs
        if study.cells[cell].tune and (cell, seed) not in open_pairs
    }


def report_jobs(study: Study, chosen: Mapping[tuple[int, int | None], Tuned]) -> list[Job]:
    """The reporting replicas, at the tuned values, as far as those are known."""
    jobs = []
    for cell, seed in reporting_pairs(study):
        tuned = chosen.get((cell, seed)) or chosen.get((cell, None))
        if study.cells[cell].tune and tuned is None:
            continue
        jobs.append(make_job(study, "report", cell, tuned.values if tuned else {}, seed))
    return jobs


def known_reports(study: Study, metrics: Sequence[Metric], done: Done) -> list[Job]:
    """The reporting replicas, once those that tune their cells have finished.

    Args:
        metrics: what is measured, the primary metric first; nothing before training has begun.
    """
    return report_jobs(study, choices(study, metrics[0], done)) if metrics else []


def missing_replicas(study: Study, metrics: Sequence[Metric], done: Done) -> int:
    """How many replicas of both phases have no final line, those that report at what was chosen."""
    tuned = sum(job.key not in done for job in tuning_jobs(study))
    reports = {key for key in done if key[0] == "report"}
    reports -= superseded(known_reports(study, metrics, done), done)
    reported = {(cell, seed) for _, cell, _, seed in reports}
    return tuned + len(set(reporting_pairs(study)) - reported)


def superseded(jobs: Sequence[Job], done: Done) -> set[tuple[Any, ...]]:
    """Those of `done` that reported at another value than `jobs` do: tuning, trained again since,
    gave it up."""
    now = {(job.cell, job.seed): job.key for job in jobs}
    return {key for key in done if key[0] == "report" and now.get((key[1], key[3]), key) != key}


def tuning_text(
    study: Study, chosen: Mapping[tuple[int, int | None], Tuned], metric: Metric, width: int
) -> list[str]:
    """The sensitivity curve of every cell, the chosen value marked, and the budget."""
    if not chosen:
        return []
    runs = len(tuning_jobs(study))
    per = "inside each reporting seed" if study.tune_per_seed else count(study.tune_seeds, "seed")
    fields = ", ".join(dict.fromkeys(name for cell in study.cells for name in cell.tune))
    unit = "%, " if metric.is_fraction else f"{metric.unit}, " if metric.unit else ""
    first = f"Tuned {fields} by mean validation {metric.name} ({unit}{per}; {runs} runs in all):"
    lines = ["", *textwrap.wrap(first, width)]
    for (cell, seed), tuned in chosen.items():
        if seed is None:
            lines += [f"  {label(study, cell)}", *_curve(tuned, metric, width)]
        elif seed == study.first_seed:
            lines += [f"  {label(study, cell)}, seed {seed}", *_curve(tuned, metric, width)]
        elif tuned.at_edge:
            lines.append(f"  {label(study, cell)}, seed {seed}: {_widen(tuned)}")
    return lines


def _widen(tuned: Tuned) -> str:
    return f"at the edge: widen --tune {', '.join(tuned.at_edge)}"


def _curve(tuned: Tuned, metric: Metric, width: int) -> list[str]:
    best = {name: spell(value) for name, value in tuned.values.items()}
    points = []
    for values, scores in tuned.curve:
        finite = [score for score in scores if np.isfinite(score)]
        scale = 100 if metric.is_fraction else 1
        mean = f"{scale * np.mean(finite):.4g}" if finite else "diverged"
        if finite and len(finite) < len(scores):
            mean += f" ({len(scores) - len(finite)} of {len(scores)} diverged)"
        points.append(f"{'/'.join(values.values())}: {mean}{'*' if values == best else ''}")
    if tuned.at_edge:
        points.append(f"({_widen(tuned)})")
    indent = " " * 6
    return textwrap.wrap("   ".join(points), width, initial_indent=indent, subsequent_indent=indent)
