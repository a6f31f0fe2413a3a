"""Simulated studies: intervals cover, families err in at most 5 %, effects are found."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.engine import paired
from experiments.engine.analysis import analyse
from experiments.engine.interactions import squares
from experiments.engine.pairing import pairings
from experiments.engine.statistics import Grid, Metric, price

SCIPY: Any = stats  # whose results have incomplete types

FACTORS = {"activation": ("a", "b", "c", "d"), "regulariser": ("x", "y", "z")}
CELLS = tuple(itertools.product(*FACTORS.values()))
STUDIES, SEEDS, FAMILY = 2000, 10, 5
METRIC = Metric("score")


def grid_of(values):
    seeds = tuple(range(values.shape[1]))
    return Grid(FACTORS, CELLS, seeds, values, np.zeros(values.shape, bool))


def null_studies(key, studies=STUDIES):
    """[studies, cells, seeds] without effects: a shared seed effect, noise that differs by cell."""
    rng = np.random.default_rng(key)
    noise = rng.normal(size=(studies, len(CELLS), SEEDS))
    return 2 * rng.normal(size=(studies, 1, SEEDS)) + noise * np.linspace(0.5, 1.5, 12)[:, None]


def contrasts_of(values):
    """[studies, contrasts, seeds] differences, as `analyse` forms them."""
    weights = np.zeros((FAMILY, len(CELLS)))
    for i, pairing in enumerate(pairings(grid_of(values[0]))):
        weights[i, list(pairing.level_rows)] += 1 / len(pairing.level_rows)
        weights[i, list(pairing.reference_rows)] -= 1 / len(pairing.reference_rows)
    return np.einsum("kc,rcs->rks", weights, values)


def at_most(hits, rate, total):
    """Whether that many hits are compatible with a rate of at most `rate` (4 sigma)."""
    return SCIPY.binomtest(int(hits), total, rate, alternative="greater").pvalue > 3e-5


def close_to(hits, rate, total):
    return SCIPY.binomtest(int(hits), total, rate).pvalue > 6e-5


def test_the_simulation_computes_what_analyse_does():
    values = null_studies(1, 3)
    differences = contrasts_of(values)
    adjusted = paired.holm(paired.t_test(differences)[1])
    for study in range(3):
        analysis = analyse(grid_of(values[study]), METRIC)
        found = [item.p_adjusted for item in analysis.contrasts]
        assert found == pytest.approx(adjusted[study].tolist())
        weights = np.stack([square.weights for square in squares(grid_of(values[study]))])
        p = paired.max_t_p(weights @ values[study])
        np.testing.assert_allclose([item.p for item in analysis.interactions], p)


def test_intervals_cover():
    values = null_studies(2)
    differences = contrasts_of(values)
    for alpha in (0.05, 0.05 / FAMILY):
        half = paired.half_width(differences.std(axis=-1, ddof=1), SEEDS, alpha)
        covered = np.abs(differences.mean(axis=-1)) <= half
        for hits in covered.sum(axis=0):
            assert close_to(hits, 1 - alpha, STUDIES)
    assert at_most((~covered.all(axis=1)).sum(), 0.05, STUDIES)  # all five at once
    half = paired.half_width(values.std(axis=-1, ddof=1), SEEDS, 0.05)
    for hits in (np.abs(values.mean(axis=-1)) <= half).sum(axis=0):
        assert close_to(hits, 0.95, STUDIES)


@pytest.mark.parametrize("test", [lambda d: paired.t_test(d)[1], paired.sign_flip_p])
def test_family_wise_error_of_a_null_study(test):
    p = test(contrasts_of(null_studies(3)))
    assert at_most((paired.holm(p) <= 0.05).any(axis=1).sum(), 0.05, STUDIES)
    for column in p.T:
        assert at_most((column <= 0.05).sum(), 0.05, STUDIES)
    assert (p.min(axis=1) <= 0.05).mean() > 0.1  # uncorrected, five contrasts do err


def test_family_wise_error_with_effects_elsewhere():
    differences = contrasts_of(null_studies(4))
    differences[:, :3] += 5
    adjusted = paired.holm(paired.t_test(differences)[1])
    assert (adjusted[:, :3] <= 0.05).mean() > 0.99
    assert at_most((adjusted[:, 3:] <= 0.05).any(axis=1).sum(), 0.05, STUDIES)


def test_family_wise_error_of_interactions():
    values = null_studies(5)
    values += np.array([3 * (cell[0] == "b") + 2 * (cell[1] == "z") for cell in CELLS])[:, None]
    weights = np.stack([square.weights for square in squares(grid_of(values[0]))])
    assert len(weights) == 6
    p = paired.max_t_p(np.einsum("kc,rcs->rks", weights, values))
    assert close_to((p.min(axis=1) <= 0.05).sum(), 25 / 512, STUDIES)


def test_collapsed_seeds_do_not_fool_the_exact_tests():
    values = null_studies(6)
    collapsed = np.random.default_rng(7).random(values.shape) < 0.1
    differences = contrasts_of(np.where(collapsed, -40.0, values))
    flipped = paired.holm(paired.sign_flip_p(differences))
    assert at_most((flipped <= 0.05).any(axis=1).sum(), 0.05, STUDIES)
    worst = contrasts_of(np.where(collapsed, -1e6, values))  # huge, as good as the worst rank
    ranks = np.apply_along_axis(paired.signed_ranks, -1, worst[:500])
    p = paired.holm(paired.sign_flip_p(ranks))
    assert at_most((p <= 0.05).any(axis=1).sum(), 0.05, 500)


@pytest.mark.parametrize("schedule", [(5, 10, 15, 20), range(5, 21)])
def test_looks_at_a_growing_study_add_at_most_half(schedule):
    """Seeds are added until there is a verdict: the first look spends 5 %, all others 2.5 %."""
    values = null_studies(8, 2000)
    more = np.concatenate([values, null_studies(9, 2000)], axis=2)
    wrong, first = np.zeros(2000, bool), 0
    for look, seeds in enumerate(schedule, start=1):
        p = paired.t_test(contrasts_of(more[..., :seeds]))[1]
        wrong |= (paired.holm(p) * price(look) <= 0.05).any(axis=1)
        first = first or wrong.sum()
    assert at_most(first, 0.05, 2000)
    assert at_most(wrong.sum() - first, 0.025, 2000)


def test_verdicts_of_whole_analyses():
    null = [analyse(grid_of(values), METRIC) for values in null_studies(10, 200)]
    wrong = sum(
        any(item.verdict in ("better", "worse") for item in study.contrasts) for study in null
    )
    assert at_most(wrong, 0.05, 200)
    assert at_most(sum(bool(study.simple_effects) for study in null), 0.05, 200)
    same = [analyse(grid_of(values), METRIC, margin=3.0) for values in null_studies(11, 20)]
    assert {item.verdict for study in same for item in study.contrasts} == {"equivalent"}


def test_pairing_finds_effects_below_the_spread_between_seeds():
    values = null_studies(12)
    values[:, 3:6] += 1.2  # seeds differ with sd 2, cells within a seed with sd 1
    differences = contrasts_of(values)[:, 0]
    share = 0.05 / FAMILY
    sd = differences.std(axis=-1, ddof=1).mean() * np.sqrt(SEEDS - 1) / stats.chi.mean(SEEDS - 1)
    hits = (paired.t_test(differences)[1] <= share).sum()
    power = paired.superiority_power(1.2 / sd, SEEDS, share)
    assert power > 0.5
    assert abs(hits / STUDIES - power) < 0.05
    apart = SCIPY.ttest_ind(values[:, 3], values[:, 0], axis=-1).pvalue
    assert (apart <= share).mean() < 0.2
