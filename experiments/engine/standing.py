"""How replicas stand while they train: by the latest validation score of each."""

import collections
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.engine.contrasts import summarise
from experiments.engine.log import line_key
from experiments.engine.statistics import Metric, Summary
from experiments.engine.study import Study, label
from experiments.engine.wording import Scale, count, unit_text

ALPHA = 0.05
Lines = Iterable[Mapping[str, Any]]


class Standing(NamedTuple):
    """One cell at one tuned value.

    Attributes:
        cell: its index.
        tuned: field -> value as text.
        summary: over the latest score of each seed, infinite where a replica diverged.
    """

    cell: int
    tuned: Mapping[str, str]
    summary: Summary


def standings(lines: Lines, metric: Metric) -> list[Standing]:
    """Every cell and tuned value that has been evaluated, the best mean first.

    Whatever has a diverged replica comes after everything that has none.
    """
    latest = {line_key(line): line for line in lines if "diverged" in line}
    groups: dict[tuple[Any, ...], list[float]] = collections.defaultdict(list)
    for (_, cell, tuned, _), line in latest.items():
        score = line.get(f"validation_{metric.name}")
        groups[cell, tuned].append(np.inf if score is None or line["diverged"] else score)
    found = [
        Standing(cell, dict(tuned), summarise(np.array(scores), ALPHA))
        for (cell, tuned), scores in groups.items()
    ]
    return sorted(found, key=functools.partial(_rank, metric))


def _rank(metric: Metric, standing: Standing) -> tuple[bool, float]:
    mean = standing.summary.mean
    return mean is None, -metric.direction * (mean or 0.0)


class Board:
    """Remembers the latest score of every replica, so that those trained before count too."""

    def __init__(self, study: Study, metric: Metric, lines: Lines) -> None:
        self._study, self._metric = study, metric
        self._latest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        self._take(lines)

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Takes the lines of one evaluation; says how all replicas of their phase stand."""
        self._take(lines)
        phases = {line["phase"] for line in lines}
        known = [line for line in self._latest.values() if line["phase"] in phases]
        return standing_text(self._study, self._metric, known)

    def _take(self, lines: Lines) -> None:
        self._latest |= {line_key(line): line for line in lines if "diverged" in line}


def standing_text(study: Study, metric: Metric, lines: Sequence[Mapping[str, Any]]) -> str:
    """Of evaluated replicas: how many are alive, and the best cell so far.

    `9 of 10 alive, best activation=relu: validation accuracy 61.2 % [58.0, 64.4] (n 3)`.
    """
    lost = [line["diverged"] for line in lines if "diverged" in line]
    if not lost:
        return ""
    alive, best = f"{lost.count(False)} of {len(lost)} alive", standings(lines, metric)
    if best[0].summary.mean is None:
        return alive
    cell, tuned, summary = best[0]
    spelled = [label(study, cell), *(f"{name}={value}" for name, value in tuned.items())]
    name = f"best {' '.join(spelled)}: " if len(best) > 1 else ""
    scale = Scale(100.0, " %", 1) if metric.is_fraction else Scale(1.0, unit_text(metric), None)
    bounds = f" {scale.interval(summary.interval)}" if summary.interval else ""
    mean = f"{scale.number(summary.mean)}{scale.unit}{bounds} ({count(summary.n, 'seed')})"
    return f"{alive}, {name}validation {metric.name} {mean}"
