"""Numbers, contrasts and interactions of an analysis as text."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.engine.statistics import (
    MINIMUM_SEEDS,
    Analysis,
    Contrast,
    Interval,
    Metric,
    Summary,
    price,
)


@dataclass(frozen=True)
class Scale:
    """How numbers of one kind are printed: times `factor`, followed by `unit`.

    `decimals` None stands for four significant digits.
    """

    factor: float
    unit: str
    decimals: int | None

    def number(self, value: float | None, sign: str = "") -> str:
        """The bare number; "-" for none. `sign` "+" always shows the sign."""
        if value is None or not math.isfinite(value):
            return "-"
        value = self.factor * value
        if self.decimals is None or abs(value) >= 1e7:
            return f"{value:{sign}.4g}"
        return f"{round(value, self.decimals) + 0.0:{sign}.{self.decimals}f}"

    def interval(self, interval: Interval | None, sign: str = "") -> str:
        """`[low, high]`; "-" for none."""
        return "-" if interval is None else f"[{', '.join(self.number(x, sign) for x in interval)}]"


def value_scale(analysis: Analysis) -> Scale:
    """Scale of values: percent for fractions; two significant digits of the typical sd, and four
    of each number where the smallest sd would not show."""
    spreads = [cell.summary.sd for cell in analysis.cells]
    return _scale(analysis, spreads, [x for cell in analysis.cells for x in cell.values], " %")


def difference_scale(analysis: Analysis) -> Scale:
    """Scale of differences: percentage points for fractions; two digits of the typical
    uncertainty, and four of each number where the smallest would not show."""
    contrasts = (*analysis.contrasts, *analysis.simple_effects)
    errors = [item.sd and 2 * item.sd / math.sqrt(item.n) for item in contrasts]
    return _scale(analysis, errors, [x for item in contrasts for x in item.differences], " pp")


def _scale(
    analysis: Analysis, spreads: Iterable[float | None], values: Iterable[float], unit: str
) -> Scale:
    fraction = analysis.metric.is_fraction
    factor = 100.0 if fraction else 1.0
    unit = unit if fraction else unit_text(analysis.metric)
    known = [factor * spread for spread in spreads if spread]
    sizes = [factor * abs(value) for value in values if value and math.isfinite(value)]
    if not known and not sizes:
        return Scale(factor, unit, 2)
    exact = 1 - math.log10(statistics.median(known)) if known else 3 - math.log10(max(sizes))
    decimals = max(math.ceil(exact), 1 if fraction else 0)
    decimals = decimals if known or not fraction else min(decimals, 2)
    vanishes = known and min(known) < 0.5 * 10.0**-decimals  # beside others that are far larger
    return Scale(factor, unit, None if vanishes or decimals > 6 else decimals)


def unit_text(metric: Metric) -> str:
    """` dB`: the unit after a number that is no fraction."""
    return f" {metric.unit}" if metric.unit else ""


def count(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def p_text(p: float) -> str:
    """`p 0.004`, `p <0.001`."""
    return "p <0.001" if p < 0.001 else f"p {p:.3f}"


def label(contrast: Contrast) -> str:
    """`dropout 0.2 - 0`, with the levels held fixed of a simple effect."""
    held = ", ".join(f"{name} {level}" for name, level in contrast.within)
    name = f"{contrast.factor} {contrast.level} - {contrast.reference}"
    return f"{name} at {held}" if held else name


def family(analysis: Analysis, size: int, name: str) -> str:
    """`Holm of 5`; at a further look, what that multiplies p by as well."""
    if analysis.exploratory:
        return "uncorrected"
    looks = f" x {price(analysis.looks)} at look {analysis.looks}" if analysis.looks > 1 else ""
    return f"{name} of {size}{looks}"


def contrast_lines(contrast: Contrast, analysis: Analysis, size: int) -> list[str]:
    """The verdict line of a contrast in a family of `size`, then what stands beside it."""
    scale = difference_scale(analysis)
    verdict = f"{contrast.verdict} ({contrast.reason})" if contrast.reason else contrast.verdict
    lines = [f"{label(contrast)}: {', '.join(_numbers(contrast, analysis, size))}: {verdict}"]
    beside = []
    if contrast.correlation is not None:
        beside.append(f"seed correlation {contrast.correlation:.2f}")
    if contrast.detectable is not None:
        smallest = f"{scale.number(contrast.detectable)}{scale.unit}"
        beside.append(f"smallest detectable difference {smallest}")
    if beside:
        lines.append(", ".join(beside))
    if contrast.survivors is not None:
        lines.append(_survivors(contrast.survivors, scale))
    lost = contrast.divergence
    if lost is not None:
        rates = f"{lost.level} of {lost.replicas} against {lost.reference} of {lost.replicas}"
        corrected = f"{p_text(lost.p_adjusted)} ({family(analysis, size, 'Holm')})"
        lines.append(f"diverged: {rates}, exact McNemar {corrected}")
    return lines


def _numbers(contrast: Contrast, analysis: Analysis, size: int) -> list[str]:
    scale = difference_scale(analysis)
    if contrast.n == 0:
        return ["no seed is complete"]
    if contrast.failed and contrast.estimate is None:
        parts = [f"better in {contrast.wins}, worse in {contrast.losses} of {contrast.n} seeds"]
    elif contrast.n < MINIMUM_SEEDS:
        values = " ".join(scale.number(value, "+") for value in contrast.differences)
        parts = [f"{'value' if contrast.n == 1 else 'values'} {values}{scale.unit}"]
        if contrast.n > 2:
            parts.append(f"mean {_estimate(contrast.estimate, contrast.interval, scale)}")
    else:
        parts = [_estimate(contrast.estimate, contrast.interval, scale)]
    if contrast.p_adjusted is not None:
        parts.append(f"{p_text(contrast.p_adjusted)} ({family(analysis, size, 'Holm')})")
    if contrast.test == "t" and contrast.p_sign_flip is not None:
        parts.append(f"sign-flip {p_text(contrast.p_sign_flip)}")
    elif contrast.test:
        why = f"{count(contrast.failed, 'replica')} diverged or did not train"
        why = why if contrast.failed else "the same at every seed"
        parts.append(f"by exact {contrast.test}, not t ({why})")
    if contrast.p_equivalence is not None and contrast.verdict in ("equivalent", "undecided"):
        parts.append(f"TOST {p_text(contrast.p_equivalence)}")
    return [*parts, f"n {contrast.n}"]


def _estimate(estimate: float | None, interval: Interval | None, scale: Scale) -> str:
    bounds = "" if interval is None else f" {scale.interval(interval, '+')}"
    return f"{scale.number(estimate, '+')}{scale.unit}{bounds}"


def _survivors(survivors: Summary, scale: Scale) -> str:
    text = _estimate(survivors.mean, survivors.interval, scale) if survivors.n else "none"
    return f"survivors only (n {survivors.n}, a selection, no verdict): {text}"


def interaction_lines(analysis: Analysis) -> list[str]:
    """The interactions that are real one by one, the others in a sentence."""
    real = [item for item in analysis.interactions if item.is_real]
    rest = [item.p for item in analysis.interactions if not item.is_real]
    size, scale = len(analysis.interactions), difference_scale(analysis)
    lines = []
    for item in real:
        names = [f"{name} {level}" for name, level in zip(item.factors, item.levels, strict=True)]
        corrected = f"{p_text(item.p)} ({family(analysis, size, 'max-|t|')})"
        change = f"{scale.number(item.estimate, '+')}{scale.unit}"
        lines.append(f"{' x '.join(names)}: {change}, {corrected}, n {item.n}: real")
    if rest:
        corrected = f"smallest {p_text(min(rest))} ({family(analysis, size, 'max-|t|')})"
        tested = count(size, "two-way interaction")
        lines.append(f"{len(rest)} of {tested} not shown, {corrected}")
    return lines
