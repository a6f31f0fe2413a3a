"""Tests and intervals for paired differences, vectorised over leading axes; SciPy's distributions.

Every function takes differences with the seeds on the last axis. Flips of their signs are exact
(every pattern) up to `EXACT_SEEDS` seeds and drawn from a fixed generator beyond.
"""

import bisect
import functools

import numpy as np
from scipy import special

from experiments.engine.statistics import ROUNDING

EXACT_SEEDS = 16
MONTE_CARLO_FLIPS = 50_000
MOST_SEEDS = 1000
POWER = 0.8
LARGE = 1000.0
_BLOCK = 4096  # patterns of signs that are multiplied at once
_EPSILON = 2.0**-22  # relative: twice what rounding to float32 moves a difference of two numbers


def half_width(sd: np.ndarray | float, n: int, alpha: float) -> np.ndarray:
    """Half the width of the t interval of a mean: t(1 - alpha / 2, n - 1) sd / sqrt(n)."""
    return np.asarray(-special.stdtrit(n - 1, alpha / 2) * sd / np.sqrt(n))


def t_test(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paired two-sided t test of [..., n] differences, n >= 2: t and p.

    Differences without spread give t = 0, p = 1 around zero and t = +-inf, p = 0 elsewhere.
    """
    n = differences.shape[-1]
    mean = differences.mean(axis=-1)
    error = differences.std(axis=-1, ddof=1) / np.sqrt(n)
    limit = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    t = np.divide(mean, error, out=limit, where=error > 0)
    return t, np.asarray(2 * special.stdtr(n - 1, -np.abs(t)))


@functools.cache
def sign_flips(n: int) -> np.ndarray:
    """Patterns of signs [flips, n], int8, the first one unflipped; all of them up to `EXACT_SEEDS`.

    A pattern and its mirror image give the same two-sided statistic, so the first sign stays +
    and 2^(n - 1) patterns stand for all 2^n.
    """
    if n <= EXACT_SEEDS:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1, -1, -1)[None, :]
        return (1 - 2 * (bits & 1)).astype(np.int8)
    generator, flips = np.random.default_rng(0), np.ones((1 + MONTE_CARLO_FLIPS, n), np.int8)
    flips[1:] = generator.choice(np.array([-1, 1], np.int8), size=(MONTE_CARLO_FLIPS, n))
    return flips


def _flipped_sums(differences: np.ndarray) -> np.ndarray:
    """Sums [..., flips] of [..., n] differences under every pattern of signs."""
    flips = sign_flips(differences.shape[-1])
    blocks = (flips[i : i + _BLOCK].T for i in range(0, len(flips), _BLOCK))
    return np.concatenate([differences @ block.astype(float) for block in blocks], axis=-1)


def sign_flip_p(differences: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Two-sided sign-flip (paired permutation) p of the mean of [..., n] differences.

    The share of sign patterns with a sum at least as far from zero as the observed one; in the
    Monte Carlo case the observed pattern counts as one draw, so p is never zero (Phipson and
    Smyth, 2010). Sums that could be equal but for rounding, as those of accuracies often are, count
    as equal. Where m seeds agree and the others are 0, p is 2^(1 - m), however many seeds.

    Args:
        scale: the largest of the float32 numbers that were subtracted; None: of the differences.
    """
    sums, slack = np.abs(_flipped_sums(differences)), _rounding_of_sums(differences, scale)
    found = np.asarray((sums >= sums[..., :1] - slack).mean(axis=-1))
    moved = 2 * np.abs(differences) > slack
    agree = (differences >= 0).all(axis=-1) | (differences <= 0).all(axis=-1)
    known = agree & ((differences == 0) | moved).all(axis=-1)
    return np.where(known, 0.5 ** np.maximum(moved.sum(axis=-1) - 1.0, 0.0), found)


def _rounding_of_sums(
    differences: np.ndarray, scale: np.ndarray | float | None
) -> np.ndarray | float:
    """By how much two sums of [..., n] differences can differ that are equal but for rounding."""
    n = differences.shape[-1]
    size = np.abs(differences).max(axis=-1, keepdims=True) if scale is None else scale
    return 2 * n * _EPSILON * size


def max_t_p(differences: np.ndarray, scale: np.ndarray | float | None = None) -> np.ndarray:
    """Family-wise p of each of [..., contrasts, n] by flipping whole seed rows, max-|t|.

    Each flip changes the sign of a seed in every contrast at once, which keeps their dependence
    (Westfall and Young, 1993, single step). Uses |sum d| / sqrt(n sum d^2) in [0, 1], which grows
    with |t| and needs no variance. What could be equal but for rounding counts as equal.

    Args:
        scale: as of `sign_flip_p`, for all contrasts or [..., contrasts, 1].
    """
    n = differences.shape[-1]
    size = np.sqrt(n * np.square(differences).sum(axis=-1, keepdims=True))
    slack = np.broadcast_to(_rounding_of_sums(differences, scale), size.shape)
    sums, slack = (
        np.divide(each, size, out=np.zeros_like(each), where=size > 0)
        for each in (np.abs(_flipped_sums(differences)), slack)
    )
    largest = (sums + slack).max(axis=-2, keepdims=True)
    return (largest >= sums[..., :1] - slack).mean(axis=-1)


def signed_ranks(differences: np.ndarray, scale: float = 0.0) -> np.ndarray:
    """Signed ranks [n] of [n] differences, infinities tied at the top, zeros dropped to 0.

    Their sign-flip p is Wilcoxon's signed-rank test, exact with ties; with +-inf for pairs of
    which one side diverged it is the worst-rank analysis of Lachin (1999).

    Args:
        scale: the largest of the float32 numbers that were subtracted: differences that could be
            equal but for their rounding are tied.
    """
    ranks = np.zeros_like(differences, dtype=float)
    moved = differences != 0
    sizes = np.abs(differences[moved])
    order = np.argsort(sizes)
    apart = sizes[order][1:] > sizes[order][:-1] + 2 * _EPSILON * scale
    place = np.empty(len(order), int)
    place[order] = np.cumsum(np.concatenate([np.zeros(len(order[:1]), int), apart]))
    counts = np.bincount(place)
    middles = np.cumsum(counts) - (counts - 1) / 2
    ranks[moved] = middles[place] * np.sign(differences[moved])
    return ranks


def equivalence_p(differences: np.ndarray, margin: float) -> np.ndarray:
    """TOST: p of [..., n] that the mean lies inside (-margin, margin), the larger of both sides."""
    n = differences.shape[-1]
    shifts = np.abs(differences.mean(axis=-1))
    error = differences.std(axis=-1, ddof=1) / np.sqrt(n)
    return np.asarray(special.stdtr(n - 1, (shifts - margin) / error))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment over the last axis of [..., tests]; NaN counts as 1."""
    known = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(known, axis=-1, kind="stable")
    steps = np.take_along_axis(known, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    climbing = np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0)
    return np.take_along_axis(climbing, np.argsort(order, axis=-1, kind="stable"), axis=-1)


def mcnemar_p(more: int, fewer: int) -> float:
    """Exact McNemar: two-sided binomial p of `more` among the discordant pairs; 1 without any."""
    discordant = more + fewer
    return min(1.0, 2 * float(special.bdtr(min(more, fewer), discordant, 0.5)))


def correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson correlation of two [n] samples; None below three pairs or without spread."""
    if len(first) < 3 or is_constant(first) or is_constant(second):
        return None
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))


