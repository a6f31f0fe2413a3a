"""From a grid of results to everything it says: `analyse`, and the same as JSON: `to_json`."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.engine import paired
from experiments.engine.contrasts import Rules, compare, summarise
from experiments.engine.interactions import interact, simple_effects
from experiments.engine.pairing import Scores, pairings, score
from experiments.engine.statistics import Analysis, Cell, Grid, Metric
from experiments.engine.wording import count


def analyse(
    grid: Grid,
    metric: Metric,
    *,
    margin: float | None = None,
    looks: int = 1,
    confidence: float = 0.95,
    edge_cells: Sequence[int] = (),
    copied_cells: Sequence[int] = (),
    exploratory: bool = False,
) -> Analysis:
    """Analyses one metric of a study.

    Args:
        grid: the results.
        metric: what they measure.
        margin: largest difference that does not matter; None = no test of equivalence.
        looks: how many times the study has been looked at, this one included; p-values are
            multiplied and error levels divided by `statistics.price` of it.
        confidence: of intervals; 1 - confidence is the error level of verdicts.
        edge_cells: rows tuned to the edge of their grid; verdicts on them are withheld.
        copied_cells: rows whose seeds are all the same replica: no test between them.
        exploratory: whether this is not the declared primary metric (or the looks were not
            planned): no corrections, no interactions, no verdicts.

    Raises:
        ValueError: the grid contradicts itself, or a number is out of its range.
    """
    _check(grid, margin, looks, confidence, edge_cells)
    marked = map(frozenset, (edge_cells, copied_cells))
    rules = Rules(1 - confidence, margin, looks, exploratory, *marked)
    scores, family = score(grid, metric), pairings(grid)
    contrasts = compare(family, scores, rules)
    interactions, untested = interact(grid, scores, rules)
    simple = compare(simple_effects(grid, interactions), scores, rules)
    seeds = max((item.n for item in contrasts), default=0)
    return Analysis(
        metric=metric,
        factors=grid.factors,
        seeds=grid.seeds,
        confidence=confidence,
        margin=margin,
        looks=looks,
        exploratory=exploratory,
        cells=tuple(_cell(grid, scores, row, rules) for row in range(len(grid.cells))),
        contrasts=contrasts,
        interactions=interactions,
        simple_effects=simple,
        notes=tuple(filter(None, (untested, *_notes(grid, scores, seeds)))),
    )


def _check(
    grid: Grid,
    margin: float | None,
    looks: int,
    confidence: float,
    edge_cells: Sequence[int],
) -> None:
    """Raises ValueError for a grid or option that cannot be meant."""
    shape = (len(grid.cells), len(grid.seeds))
    levels = list(grid.factors.values())
    wrong = {
        f"values {grid.values.shape}, want {shape}": grid.values.shape != shape,
        f"diverged {grid.diverged.shape}, want {shape}": grid.diverged.shape != shape,
        "a study without cells": not grid.cells,
        "two equal cells": len(set(grid.cells)) < len(grid.cells),
        "two equal seeds": len(set(grid.seeds)) < len(grid.seeds),
        "a cell with an unknown level": any(
            len(cell) != len(levels) or any(x not in y for x, y in zip(cell, levels, strict=True))
            for cell in grid.cells
        ),
        f"margin {margin}, want > 0": margin is not None and not margin > 0,
        f"looks {looks}, want >= 1": looks < 1,
        f"confidence {confidence}, want between 0 and 1": not 0 < confidence < 1,
        "an edge cell that is not in the grid": any(
            row not in range(len(grid.cells)) for row in edge_cells
        ),
    }
    for message, happened in wrong.items():
        if happened:
            raise ValueError(message)


def _cell(grid: Grid, scores: Scores, row: int, rules: Rules) -> Cell:
    values = scores.values[row]
    seen = ~np.isnan(values)
    diverged, failed = scores.diverged[row], scores.failed[row]
    summary, survivors = summarise(values[seen], rules.alpha), None
    if failed.any():
        survivors = summarise(values[seen & ~failed], rules.alpha)
        summary = dataclasses.replace(summary, interval=None)
    return Cell(
        levels=grid.cells[row],
        values=tuple(values.tolist()),
        summary=summary,
        diverged=int(diverged.sum()),
        did_not_train=int((failed & ~diverged).sum()),
        survivors=survivors,
        at_edge=row in rules.edge_cells,
    )


def _notes(grid: Grid, scores: Scores, seeds: int) -> list[str]:
    """What a reader has to know besides the numbers; `seeds`: the most behind a contrast."""
    missing = int(np.isnan(scores.values).sum())
    collapsed = int((scores.failed & ~scores.diverged).sum())
    diverged, notes = int(scores.diverged.sum()), []
    if missing:
        lack = f"{count(missing, 'replica')} missing"
        notes.append(f"{lack}; a contrast uses the seeds that have all of its replicas.")
    if diverged:
        stand_in = "at the chance score" if scores.metric.chance is not None else "as the worst"
        notes.append(f"{count(diverged, 'replica')} diverged, kept {stand_in}.")
    if collapsed:
        notes.append(f"{count(collapsed, 'replica')} did not train (no better than chance).")
    if (diverged or collapsed) and grid.factors:
        notes.append("Contrasts with such replicas are judged by an exact test, not by t.")
    if len(grid.cells) < math.prod(len(levels) for levels in grid.factors.values()):
        notes.append("Not a full factorial: each contrast uses the cells that have a twin.")
    if seeds > paired.EXACT_SEEDS:
        draws = f"{paired.MONTE_CARLO_FLIPS:,} random sign flips from a fixed generator"
        notes.append(f"More than {paired.EXACT_SEEDS} seeds: {draws} stand for all.")
    return notes


def to_json(analysis: Analysis) -> dict[str, Any]:
    """The analysis as JSON types only; NaN and infinities become None."""
    return _plain(dataclasses.asdict(analysis))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
