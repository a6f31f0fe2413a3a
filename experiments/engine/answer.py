"""What an analysis says in one sentence, and how it came to it in four."""

from collections.abc import Sequence

from experiments.engine import paired
from experiments.engine.statistics import MINIMUM_SEEDS, Analysis, Contrast, price
from experiments.engine.wording import Scale, difference_scale, unit_text, value_scale


def answer(analysis: Analysis) -> str:
    """The best cell and what each factor does, in one plain sentence.

    A cell that diverged whole is not the best, though guessing may score higher than another.
    Factors with a real interaction are reported by their simple effects.
    """
    parts = _best(analysis)
    for factor in dict.fromkeys(item.factor for item in analysis.contrasts):
        chosen = [item for item in analysis.simple_effects if item.factor == factor]
        chosen = chosen or [item for item in analysis.contrasts if item.factor == factor]
        parts.append(f"{factor}: {_findings(chosen, difference_scale(analysis))}")
    if not parts and any(cell.diverged for cell in analysis.cells):
        return "every finished replica diverged."
    return "; ".join(parts) + "." if parts else "no results yet."


def _best(analysis: Analysis) -> list[str]:
    scale, sign = value_scale(analysis), analysis.metric.direction
    lasting = [cell for cell in analysis.cells if cell.diverged < cell.summary.n]
    means = [(cell.summary.mean, cell.levels) for cell in lasting]
    known = [(sign * mean, levels) for mean, levels in means if mean is not None]
    if not known:
        return []
    mean, levels = max(known, key=lambda item: item[0])
    names = [f"{name} {level}" for name, level in zip(analysis.factors, levels, strict=True)]
    text = f"{scale.number(sign * mean)}{scale.unit}"
    return [f"best cell: {', '.join(names)} ({text})" if names else f"mean {text}"]


def _findings(contrasts: Sequence[Contrast], scale: Scale) -> str:
    """`gelu better than relu by 0.80 pp, tanh undecided`."""
    decided: list[str] = []
    others: dict[str, list[str]] = {}
    for item in contrasts:
        held = ", ".join(f"{name} {level}" for name, level in item.within)
        where = f" at {held}" if held else ""
        if item.verdict in ("better", "worse"):
            size = item.estimate and f" by {scale.number(abs(item.estimate))}{scale.unit}"
            decided.append(f"{item.level} {item.verdict} than {item.reference}{size or ''}{where}")
        elif item.verdict == "equivalent":
            decided.append(f"{item.level} equivalent to {item.reference}{where}")
        else:
            others.setdefault(item.verdict, []).append(f"{item.level}{where}")
    if not decided and len(others) == 1:
        return next(iter(others))
    return ", ".join(decided + [f"{_who(names)} {verdict}" for verdict, names in others.items()])


def _who(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{len(names)} others"


def methods(analysis: Analysis) -> str:
    """How the numbers came about (tests, family size, looks), in a few sentences."""
    percent, size = f"{100 * analysis.confidence:g} %", len(analysis.contrasts)
    formed = (
        "A contrast is level minus reference, formed within each seed and averaged over the "
        "levels of the other factors; its sample is one difference per seed."
    )
    if analysis.exploratory:
        return (
            f"Exploratory. {formed} p-values and {percent} intervals are those of a paired t "
            "test, corrected for nothing, and support no verdict."
        )
    looks, family = "", f"the family of {size} contrasts" if size > 1 else "the one contrast"
    if analysis.looks > 1:
        looks = (
            f" and, at look {analysis.looks} at the growing study, "
            f"multiplied by {price(analysis.looks)}"
        )
    tests = (
        f"Paired t with p adjusted by Holm over {family}{looks}, "
        f"{percent} family-wise Bonferroni intervals, and beside it the sign-flip p "
        f"(exact up to {paired.EXACT_SEEDS} seeds), uncorrected; Holm can decide where such an "
        f"interval still holds zero, collapsed replicas replace t by the exact test, and "
        f"fewer than {MINIMUM_SEEDS} seeds give no verdict."
    )
    return " ".join([formed, tests, _margin(analysis), _interactions(analysis)]).strip()


def _margin(analysis: Analysis) -> str:
    planned = "The smallest detectable difference has 80 % power at this n and Bonferroni level."
    if analysis.margin is None:
        return f"No margin was set, so nothing is called equivalent. {planned}"
    factor, unit = (100, " pp") if analysis.metric.is_fraction else (1, unit_text(analysis.metric))
    margin = f"{factor * analysis.margin:g}{unit}"
    return f"Equivalent means inside +-{margin} by TOST, Holm-adjusted likewise. {planned}"


def _interactions(analysis: Analysis) -> str:
    if not analysis.interactions:
        return ""
    text = "Two-way interactions: max-|t| over sign flips of whole seed rows, family-wise."
    if analysis.simple_effects:
        size = len(analysis.simple_effects)
        text += f" Simple effects, where interactions are real, form a Holm family of {size}."
    return text
