"""Two-way interactions by max-|t| over flipped seed rows, and the simple effects they call for."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.engine import paired
from experiments.engine.contrasts import Rules
from experiments.engine.pairing import Pairing, Scores, pair
from experiments.engine.statistics import MINIMUM_SEEDS, ROUNDING, Grid, Interaction, price


@dataclass(frozen=True)
class Square:
    """An interaction contrast, with weights [cells] that sum to zero along both factors."""

    factors: tuple[str, str]
    levels: tuple[str, str]
    references: tuple[str, str]
    weights: np.ndarray


def squares(grid: Grid) -> list[Square]:
    """Every two-way interaction contrast of which the grid has all four kinds of cells."""
    found = []
    for factors in itertools.combinations(grid.factors, 2):
        first, second = (grid.factors[factor] for factor in factors)
        references = (first[0], second[0])
        for levels in itertools.product(first[1:], second[1:]):
            weights = _weights(grid, factors, levels, references)
            if weights.any():
                found.append(Square(factors, levels, references, weights))
    return found


def _weights(
    grid: Grid,
    factors: tuple[str, str],
    levels: tuple[str, str],
    references: tuple[str, str],
) -> np.ndarray:
    """+1 where both or neither factor is at its level, -1 where one is; averaged over the rest."""
    rows = {cell: row for row, cell in enumerate(grid.cells)}
    first, second = (list(grid.factors).index(factor) for factor in factors)
    weights, count = np.zeros(len(rows)), 0
    for cell in grid.cells:
        if (cell[first], cell[second]) != levels:
            continue
        corners = [list(cell) for _ in range(4)]
        corners[1][first] = corners[3][first] = references[0]
        corners[2][second] = corners[3][second] = references[1]
        places = [rows[tuple(corner)] for corner in corners if tuple(corner) in rows]
        if len(places) == 4:
            weights[places] += (1, -1, -1, 1)
            count += 1
    return weights / max(count, 1)


def interact(grid: Grid, scores: Scores, rules: Rules) -> tuple[tuple[Interaction, ...], str]:
    """Tests all two-way interactions at once; also says why where it could not.

    Seeds with a missing replica in any of the cells are left out, since flips are of whole rows.
    """
    found = squares(grid)
    if not found or rules.exploratory:
        return (), ""
    weights = np.stack([square.weights for square in found])
    used = weights.any(axis=0)
    values = scores.values[used]
    values = values[:, ~np.isnan(values).any(axis=0)]
    n = values.shape[1]
    if n < MINIMUM_SEEDS:
        return (
            (),
            f"Interactions are not tested: {n} complete seeds, {MINIMUM_SEEDS} are needed.",
        )
    if rules.copied_cells.issuperset(np.flatnonzero(used).tolist()):
        return (), "Interactions are not tested: the seed changes nothing in these cells."
    if np.isinf(values).any():
        return (
            (),
            f"Interactions are not tested: diverged replicas have no {scores.metric.name}.",
        )
    differences = weights[:, used] @ values
    sizes = np.abs(values).max(axis=1)
    scales = np.where(weights[:, used] != 0, sizes, 0.0).max(axis=1, keepdims=True)
    differences[np.abs(differences) <= ROUNDING * scales] = 0.0
    factor = price(rules.looks)
    p = np.minimum(paired.max_t_p(differences, scales) * factor, 1.0)
    t, mean = paired.t_test(differences)[0], differences.mean(axis=1)
    note = ""
    least = min(factor * 2.0 ** (1 - n), 1)
    if least > rules.alpha:
        note = f"Interactions cannot be shown with {n} seeds: no p can be below {least:.2g}."
    rows = zip(found, mean.tolist(), t.tolist(), p.tolist(), strict=True)
    return tuple(
        Interaction(s.factors, s.levels, s.references, n, mean, t, p, p <= rules.alpha)
        for s, mean, t, p in rows
    ), note


def simple_effects(grid: Grid, interactions: Sequence[Interaction]) -> list[Pairing]:
    """Level against reference within each combination of the factors it really interacts with."""
    real = {item.factors for item in interactions if item.is_real}
    found = []
    for factor, levels in grid.factors.items():
        partners = [name for name in grid.factors if {(factor, name), (name, factor)} & real]
        if not partners:
            continue
        for held in itertools.product(*(grid.factors[name] for name in partners)):
            within = tuple(zip(partners, held, strict=True))
            found.extend(pair(grid, factor, level, within) for level in levels[1:])
    return [pairing for pairing in found if pairing]
