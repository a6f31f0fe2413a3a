"""Published results with acceptance rules, and how measured values are judged by them. Pure.

A rule bounds one statistic of the values of one row, or of two rows paired by seed. Its verdict
compares the statistic's 90 % interval with the bounds: *reproduced* if the interval lies inside,
*not reproduced* if it lies outside, *inconclusive* otherwise.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from experiments.engine.statistics import price

Line = Mapping[str, Any]
Interval = tuple[float, float]
Statistic = Literal["mean", "median", "difference", "ratio"]
Verdict = Literal["reproduced", "inconclusive", "not reproduced"]

ERROR = 0.1
"""One minus the confidence of every interval at a first look; later ones have their share of it."""
FEWEST = 3
"""Seeds from which a mean has an interval."""
SEVERITY: tuple[Verdict, ...] = ("reproduced", "inconclusive", "not reproduced")


@dataclasses.dataclass(frozen=True)
class Published:
    """A number that somebody published.

    Attributes:
        value: in the unit of the claim's quantity.
        by: whose number it is: "paper", "authors' code".
        source: where it stands, and how that was checked.
    """

    value: float
    by: str
    source: str


@dataclasses.dataclass(frozen=True)
class Rule:
    """`low <= statistic <= high`, declared before the claim is run.

    Attributes:
        statistic: the mean or the median of one row over its seeds; the mean difference of two
            rows, first minus second, paired by seed; the geometric mean of their ratio.
        rows: one row, or two.
        low, high: the bounds, in the unit of the claim's quantity (none for a ratio).
        published: the number they stand around, if any.
    """

    statistic: Statistic
    rows: tuple[str, ...]
    low: float = -math.inf
    high: float = math.inf
    published: Published | None = None


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What is compared with the published numbers.

    Attributes:
        name: "test error".
        unit: "%".
        read: the recorded lines of one replica, its final line last -> the number.
        worst: of a replica that diverged or whose number is not finite; the score of guessing where
            there is one. Infinite values leave a mean or ratio without a verdict.
        decimals: shown.
    """

    name: str
    unit: str
    read: Callable[[Sequence[Line]], float]
    worst: float = math.inf
    decimals: int = 2


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published result: what is trained, and when it counts as reproduced.

    Attributes:
        title: what is claimed, in one line.
        experiment: that trains it.
        recipe: what the publication prescribes, what it leaves open, and what was chosen then.
        rows: name -> config fields as the command line spells them; `a|b` is tuned.
        rules: all of them must hold.
        quantity: what the rules are about.
        cost: time and machine.
        config: fields that all rows share.
        seeds: of every row; fewer give no verdict.
        tune_seeds: that choose the tuned values.
        evaluate_every: epochs between evaluations.
        needs_gpu: whether a CPU takes too long to be started without being told to.
    """

    title: str
    experiment: str
    recipe: str
    rows: Mapping[str, Mapping[str, str]]
    rules: tuple[Rule, ...]
    quantity: Quantity
    cost: str
    config: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: int = 5
    tune_seeds: int = 3
    evaluate_every: int = 10
    needs_gpu: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule says about measured values.

    Attributes:
        n: seeds behind it.
        estimate, interval: of the statistic; None where there are too few seeds, or where a
            diverged replica leaves none.
        reason: why it is inconclusive, where the interval does not show it.
        confidence: of the interval; further looks widen it.
    """

    rule: Rule
    n: int
    estimate: float | None
    interval: Interval | None
    verdict: Verdict
    reason: str = ""
    confidence: float = 1 - ERROR


def judge(claim: Claim, values: Mapping[str, np.ndarray], looks: int = 1) -> tuple[Finding, ...]:
    """Judges every rule of a claim.

    Args:
        values: row -> [seeds] of the claim's quantity, in the same order of seeds for every row;
            NaN where a replica has not finished.
        looks: how often the values were looked at with enough seeds for a verdict.
    """
    error = ERROR / price(max(looks, 1))
    found = (_finding(rule, values, claim.seeds, error) for rule in claim.rules)
    return tuple(dataclasses.replace(each, confidence=1 - error) for each in found)


def verdicts(findings: Sequence[Finding]) -> dict[str, Verdict]:
    """By whose number it is, the worst verdict of its rules; rules without a number count for all.

    A claim none of whose rules has a number has one verdict, under "".
    """
    owners = [f.rule.published.by if f.rule.published else "" for f in findings]
    sources = [owner for owner in dict.fromkeys(owners) if owner] or [""]
    worst: dict[str, Verdict] = {}
    for source in sources:
        own = [f for f, owner in zip(findings, owners, strict=True) if owner in (source, "")]
        worst[source] = SEVERITY[max(SEVERITY.index(f.verdict) for f in own)]
    return worst


def _finding(rule: Rule, values: Mapping[str, np.ndarray], seeds: int, error: float) -> Finding:
    columns = np.stack([values[row] for row in rule.rows])
    columns = columns[:, ~np.isnan(columns).any(axis=0)]
    n = columns.shape[1]
    estimate, interval = _estimate(rule.statistic, columns, error)
    if n < seeds:
        reason = f"{n} of {seeds} seeds"
        return Finding(rule, n, estimate, interval, "inconclusive", reason)
    if interval is None:
        lost = not np.isfinite(columns).all()
        reason = "a replica diverged, or never got there" if lost else f"no interval from n {n}"
        return Finding(rule, n, estimate, interval, "inconclusive", reason)
    low, high = interval
    verdict: Verdict = "inconclusive"
    if rule.low <= low and high <= rule.high:
        verdict = "reproduced"
    elif high < rule.low or rule.high < low:
        verdict = "not reproduced"
    return Finding(rule, n, estimate, interval, verdict)


def _estimate(
    statistic: Statistic, columns: np.ndarray, error: float
) -> tuple[float | None, Interval | None]:
    """The statistic of [rows, n] values, and its interval."""
    if not columns.size:
        return None, None
    if statistic == "median":
        return float(np.median(columns[0])), median_interval(columns[0], error)
    if not np.isfinite(columns).all() or (statistic == "ratio" and (columns <= 0).any()):
        return None, None
    if statistic == "ratio":
        logs = np.log(columns[0]) - np.log(columns[1])
        interval = mean_interval(logs, error)
        bounds = interval and (math.exp(interval[0]), math.exp(interval[1]))
        return math.exp(logs.mean()), bounds
    sample = columns[0] if statistic == "mean" else columns[0] - columns[1]
    return float(sample.mean()), mean_interval(sample, error)


def mean_interval(sample: np.ndarray, error: float) -> Interval | None:
    """1 - error t interval of the mean of [n] values; None below `FEWEST`."""
    from experiments.engine.paired import half_width

    if len(sample) < FEWEST:
        return None
    half = float(half_width(float(sample.std(ddof=1)), len(sample), error))
    return float(sample.mean()) - half, float(sample.mean()) + half


def median_interval(sample: np.ndarray, error: float) -> Interval | None:
    """Shortest pair of order statistics that covers the median with at least 1 - error.

    (x_(k), x_(n + 1 - k)) misses it with probability 2 P(Binomial(n, 1/2) < k), whatever the
    distribution; None if even the smallest and largest value miss it too often (n < 5 at 10 %).
    """
    from scipy import special

    n = len(sample)
    lower = [k for k in range(1, n // 2 + 1) if 2 * special.bdtr(k - 1, n, 0.5) <= error]
    if not lower:
        return None
    ordered = np.sort(sample)
    return float(ordered[lower[-1] - 1]), float(ordered[n - lower[-1]])
