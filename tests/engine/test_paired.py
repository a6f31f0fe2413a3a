"""Array-level tests against SciPy, closed forms and hand-made references."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.engine import paired

SCIPY: Any = stats  # whose results have incomplete types

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("n", [5, 10])
def test_t_test_and_interval_agree_with_scipy(n):
    first, second = RNG.normal(1, 1, (3, n)), RNG.normal(0, 1, (3, n))
    t, p = paired.t_test(first - second)
    expected = SCIPY.ttest_rel(first, second, axis=-1)
    np.testing.assert_allclose(t, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(p, expected.pvalue, rtol=1e-10)
    half = paired.half_width((first - second).std(axis=-1, ddof=1), n, 0.01)
    interval = expected.confidence_interval(0.99)
    np.testing.assert_allclose(half, (interval.high - interval.low) / 2, rtol=1e-10)


def test_t_of_differences_without_spread():
    t, p = paired.t_test(np.array([[0.0, 0, 0], [2, 2, 2], [-2, -2, -2]]))
    assert t.tolist() == [0, np.inf, -np.inf]
    assert p.tolist() == [1, 0, 0]


@pytest.mark.parametrize("n", [2, 5, 9])
def test_exact_sign_flip_agrees_with_scipy(n):
    differences = np.round(RNG.normal(0.5, 1, n), 1)  # rounding makes ties
    expected = SCIPY.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=10**6
    )
    assert paired.sign_flip_p(differences) == pytest.approx(expected.pvalue, abs=1e-12)


def test_sign_flips_are_all_patterns_and_monte_carlo_beyond():
    flips = paired.sign_flips(5)
    patterns = {tuple(row) for row in flips} | {tuple(-row) for row in flips}
    assert patterns == set(itertools.product([-1.0, 1.0], repeat=5))
    assert (flips[0] == 1).all()
    flips = paired.sign_flips(paired.EXACT_SEEDS + 1)
    assert len(flips) == 1 + paired.MONTE_CARLO_FLIPS
    assert (flips[0] == 1).all()
    differences = RNG.normal(0.4, 1, 20)
    t_p = SCIPY.ttest_1samp(differences, 0).pvalue
    assert paired.sign_flip_p(differences) == paired.sign_flip_p(differences)
    assert paired.sign_flip_p(differences) == pytest.approx(t_p, abs=0.02)
    one_way = np.array([np.arange(1.0, 21), np.repeat([0.0, 2], [3, 17]), np.zeros(20)])
    assert paired.sign_flip_p(one_way).tolist() == [2**-19, 2**-16, 1]


def test_max_t_agrees_with_every_flip_written_out():
    differences = RNG.normal(0.6, 1, (3, 6))
    t = np.abs(SCIPY.ttest_1samp(differences, 0, axis=-1).statistic)
    largest = [
        np.abs(SCIPY.ttest_1samp(differences * np.array(signs), 0, axis=-1).statistic).max()
        for signs in itertools.product([-1, 1], repeat=6)
    ]
    expected = [np.mean(np.array(largest) >= value * (1 - 1e-9)) for value in t]
    np.testing.assert_allclose(paired.max_t_p(differences), expected, atol=1e-12)
    np.testing.assert_allclose(
        paired.max_t_p(differences[:1])[0], paired.sign_flip_p(differences)[0]
    )
    assert paired.max_t_p(np.zeros((2, 5))).tolist() == [1, 1]


def test_mcnemar_is_the_binomial_test_of_discordant_pairs():
    assert paired.mcnemar_p(0, 0) == 1
    for more, fewer in itertools.product(range(7), range(1, 7)):
        expected = SCIPY.binomtest(more, more + fewer).pvalue
        assert paired.mcnemar_p(more, fewer) == pytest.approx(expected, rel=1e-12)


def test_signed_ranks_are_wilcoxon_and_put_infinities_on_top():
    differences = RNG.normal(0.5, 1, 9)
    expected = SCIPY.wilcoxon(differences, method="exact").pvalue
    assert paired.sign_flip_p(paired.signed_ranks(differences)) == pytest.approx(expected)
    worst = np.array([0.5, -np.inf, 0.0, -0.2, -np.inf])
    assert paired.signed_ranks(worst).tolist() == [2, -3.5, 0, -1, -3.5]


def recorded_differences(counts, examples):
    """Of accuracies in float32 whose counts of right answers differ by `counts`."""
    first = RNG.integers(examples // 2, examples - 20, counts.shape)
    one, other = (np.float32(right / np.float32(examples)) for right in (first + counts, first))
    return one.astype(float) - other.astype(float)


@pytest.mark.parametrize("examples", [355, 1000, 10_000])
def test_ties_of_counts_are_ties_of_recorded_accuracies(examples):
    """Exact p from integers; float32 breaks most ties of sums."""
    for _ in range(50):
        counts = RNG.integers(-6, 7, 8)
        signs = np.array(list(itertools.product([-1, 1], repeat=8)))
        differences = recorded_differences(counts, examples)
        exact = np.mean(np.abs(signs @ counts) >= abs(counts.sum()))
        assert paired.sign_flip_p(differences, 1.0) == pytest.approx(exact, abs=1e-12)
        ranks = SCIPY.rankdata(np.abs(counts[counts != 0])) * np.sign(counts[counts != 0])
        assert paired.signed_ranks(np.where(counts, differences, 0), 1.0)[counts != 0] == (
            pytest.approx(ranks)
        )


def test_max_t_of_recorded_accuracies_is_that_of_counts():
    signs = np.array(list(itertools.product([-1, 1], repeat=6)))
    for _ in range(20):
        counts = RNG.integers(-6, 7, (3, 6))
        counts[:, 0] = 1  # no row of zeros
        common = np.prod([int(row @ row) for row in counts])
        squares = [
            [int(s @ row) ** 2 * int(common // (row @ row)) for row in counts] for s in signs
        ]
        observed = [int(row.sum()) ** 2 * int(common // (row @ row)) for row in counts]
        exact = [np.mean([max(each) >= value for each in squares]) for value in observed]
        found = paired.max_t_p(recorded_differences(counts, 1000), 1.0)
        np.testing.assert_allclose(found, exact, atol=1e-12)


def test_equivalence_is_the_larger_of_two_one_sided_tests():
    differences = RNG.normal(0.1, 0.2, (4, 8))
    lower = SCIPY.ttest_1samp(differences, -0.4, axis=-1, alternative="greater").pvalue
    upper = SCIPY.ttest_1samp(differences, 0.4, axis=-1, alternative="less").pvalue
    expected = np.maximum(lower, upper)
    np.testing.assert_allclose(paired.equivalence_p(differences, 0.4), expected, rtol=1e-10)


def test_holm_by_hand():
    p = np.array([[0.01, 0.04, 0.03, 0.005], [0.5, np.nan, 0.9, 0.2]])
    by_hand = [[0.03, 0.06, 0.06, 0.02], [1, 1, 1, 0.8]]
    np.testing.assert_allclose(paired.holm(p), by_hand)
    assert paired.holm(np.zeros(0)).shape == (0,)


def test_mcnemar_is_a_binomial_test_of_the_discordant_pairs():
    assert paired.mcnemar_p(6, 1) == pytest.approx(2 * (1 + 7) / 2**7)
    assert paired.mcnemar_p(0, 0) == 1


def test_correlation():
    first, second = RNG.normal(size=(2, 8))
    expected = SCIPY.pearsonr(first, second).statistic
    assert paired.correlation(first, second) == pytest.approx(expected)
    assert paired.correlation(first, np.ones(8)) is None
    assert paired.correlation(first[:2], second[:2]) is None


@pytest.mark.parametrize(
    ("n", "alpha"), [(5, 0.05), (10, 0.05), (10, 0.01), (5, 0.05 / 24), (7, 0.05 / 60)]
)
def test_detectable_effect_is_found_in_four_of_five_simulations(n, alpha):
    effect = paired.detectable_effect(n, alpha)
    samples = np.random.default_rng(n).normal(effect, 1, (20_000, n))
    hits = int((paired.t_test(samples)[1] <= alpha).sum())
    assert SCIPY.binomtest(hits, 20_000, 0.8).pvalue > 1e-4


@pytest.mark.parametrize("n", [5, 8, 30])
def test_however_small_alpha_is_an_effect_is_found(n):
    """The closed form of large critical values meets what is searched for below them."""
    limits = -np.log10(2 * SCIPY.t.sf(paired.LARGE * np.array([0.999, 1.001]), n - 1))
    searched, closed = (paired.detectable_effect(n, 10.0**-limit) for limit in limits)
    assert closed / searched == pytest.approx(1.001 / 0.999, rel=1e-5)
    assert paired.detectable_effect(n, 10.0 ** -(limits[1] + 9)) > closed
    assert paired.half_width(1.0, n, 1e-20) == pytest.approx(
        SCIPY.t.isf(0.5e-20, n - 1) / np.sqrt(n), rel=1e-9
    )


def test_seeds_needed_has_the_power_it_promises():
    seeds = paired.seeds_needed(0.5, 1.0, 10, 0.05, None)
    assert seeds == 34  # any table of paired t power: d = 0.5, alpha = 0.05, power 0.8
    assert paired.seeds_needed(-0.5, 1.0, 10, 0.05, None) == seeds
    assert paired.seeds_needed(0.5, 1.0, 40, 0.05, None) == 41
    assert paired.seeds_needed(0.0, 1.0, 10, 0.05, None) is None
    seeds = paired.seeds_needed(0.1, 1.0, 10, 0.05, 0.7)
    assert seeds is not None
    assert seeds < 34
    samples = np.random.default_rng(0).normal(0.1, 1, (20_000, seeds))
    hits = int((paired.equivalence_p(samples, 0.7) <= 0.05).sum())
    assert 0.795 < hits / 20_000 < 0.84  # seeds are whole numbers and the formula a lower bound
