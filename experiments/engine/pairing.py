"""Which cells a contrast compares, and the paired sample that each complete seed adds to it.

A contrast averages the other factors' levels with equal weight inside each seed, so its sample is
one difference per seed; cells are never pooled as replicates.
"""

from dataclasses import dataclass

import numpy as np

from experiments.engine.statistics import ROUNDING, Grid, Metric

Within = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Scores:
    """Scores [cells, seeds] of all replicas: diverged at chance or infinitely bad, NaN = missing.

    `failed` marks the replicas that diverged or ended no better than chance.
    """

    metric: Metric
    values: np.ndarray
    diverged: np.ndarray
    failed: np.ndarray


@dataclass(frozen=True)
class Pairing:
    """Rows of cells to compare: each of `level_rows` with the reference row at its place."""

    factor: str
    level: str
    reference: str
    within: Within
    level_rows: tuple[int, ...]
    reference_rows: tuple[int, ...]

    @property
    def rows(self) -> list[int]:
        """All rows involved, the level's first."""
        return [*self.level_rows, *self.reference_rows]


@dataclass(frozen=True)
class Sample:
    """The complete seeds of a pairing, every array [n].

    Attributes:
        level, reference: means over the rows of either side.
        differences: level minus reference, 0 where only rounding differs. On an unbounded metric
            -+inf where one side has more diverged replicas (the worst rank) and 0, a tie, where
            both have equally many.
        failed: replicas that diverged or did not train.
        lost_level, lost_reference: diverged replicas of either side.
        ranked: whether a replica diverged on an unbounded metric, so that only ranks are left.
        scale: largest finite score involved, the yardstick of rounding.
    """

    level: np.ndarray
    reference: np.ndarray
    differences: np.ndarray
    failed: np.ndarray
    lost_level: np.ndarray
    lost_reference: np.ndarray
    ranked: bool
    scale: float


def score(grid: Grid, metric: Metric) -> Scores:
    """Puts a score on every replica: a diverged one stays in, at chance or as worst of all."""
    values = np.asarray(grid.values, dtype=float)
    diverged = np.asarray(grid.diverged, dtype=bool) | np.isinf(values)
    worst = -metric.direction * np.inf if metric.chance is None else metric.chance
    values = np.where(diverged, worst, values)
    if metric.chance is None:
        return Scores(metric, values, diverged, diverged)
    gain = metric.direction * (values - metric.chance)
    return Scores(metric, values, diverged, diverged | (gain <= metric.chance_tolerance))


def pair(grid: Grid, factor: str, level: str, within: Within = ()) -> Pairing | None:
    """The cells at a level whose twin at the reference level is in the grid; None without any."""
    names, rows = list(grid.factors), {cell: row for row, cell in enumerate(grid.cells)}
    place, reference = names.index(factor), grid.factors[factor][0]
    wanted = {place: level, **{names.index(name): value for name, value in within}}
    pairs = []
    for cell, row in rows.items():
        twin = (*cell[:place], reference, *cell[place + 1 :])
        if twin in rows and all(cell[at] == value for at, value in wanted.items()):
            pairs.append((row, rows[twin]))
    if not pairs:
        return None
    level_rows, reference_rows = zip(*pairs, strict=True)
    return Pairing(factor, level, reference, within, level_rows, reference_rows)


def pairings(grid: Grid) -> list[Pairing]:
    """Every level against its reference, over all factors: the family of a study.

    In a list of cells that is no full factorial, a cell that no such comparison uses is compared
    with the first cell instead, under the factor name "cell".
    """
    wanted = [(factor, level) for factor, levels in grid.factors.items() for level in levels[1:]]
    found = [pairing for item in wanted if (pairing := pair(grid, *item))]
    used = {row for pairing in found for row in pairing.rows}
    texts = [f"({', '.join(cell)})" for cell in grid.cells]
    alone = [row for row in range(1, len(grid.cells)) if row not in used]
    found += [Pairing("cell", texts[row], texts[0], (), (row,), (0,)) for row in alone]
    return found


def sample(pairing: Pairing, scores: Scores) -> Sample:
    """The paired sample of a pairing, over the seeds of which no replica is missing."""
    rows, split = pairing.rows, len(pairing.level_rows)
    complete = ~np.isnan(scores.values[rows]).any(axis=0)
    values = scores.values[rows][:, complete]
    diverged = scores.diverged[rows][:, complete]
    lost_level, lost_reference = (
        diverged[:split].sum(axis=0),
        diverged[split:].sum(axis=0),
    )
    finite = np.where(np.isinf(values), 0.0, values)
    level, reference = finite[:split].mean(axis=0), finite[split:].mean(axis=0)
    differences, ranked = level - reference, bool(np.isinf(values).any())
    differences[np.abs(differences) <= ROUNDING * np.abs(finite).max(axis=0, initial=0.0)] = 0.0
    if ranked:
        ahead = scores.metric.direction * (lost_reference - lost_level)
        differences = np.select(
            [ahead > 0, ahead < 0, lost_level > 0], [np.inf, -np.inf, 0.0], differences
        )
    return Sample(
        level=level,
        reference=reference,
        differences=differences,
        failed=scores.failed[rows][:, complete].sum(axis=0),
        lost_level=lost_level,
        lost_reference=lost_reference,
        ranked=ranked,
        scale=float(np.abs(finite).max(initial=0.0)),
    )
