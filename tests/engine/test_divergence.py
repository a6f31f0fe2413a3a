"""Replicas that diverge or do not train: they stay in, and t stands back."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.engine.analysis import analyse
from experiments.engine.statistics import Grid, Metric

SCIPY: Any = stats  # whose results have incomplete types

ACCURACY = Metric("accuracy", chance=0.1, examples=1000)
LOSS = Metric("loss", higher_is_better=False)


def make(seeds=10, key=0, shift=0.0):
    factors = {"activation": ("relu", "gelu"), "dropout": ("0", "0.2")}
    cells = tuple(itertools.product(*factors.values()))
    rng = np.random.default_rng(key)
    values = 0.9 + 0.01 * rng.normal(size=seeds) + 0.004 * rng.normal(size=(4, seeds))
    values[2:] += shift
    return Grid(factors, cells, tuple(range(seeds)), values, np.zeros(values.shape, bool))


def test_a_diverged_replica_of_a_bounded_metric_scores_chance():
    grid = make()
    grid.diverged[3, :2], grid.values[3, 0] = True, np.nan
    analysis = analyse(grid, ACCURACY)
    cell, contrast = analysis.cells[3], analysis.contrasts[0]
    filled = grid.values.copy()
    filled[3, :2] = 0.1
    assert cell.diverged == 2
    assert cell.did_not_train == 0
    assert cell.summary.n == 10
    assert cell.summary.mean == pytest.approx(filled[3].mean())
    assert cell.summary.interval is None  # t does not hold
    assert cell.survivors is not None
    assert cell.survivors.n == 8
    assert cell.survivors.mean == pytest.approx(filled[3, 2:].mean())
    differences = filled[2:].mean(axis=0) - filled[:2].mean(axis=0)
    np.testing.assert_allclose(contrast.differences, differences)
    exact = SCIPY.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=10**6
    )
    assert contrast.test == "sign-flip"
    assert contrast.interval is None
    assert contrast.p == pytest.approx(exact.pvalue)
    assert contrast.survivors is not None
    assert contrast.survivors.n == 8
    assert contrast.survivors.mean == pytest.approx(differences[2:].mean())


def test_replicas_at_chance_did_not_train_and_suppress_t():
    grid = make(key=1, shift=-0.05)
    grid.values[2, 3] = 0.1 + 2.9 * (0.1 * 0.9 / 1000) ** 0.5
    grid.values[2, 4] = 0.1 + 3.1 * (0.1 * 0.9 / 1000) ** 0.5
    analysis = analyse(grid, ACCURACY)
    assert analysis.cells[2].did_not_train == 1
    assert analysis.cells[2].diverged == 0
    activation, dropout = analysis.contrasts
    assert activation.test == dropout.test == "sign-flip"
    assert activation.divergence is None
    assert activation.verdict == "worse"
    assert dropout.verdict == "undecided"
    error = Metric("error", higher_is_better=False, chance=0.9, examples=1000)
    flipped = Grid(grid.factors, grid.cells, grid.seeds, 1 - grid.values, grid.diverged)
    mirrored = analyse(flipped, error)
    assert mirrored.cells[2].did_not_train == 1
    assert [item.verdict for item in mirrored.contrasts] == ["worse", "undecided"]


def test_an_unbounded_metric_ranks_diverged_replicas_worst():
    grid = make(shift=-0.05)
    grid.diverged[3, [0, 5]] = True
    grid.diverged[[0, 3], 7] = True  # one on either side: a tie
    analysis = analyse(grid, LOSS)
    assert analysis.cells[3].summary.mean is None
    assert analysis.cells[3].diverged == 3
    contrast = analysis.contrasts[0]
    assert contrast.estimate is contrast.interval is contrast.sd is None
    assert contrast.test == "signed-rank"
    assert (contrast.wins, contrast.losses) == (7, 2)
    assert [contrast.differences[i] for i in (0, 5, 7)] == [np.inf, np.inf, 0]
    stand_in = np.array(contrast.differences)
    ranks = stats.rankdata(np.abs(stand_in[stand_in != 0])) * np.sign(stand_in[stand_in != 0])
    exact = SCIPY.permutation_test((ranks,), np.sum, permutation_type="samples", n_resamples=10**6)
    assert contrast.p == pytest.approx(exact.pvalue)
    assert not analysis.interactions
    assert "Interactions are not tested" in analysis.notes[0]


def test_worst_ranks_can_decide():
    grid = make(shift=0.0)
    grid.diverged[2:, :] = True
    activation, dropout = analyse(grid, LOSS).contrasts
    assert activation.verdict == "worse"
    assert activation.losses == 10
    assert activation.p == pytest.approx(2 / 2**10)
    assert dropout.verdict == "no verdict"  # nothing but ties


def test_divergence_rates_are_compared_by_exact_mcnemar():
    grid = make()
    grid.diverged[2:, :4] = True
    grid.diverged[0, 4] = True
    for metric in (ACCURACY, LOSS):
        activation, dropout = analyse(grid, metric).contrasts
        lost = activation.divergence
        assert lost is not None
        assert dropout.divergence is not None
        assert (lost.level, lost.reference, lost.replicas) == (8, 1, 20)
        assert lost.p == pytest.approx(SCIPY.binomtest(4, 5).pvalue)  # seeds, not replicas
        assert lost.p_adjusted == pytest.approx(min(2 * lost.p, 1))
        assert dropout.divergence.p == 1


def test_all_replicas_diverged():
    grid = make()
    grid.diverged[:] = True
    for metric in (ACCURACY, LOSS):
        analysis = analyse(grid, metric)
        assert {item.verdict for item in analysis.contrasts} == {"no verdict"}
        assert all(item.p is None for item in analysis.contrasts)


def test_an_exact_test_says_how_many_seeds_it_needs():
    grid = make(seeds=5)
    grid.diverged[3, 0] = True
    contrast = analyse(grid, ACCURACY).contrasts[0]
    assert contrast.verdict == "undecided"
    assert contrast.seeds_needed == 9  # 2^-8 <= 0.05 / (3 contrasts x 4): adding is a look


def counted(*rows):
    """Cells of one factor whose seeds have so many right answers of 1,000, as recorded."""
    values = (np.array(rows, np.float32) / np.float32(1000)).astype(float)
    levels = tuple(f"level {i}" for i in range(len(rows)))
    cells = tuple((level,) for level in levels)
    seeds = tuple(range(values.shape[1]))
    return Grid({"choice": levels}, cells, seeds, values, np.zeros(values.shape, bool))


def test_sums_of_counts_that_tie_are_not_told_apart_by_their_rounding():
    """p 0.0625 of 8 seeds, by integers; the flips that tie, rounded apart, made it 0.039."""
    level = [100, 880, 878, 882, 882, 879, 875, 876]
    reference = [96, 877, 876, 883, 881, 880, 872, 870]
    counts = np.subtract(level, reference)
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = np.mean(np.abs(signs @ counts) >= abs(counts.sum()))
    contrast = analyse(counted(reference, level), ACCURACY).contrasts[0]
    assert contrast.test == "sign-flip"
    assert contrast.p == pytest.approx(exact)
    assert exact > 0.05
    assert contrast.verdict == "undecided"


def test_seeds_with_equal_counts_are_neither_won_nor_lost():
    """Averages over two cells: 877 + 883 is 880 + 880."""
    rows = [[880, 870, 881, 884, 882], [880, 880, 880, 884, 882]]
    more = [[877, 871, 881, 885, 882], [883, 880, 880, 884, 880]]
    factors = {"choice": ("a", "b"), "other": ("x", "y")}
    values = (np.array(rows + more, np.float32) / np.float32(1000)).astype(float)
    cells = tuple(itertools.product(*factors.values()))
    grid = Grid(factors, cells, tuple(range(5)), values, np.zeros(values.shape, bool))
    contrast = analyse(grid, ACCURACY).contrasts[0]
    assert (contrast.wins, contrast.losses) == (2, 1)
    assert contrast.differences[0] == contrast.differences[2] == 0
