"""Level-minus-reference contrasts: measured, adjusted over their family, judged."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.engine import paired
from experiments.engine.pairing import Pairing, Sample, Scores, sample
from experiments.engine.statistics import (
    MINIMUM_SEEDS,
    ROUNDING,
    Contrast,
    Divergence,
    Summary,
    Test,
    Verdict,
    price,
)


@dataclass(frozen=True)
class Rules:
    """What a verdict must satisfy.

    `edge_cells` are the rows tuned to the edge of their grid, `copied_cells` those whose seeds are
    all the same replica.
    """

    alpha: float
    margin: float | None
    looks: int
    exploratory: bool
    edge_cells: frozenset[int]
    copied_cells: frozenset[int] = frozenset()

    def share(self, size: int) -> float:
        """Bonferroni level of one of `size` contrasts at this look; alpha when exploratory."""
        return self.alpha if self.exploratory else self.alpha / (size * price(self.looks))


def summarise(values: np.ndarray, alpha: float, scale: float | None = None) -> Summary:
    """n, mean, sd and 1 - alpha t interval of [n] values, the last two from n = 3 on.

    A sample with an infinite (diverged) value has no mean; one that is constant up to rounding,
    relative to `scale`, has no interval.
    """
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        return Summary(n, None, None, None)
    mean = float(values.mean())
    if n < 3:
        return Summary(n, mean, None, None)
    if paired.is_constant(values, scale):
        return Summary(n, mean, 0.0, None)
    sd = float(values.std(ddof=1))
    half = float(paired.half_width(sd, n, alpha))
    return Summary(n, mean, sd, (mean - half, mean + half))


def compare(pairings: Sequence[Pairing], scores: Scores, rules: Rules) -> tuple[Contrast, ...]:
    """All contrasts of one Holm family with their verdicts.

    A contrast without a p (identical values, too few seeds) still counts in the family's size.
    """
    size = len(pairings)
    raw = [measure(pairing, scores, rules, rules.share(size)) for pairing in pairings]
    p = _adjust([item.p for item in raw], rules)
    equivalence = _adjust([item.p_equivalence for item in raw], rules)
    mcnemar = _adjust([item.divergence.p if item.divergence else None for item in raw], rules)
    adjusted = []
    for i, item in enumerate(raw):
        lost = item.divergence
        item = dataclasses.replace(
            item,
            p_adjusted=None if item.p is None else p[i],
            p_equivalence=None if item.p_equivalence is None else equivalence[i],
            divergence=lost and dataclasses.replace(lost, p_adjusted=mcnemar[i]),
        )
        adjusted.append(judge(item, scores.metric.direction, rules, size))
    return tuple(adjusted)


def _adjust(p: Sequence[float | None], rules: Rules) -> list[float]:
    known = np.array([1.0 if value is None else value for value in p])
    corrected = known if rules.exploratory else paired.holm(known) * price(rules.looks)
    return np.minimum(corrected, 1.0).tolist()


def measure(pairing: Pairing, scores: Scores, rules: Rules, share: float) -> Contrast:
    """One contrast before its family is known, its interval at level 1 - share."""
    seen = sample(pairing, scores)
    copies = rules.copied_cells.issuperset(pairing.rows)
    differences, test = seen.differences, None if copies else _choose_test(seen)
    collapsed, gain = bool(seen.failed.any()), scores.metric.direction * differences
    found = summarise(differences, share, seen.scale)
    if seen.ranked:
        found = Summary(found.n, None, None, None)
    flipped = _flipped(test, seen)
    t, detectable = _t_results(differences, share) if test == "t" else (None, None)
    return Contrast(
        factor=pairing.factor,
        level=pairing.level,
        reference=pairing.reference,
        within=pairing.within,
        averaged_over=len(pairing.level_rows),
        n=found.n,
        differences=tuple(differences.tolist()),
        estimate=found.mean,
        sd=found.sd,
        interval=None if collapsed else found.interval,
        test=test,
        p=flipped if t is None else t,
        p_sign_flip=flipped,
        p_equivalence=_equivalence(seen, test, flipped, rules.margin),
        correlation=None if seen.ranked else paired.correlation(seen.level, seen.reference),
        detectable=detectable,
        wins=int((gain > 0).sum()),
        losses=int((gain < 0).sum()),
        failed=int(seen.failed.sum()),
        survivors=summarise(differences[seen.failed == 0], share) if collapsed else None,
        divergence=None if copies else _divergence(seen, len(pairing.level_rows)),
        copies=copies,
        at_edge=not rules.edge_cells.isdisjoint(pairing.rows),
    )


def _choose_test(seen: Sample) -> Test | None:
    """The t test unless collapsed replicas or equal differences break it; none for identical
    values or few seeds."""
    if len(seen.differences) < MINIMUM_SEEDS:
        return None
    if seen.ranked:
        return "signed-rank" if seen.differences.any() else None
    if np.abs(seen.differences).max() <= ROUNDING * seen.scale:
        return None
    alike = paired.is_constant(seen.differences, seen.scale)
    return "sign-flip" if alike or seen.failed.any() else "t"


def _t_results(differences: np.ndarray, share: float) -> tuple[float, float]:
    """p of the paired t test, and the smallest detectable difference."""
    effect = paired.detectable_effect(len(differences), share)
    p = float(paired.t_test(differences)[1])
    return p, float(differences.std(ddof=1)) * effect


def _equivalence(
    seen: Sample, test: Test | None, flipped: float | None, margin: float | None
) -> float | None:
    """p of TOST inside the margin; of differences without spread, that of the flips if inside."""
    if margin is None or test is None or seen.failed.any():
        return None
    if test == "t":
        return float(paired.equivalence_p(seen.differences, margin))
    return flipped if abs(seen.differences.mean()) < margin else 1.0


def _flipped(test: Test | None, seen: Sample) -> float | None:
    if test is None:
        return None
    if test == "signed-rank":
        return float(paired.sign_flip_p(paired.signed_ranks(seen.differences, seen.scale)))
    return float(paired.sign_flip_p(seen.differences, seen.scale))


def _divergence(seen: Sample, cells: int) -> Divergence | None:
    """Exact McNemar over seeds: those where one side lost more replicas than the other."""
    lost, kept = int(seen.lost_level.sum()), int(seen.lost_reference.sum())
    if lost + kept == 0:
        return None
    more = int((seen.lost_level > seen.lost_reference).sum())
    fewer = int((seen.lost_level < seen.lost_reference).sum())
    p = paired.mcnemar_p(more, fewer)
    return Divergence(lost, kept, cells * len(seen.failed), p, p)


def judge(contrast: Contrast, direction: int, rules: Rules, size: int) -> Contrast:
    """Adds verdict, reason and the seeds needed to a contrast with adjusted p-values.

    Equivalent comes before better and worse: a difference inside the margin does not matter, even
    where it is surely not zero.
    """
    verdict, reason, needed = _verdict(contrast, direction, rules), "", None
    if verdict == "withheld":
        reason = "a tuned value sits at the edge of its grid: widen --tune"
    elif verdict == "no verdict" and contrast.n < MINIMUM_SEEDS:
        reason = f"{MINIMUM_SEEDS} seeds or more give one"
    elif verdict == "no verdict" and contrast.copies:
        reason = "the seed changes nothing here: one replica, copied"
    elif verdict == "no verdict":
        ranked = contrast.failed and contrast.estimate is None
        same = "as many replicas diverged" if ranked else "identical values"
        reason = f"{same} at every seed: no p"
    elif verdict == "equivalent" and (contrast.p_adjusted or 0.0) <= rules.alpha:
        reason = "not zero, but inside the margin"
    elif verdict == "undecided":
        after = dataclasses.replace(rules, looks=rules.looks + 1)  # more seeds are another look
        needed, reason = _outlook(contrast, rules, after.share(size))
    return dataclasses.replace(contrast, verdict=verdict, reason=reason, seeds_needed=needed)


def _verdict(contrast: Contrast, direction: int, rules: Rules) -> Verdict:
    if rules.exploratory:
        return "exploratory"
    if contrast.at_edge:
        return "withheld"
    if contrast.p_adjusted is None:
        return "no verdict"
    if contrast.p_equivalence is not None and contrast.p_equivalence <= rules.alpha:
        return "equivalent"
    if contrast.p_adjusted > rules.alpha:
        return "undecided"
    ranks = paired.signed_ranks(np.array(contrast.differences)).sum()
    shift = ranks if contrast.estimate is None else contrast.estimate
    return "better" if direction * shift > 0 else "worse"


def _outlook(contrast: Contrast, rules: Rules, share: float) -> tuple[int | None, str]:
    """How many seeds would decide, as a number and in words.

    An exact test of collapsed seeds has no power formula; all that is known is where its smallest
    possible p, 2^(1 - n), reaches the Bonferroni level.
    """
    if contrast.test != "t" or contrast.estimate is None or contrast.sd is None:
        least = 1 + math.ceil(-math.log2(share))
        short = least > contrast.n
        return (least if short else None), f"at least {least} seeds are needed" if short else ""
    needed = paired.seeds_needed(contrast.estimate, contrast.sd, contrast.n, share, rules.margin)
    if needed is None:
        return None, f"more than {paired.MOST_SEEDS} seeds would be needed"
    return needed, f"about {needed} seeds would decide"
