"""What goes into the statistical analysis of a study and what comes out of it: plain data.

`analysis.analyse` turns a `Grid` and a `Metric` into an `Analysis`; `text.render` prints it.
Nothing here or there reads a file or trains anything.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Interval = tuple[float, float]
Verdict = Literal[
    "better",
    "worse",
    "equivalent",
    "undecided",
    "no verdict",
    "withheld",
    "exploratory",
]
Test = Literal["t", "sign-flip", "signed-rank"]

MINIMUM_SEEDS = 5  # fewer seeds give no verdict
CHANCE_SIGMAS = 3.0  # a replica this close to guessing, in binomial standard errors, did not train
USUAL_EXAMPLES = 1000  # test examples assumed when a metric does not say how many it has
ROUNDING = 1e-6
"""Relative: recorded numbers are float32, so smaller differences between them say nothing."""


def price(look: int) -> int:
    """What the p-values of a look at a growing study are multiplied by: 1, then 4, 8, 16, ...

    So later looks, however many, have half of the first one's error between them (1/4 + 1/8 + ...;
    Lan and DeMets 1983, Biometrika 70: an error is spent look by look). Multiplied by the number of
    looks so far it would have no bound.
    """
    return 1 if look == 1 else 2**look


@dataclass(frozen=True)
class Metric:
    """A measured quantity.

    Attributes:
        name: what it is called, e.g. "accuracy".
        higher_is_better: its direction.
        chance: the score of guessing on a bounded metric; None on an unbounded one. With a chance
            score in [0, 1] the metric counts as a fraction and is printed in percent.
        examples: test examples behind one value, for the tolerance of "ends at chance".
        unit: of its values, such as dB; of a fraction none.
    """

    name: str
    higher_is_better: bool = True
    chance: float | None = None
    examples: int | None = None
    unit: str = ""

    @property
    def direction(self) -> int:
        """+1 where a larger value is better, -1 where a smaller one is."""
        return 1 if self.higher_is_better else -1

    @property
    def is_fraction(self) -> bool:
        """Whether values live in [0, 1] and read best in percent."""
        return self.chance is not None and 0 <= self.chance <= 1

    @property
    def chance_tolerance(self) -> float:
        """How much better than chance a replica may score and still count as guessing.

        Three standard errors of a binomial proportion, 3 sqrt(c (1 - c) / examples); zero where
        the chance score is no proper fraction.
        """
        chance = self.chance or 0.0
        variance = max(chance * (1 - chance), 0.0) / (self.examples or USUAL_EXAMPLES)
        return CHANCE_SIGMAS * variance**0.5


@dataclass(frozen=True)
class Grid:
    """The results of a study for one metric.

    Attributes:
        factors: factor -> its levels as text, the reference level first.
        cells: per cell its level of each factor, in the order of `factors`; a full factorial or
            any list of distinct cells.
        seeds: one number per column of `values`.
        values: [cells, seeds] final values; NaN = missing (unless diverged).
        diverged: [cells, seeds] which replicas diverged, whatever their value.
    """

    factors: dict[str, tuple[str, ...]]
    cells: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    values: np.ndarray
    diverged: np.ndarray


@dataclass(frozen=True)
class Summary:
    """A sample in four numbers; None where the sample is too small or has no mean."""

    n: int
    mean: float | None
    sd: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Cell:
    """One cell over its seeds; `values` as analysed: NaN missing, diverged at chance or infinite.

    `did_not_train` counts the replicas that finished no better than chance, besides `diverged`.
    With either, t does not hold: `summary` has no interval, `survivors` sums up the others.
    """

    levels: tuple[str, ...]
    values: tuple[float, ...]
    summary: Summary
    diverged: int
    did_not_train: int
    survivors: Summary | None
    at_edge: bool


@dataclass(frozen=True)
class Divergence:
    """Diverged replicas of a level and of its reference, and exact McNemar over seeds."""

    level: int
    reference: int
    replicas: int
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Contrast:
    """Level minus reference of one factor, formed per seed over matching cells.

    Attributes:
        within: the levels of other factors it is restricted to (a simple effect); () = averaged.
        averaged_over: matching pairs of cells averaged with equal weight within each seed.
        differences: one per complete seed; infinite where only one side diverged (worst rank).
        test: which test `p` comes from; None = no p.
        interval: t interval at the Bonferroni level of the family; None where t is suppressed.
        p_adjusted: Holm over the family, times `price` of the look.
        p_equivalence: TOST inside the margin, adjusted the same way.
        detectable: difference found with 80 % power at this n and Bonferroni level.
        wins, losses: seeds in which the level was better, worse.
        failed: replicas in it that diverged or did not train.
        copies: whether the seeds of every cell in it are one replica, copied: no test.
        seeds_needed: total number of seeds that would about decide; None = not known or > 1000.
    """

    factor: str
    level: str
    reference: str
    within: tuple[tuple[str, str], ...]
    averaged_over: int
    n: int
    differences: tuple[float, ...]
    estimate: float | None
    sd: float | None
    interval: Interval | None
    test: Test | None
    p: float | None
    p_sign_flip: float | None
    p_equivalence: float | None
    correlation: float | None
    detectable: float | None
    wins: int
    losses: int
    failed: int
    survivors: Summary | None
    divergence: Divergence | None
    at_edge: bool
    copies: bool = False
    p_adjusted: float | None = None
    verdict: Verdict = "no verdict"
    reason: str = ""
    seeds_needed: int | None = None


@dataclass(frozen=True)
class Interaction:
    """How far the effect of one factor's level changes with the level of another.

    (level - reference of the first) at the second's level minus the same at its reference; `p` is
    family-wise over every interaction contrast of the study (max-|t|), times `price` of the look.
    """

    factors: tuple[str, str]
    levels: tuple[str, str]
    references: tuple[str, str]
    n: int
    estimate: float
    t: float
    p: float
    is_real: bool


@dataclass(frozen=True)
class Analysis:
    """Everything a study says about one metric."""

    metric: Metric
    factors: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    confidence: float
    margin: float | None
    looks: int
    exploratory: bool
    cells: tuple[Cell, ...]
    contrasts: tuple[Contrast, ...]
    interactions: tuple[Interaction, ...]
    simple_effects: tuple[Contrast, ...]
    notes: tuple[str, ...]
