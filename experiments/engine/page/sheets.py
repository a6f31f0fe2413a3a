"""The tables of a study: its cells, what was compared, what else was measured, every replica."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.page.facts import Facts
from experiments.engine.page.sheet import Entry, Sheet, file_name
from experiments.engine.results import Answer
from experiments.engine.statistics import Analysis, Contrast, Interval
from experiments.engine.tables import row_of
from experiments.engine.values import spell
from experiments.engine.wording import (
    Scale,
    difference_scale,
    family,
    label,
    p_text,
    value_scale,
)


def sheets(facts: Facts) -> list[Sheet]:
    """Every table that has rows."""
    answer = facts.answer
    if answer is None:
        return []
    analysis = answer.analysis
    found = [
        cells(answer),
        contrasts("simple", "Simple effects (the headline)", analysis, analysis.simple_effects),
        contrasts("contrasts", "Level minus reference", analysis, analysis.contrasts),
        interactions(analysis),
        *(_exploratory(i, other) for i, other in enumerate(answer.exploratory, 1)),
        examples(answer),
        failures(analysis),
        survivors(analysis),
        measures(answer),
    ]
    return [sheet for sheet in found if sheet.rows]


def _exploratory(number: int, analysis: Analysis) -> Sheet:
    name = file_name(f"exploratory-{number}-{analysis.metric.name}")
    return contrasts(name, "Exploratory", analysis, analysis.contrasts)


def cells(answer: Answer) -> Sheet:
    """One row per cell: the primary metric over seeds, and what went wrong."""
    analysis = answer.analysis
    scale, percent = value_scale(analysis), f"{100 * analysis.confidence:g} %"
    numbers = ["n", f"mean{scale.unit}", "sd", f"{percent} interval"]
    crossed = any(answer.cells_crossed)
    numbers += [*(["over examples, too"] if crossed else []), *answer.extra]
    tuned = list(dict.fromkeys(name for each in answer.chosen.values() for name in each.values))
    rows = []
    for i, cell in enumerate(analysis.cells):
        summary, values = cell.summary, answer.chosen.get((i, None))
        row = [*map(_level, cell.levels), Entry(str(summary.n), summary.n)]
        row += [_number(summary.mean, scale), _number(summary.sd, scale)]
        row += [_interval(summary.interval, scale)]
        row += [_interval(answer.cells_crossed[i], scale)] if crossed else []
        row += [_number(column[i], scale) for column in answer.extra.values()]
        mine = values.values if values else {}
        row += [_level(spell(mine[n])) if n in mine else Entry("") for n in tuned]
        row += [Entry(str(cell.diverged), cell.diverged)]
        rows.append([*row, Entry(str(cell.did_not_train), cell.did_not_train)])
    header = [*analysis.factors, *numbers, *tuned, "diverged", "did not train"]
    return Sheet("cells", f"Test {analysis.metric.name} of every cell", header, rows)


def contrasts(name: str, title: str, analysis: Analysis, items: Sequence[Contrast]) -> Sheet:
    """One row per level-minus-reference difference, paired by seed."""
    scale, corrected = difference_scale(analysis), family(analysis, len(items), "Holm")
    header = [
        "difference", f"estimate{scale.unit}", "interval", f"p ({corrected})", "verdict",
        "sign-flip p", "n", "better in", "worse in", "seed correlation", "detectable",
    ]  # fmt: skip
    rows = []
    for item in items:
        p = item.p if analysis.exploratory else item.p_adjusted
        beside = [_p(item.p_sign_flip), *_counts(item.n, item.wins, item.losses)]
        correlation = item.correlation
        text = "-" if correlation is None else f"{correlation:.2f}"
        reason = f" ({item.reason})" if item.reason else ""
        rows.append([
            Entry(label(item)), _number(item.estimate, scale, "+"),
            _interval(item.interval, scale, "+"), _p(p),
            Entry(f"{item.verdict}{reason}"), *beside,
            Entry(text, correlation), _number(item.detectable, scale),
        ])  # fmt: skip
    return Sheet(name, f"{title}: {analysis.metric.name}", header, rows)


def interactions(analysis: Analysis) -> Sheet:
    """One row per two-way interaction."""
    scale = difference_scale(analysis)
    corrected = family(analysis, len(analysis.interactions), "max-|t|")
    header = ["interaction", f"change{scale.unit}", f"p ({corrected})", "n", "real"]
    rows = []
    for item in analysis.interactions:
        names = [f"{name} {level}" for name, level in zip(item.factors, item.levels, strict=True)]
        numbers = [_number(item.estimate, scale, "+"), _p(item.p), *_counts(item.n)]
        rows.append([Entry(" x ".join(names)), *numbers, Entry("yes" if item.is_real else "no")])
    return Sheet("interactions", "Does one effect depend on another factor?", header, rows)


def examples(answer: Answer) -> Sheet:
    """One row per difference: its interval over seeds and test examples."""
    scale, rows = difference_scale(answer.analysis), []
    header = [
        "difference", f"estimate{scale.unit}", "interval", "variance by examples", "seeds",
        "examples",
    ]  # fmt: skip
    for each in answer.crossed:
        numbers = _number(each.contrast.estimate, scale, "+")
        interval = _interval(each.interval, scale, "+")
        share = Entry(f"{100 * each.share:.0f} %", each.share)
        counts = _counts(each.seeds, each.examples)
        rows.append([Entry(label(each.contrast)), numbers, interval, share, *counts])
    title = "Over seeds and test examples, which are a sample, too"
    return Sheet("examples", title, header, rows)


def failures(analysis: Analysis) -> Sheet:
    """One row per difference with diverged replicas: their numbers, and exact McNemar."""
    header = ["difference", "level", "reference", "of replicas", "exact McNemar p", "corrected"]
    rows = []
    for items in (analysis.simple_effects, analysis.contrasts):
        corrected = Entry(family(analysis, len(items), "Holm"))
        for item in items:
            if lost := item.divergence:
                numbers = _counts(lost.level, lost.reference, lost.replicas)
                rows.append([Entry(label(item)), *numbers, _p(lost.p_adjusted), corrected])
    return Sheet("failures", "Diverged: level against reference", header, rows)


def survivors(analysis: Analysis) -> Sheet:
    """The same differences without the replicas that failed, which are a selection."""
    scale = difference_scale(analysis)
    header = ["difference", f"estimate{scale.unit}", "interval", "n"]
    rows = []
    for item in (*analysis.simple_effects, *analysis.contrasts):
        left = item.survivors
        if left is not None:
            numbers = [_number(left.mean, scale, "+"), _interval(left.interval, scale, "+")]
            rows.append([Entry(label(item)), *numbers, *_counts(left.n)])
    return Sheet("survivors", "Survivors only: a selection, no verdict", header, rows)


def measures(answer: Answer) -> Sheet:
    """Per cell, what the experiment measured beside its metrics."""
    cells, columns = answer.analysis.cells, answer.measures
    rows = [
        [*map(_level, cell.levels), *(_plain(column[i]) for column in columns.values())]
        for i, cell in enumerate(cells)
    ]
    header = [*answer.analysis.factors, *columns]
    title = "Further measures of the final nets, means over seeds"
    return Sheet("measures", title, header, rows if columns else [])


def replicas(facts: Facts) -> list[dict[str, Any]]:
    """The rows of `results.csv`, without the fields that all replicas share."""
    rows = [row_of(facts.study, line) for line in facts.finals]
    names = list(dict.fromkeys(name for row in rows for name in row))
    always = {"cell", "seed", "status", *(facts.study.cells[0].levels if facts.study.cells else ())}
    kept = [name for name in names if name in always or not _is_constant(rows, name)]
    return [{name: row.get(name) for name in kept} for row in rows]


def _is_constant(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether no replica differs in it; measured numbers always count as different."""
    values = [row.get(name) for row in rows]
    return not any(isinstance(v, float) for v in values) and all(v == values[0] for v in values)


def _number(value: float | None, scale: Scale, sign: str = "") -> Entry:
    return Entry(scale.number(value, sign), value)


def _interval(interval: Interval | None, scale: Scale, sign: str = "") -> Entry:
    """Sorted by its lower end."""
    return Entry(scale.interval(interval, sign), interval[0] if interval else None)


def _plain(value: float | None) -> Entry:
    return Entry("-" if value is None else f"{value:,.6g}", value)


def _level(text: str) -> Entry:
    """A level; sorted as a number where it is one."""
    try:
        return Entry(text, float(text))
    except ValueError:
        return Entry(text)


def _p(p: float | None) -> Entry:
    return Entry("-" if p is None else p_text(p).removeprefix("p "), p)


def _counts(*counts: int) -> list[Entry]:
    return [Entry(str(count), count) for count in counts]
