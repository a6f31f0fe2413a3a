"""Intervals over seeds and test examples: would a difference stand on another test set, too?

Seeds alone say what training again does; the test set stays the same. Its examples are a sample as
well, and final lines say which of them each net got right.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

from experiments.engine.contrasts import Rules
from experiments.engine.jobs import Job
from experiments.engine.lines import unpack_bits
from experiments.engine.pairing import Pairing, pair, pairings
from experiments.engine.statistics import (
    MINIMUM_SEEDS,
    Analysis,
    Contrast,
    Grid,
    Interval,
    Metric,
)

Correct = Mapping[tuple[int, int], np.ndarray]
"""(cell, seed) -> bool of each test example."""
SAME = 1e-6
"""Largest difference between a score as recorded and the share of right examples."""


@dataclasses.dataclass(frozen=True)
class Crossed:
    """A contrast over seeds and test examples.

    Attributes:
        contrast: the same over seeds.
        interval: of the difference, level minus reference, at the level of the contrast's own.
        share: of the variance of the estimate, what the choice of test examples adds.
        seeds, examples: how many there are.
    """

    contrast: Contrast
    interval: Interval
    share: float
    seeds: int
    examples: int


def crossed_interval(
    differences: Float[np.ndarray, "seeds examples"], alpha: float
) -> tuple[Interval, float]:
    """The 1 - alpha interval of the mean, for new seeds and new examples, and the latter's share.

    Seeds and examples are crossed random effects: d = mean + seed + example + rest. The variance of
    the mean of S x N differences is that of the S row means over S, plus what the N column means
    vary more than the rest explains, over N (analysis of variance; Searle, Casella & McCulloch
    1992, Variance Components). Its degrees of freedom are Satterthwaite's (1946).

    Args:
        differences: at least 2 x 2.
    """
    seeds, examples = differences.shape
    rows, columns = differences.mean(axis=1), differences.mean(axis=0)
    mean = float(rows.mean())
    rest = differences - rows[:, None] - columns + mean
    within = float((rest**2).sum()) / ((seeds - 1) * (examples - 1)) / (seeds * examples)
    by_seeds = float(rows.var(ddof=1)) / seeds
    by_examples = max(float(columns.var(ddof=1)) / examples - within, 0.0)
    variance = by_seeds + by_examples
    if variance == 0:
        return (mean, mean), 0.0
    freedom = variance**2 / (by_seeds**2 / (seeds - 1) + by_examples**2 / (examples - 1))
    half = float(scipy.stats.t.isf(alpha / 2, freedom)) * math.sqrt(variance)
    return (mean - half, mean + half), by_examples / variance


def right_examples(
    metric: Metric, jobs: Sequence[Job], done: Mapping[Any, Mapping[str, Any]]
) -> Correct:
    """Which test examples each reporting replica got right.

    Nothing of those whose final lines do not say it, whose score is not the share of right
    examples, or whose test set has another size than the metric's.
    """
    return {
        (job.cell, job.seed): bits
        for job in jobs
        if (bits := _right(done.get(job.key, {}), metric)) is not None
    }


def contrasts_crossed(grid: Grid, analysis: Analysis, correct: Correct) -> tuple[Crossed, ...]:
    """Every contrast that has an interval over five seeds or more, simple effects first.

    Args:
        grid: the results that were analysed.
    """
    simple = [(pair(grid, c.factor, c.level, c.within), c) for c in analysis.simple_effects]
    families = [simple, list(zip(pairings(grid), analysis.contrasts, strict=True))]
    asked = analysis.margin, analysis.looks, analysis.exploratory
    rules, found = Rules(1 - analysis.confidence, *asked, frozenset()), []
    for family in families:
        for pairing, contrast in family:
            if pairing is None or contrast.interval is None or contrast.n < MINIMUM_SEEDS:
                continue
            differences = _differences(pairing, grid, correct)
            if len(differences) == contrast.n:
                interval, share = crossed_interval(differences, rules.share(len(family)))
                found.append(Crossed(contrast, interval, share, *differences.shape))
    return tuple(found)


def cells_crossed(grid: Grid, analysis: Analysis, correct: Correct) -> tuple[Interval | None, ...]:
    """Of each cell that has an interval over seeds, that over seeds and test examples."""
    found: list[Interval | None] = []
    for number, cell in enumerate(analysis.cells):
        rows = [correct[number, seed] for seed in grid.seeds if (number, seed) in correct]
        whole = cell.summary.interval is not None and len(rows) == cell.summary.n
        scores = np.array(rows, float) if whole else None
        found.append(
            None if scores is None else crossed_interval(scores, 1 - analysis.confidence)[0]
        )
    return tuple(found)


def _right(line: Mapping[str, Any], metric: Metric) -> np.ndarray | None:
    """Which test examples a replica got right, if that is what its score counts."""
    examples, score = metric.examples or 0, line.get(f"test_{metric.name}")
    if "test_correct" not in line or score is None or examples < 2:
        return None
    bits = unpack_bits(line["test_correct"], examples)
    return bits if len(bits) == examples and abs(bits.mean() - score) <= SAME else None


def _differences(
    pairing: Pairing, grid: Grid, correct: Correct
) -> Float[np.ndarray, "seeds examples"]:
    """Level minus reference of every example, one row per seed of which no cell is missing."""
    seeds = [s for s in grid.seeds if all((cell, s) in correct for cell in pairing.rows)]
    rows = [
        np.mean([correct[cell, seed] for cell in pairing.level_rows], axis=0)
        - np.mean([correct[cell, seed] for cell in pairing.reference_rows], axis=0)
        for seed in seeds
    ]
    return np.array(rows) if rows else np.zeros((0, 0))