def is_constant(values: np.ndarray, scale: float | None = None) -> bool:
    """Whether [n] values agree up to the rounding of recorded numbers, which are float32.

    Args:
        scale: what the rounding is relative to (default: the largest of the values).
    """
    scale = float(np.abs(values).max()) if scale is None else scale
    return bool(np.ptp(values) <= ROUNDING * scale)


def superiority_power(effect: float, n: int, alpha: float) -> float:
    """Power of the two-sided paired t test for an effect in standard deviations at n seeds."""
    critical = -special.stdtrit(n - 1, alpha / 2)
    shift = abs(effect) * np.sqrt(n)
    same = special.nctdtr(n - 1, -shift, -critical)  # NaN where it is 1 to every digit
    opposite = np.nan_to_num(special.nctdtr(n - 1, shift, -critical))  # NaN far out in the tail
    return 1.0 if np.isnan(same) else float(same + opposite)


def equivalence_power(effect: float, margin: float, n: int, alpha: float) -> float:
    """Power of TOST, effect and margin in standard deviations (a lower bound, tight near 0.8)."""
    critical = -special.stdtrit(n - 1, alpha)
    near, far = (margin + side * abs(effect) for side in (-1, 1))
    missed = [special.nctdtr(n - 1, reach * np.sqrt(n), critical) for reach in (near, far)]
    return max(float(1 - sum(missed)), 0.0)


@functools.cache
def detectable_effect(n: int, alpha: float) -> float:
    """Smallest effect, in standard deviations of the differences, found with 80 % power.

    Of a critical value above `LARGE` only the spread of the denominator matters, which is a chi.
    """
    critical = -special.stdtrit(n - 1, alpha / 2)
    if critical > LARGE:
        return float(critical * np.sqrt(special.chdtri(n - 1, 1 - POWER) / (n - 1) / n))
    low, high = 0.0, 1.0
    while superiority_power(high, n, alpha) < POWER:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        too_small = superiority_power(middle, n, alpha) < POWER
        low, high = (middle, high) if too_small else (low, middle)
    return high


def seeds_needed(
    estimate: float, sd: float, n: int, alpha: float, margin: float | None
) -> int | None:
    """Seeds, above n, at which the t test or TOST would decide with 80 % power.

    Takes the estimate and sd so far for the truth, so it is a rough guide. None above
    `MOST_SEEDS`.
    """
    effect = estimate / sd

    def power(seeds: int) -> float:
        found = superiority_power(effect, seeds, alpha)
        if margin is not None and margin > abs(estimate):
            found = max(found, equivalence_power(effect, margin / sd, seeds, alpha))
        return found

    enough = bisect.bisect_left(range(MOST_SEEDS + 1), POWER, lo=n + 1, key=power)
    return enough if enough <= MOST_SEEDS else None
