"""The charts of a study: what each draws, with its rows and its legend."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.page import charts, series
from experiments.engine.page.facts import Facts
from experiments.engine.statistics import Analysis

Drawn = dict[str, Any]
PAIRS = 6
"""Pairs of factors whose interaction is drawn, at most."""


def drawn(
    spec: charts.Spec, rows: series.Rows, legend: Sequence[Drawn] = (), build: str = ""
) -> Drawn:
    """One chart of the page's data; `build` names the page's own code that makes its rows."""
    return {"spec": spec, "rows": rows, "legend": list(legend), "build": build}


def legend(names: Sequence[str], chosen: Sequence[charts.Style]) -> list[Drawn]:
    """Name, colour and dash of each series."""
    return [
        {"name": name, "colour": charts.COLOURS[colour], "dash": charts.DASHES[dash]}
        for name, (colour, dash) in zip(names, chosen, strict=True)
    ]


def every_chart(facts: Facts, diagnosed: series.Rows, curves: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> chart, of everything there is to draw."""
    labels = facts.labels
    chosen = charts.styles([tuple(cell.levels.values()) for cell in facts.study.cells])
    key = legend(labels, chosen)
    found: dict[str, Any] = {}
    if facts.answer is not None and facts.finals:
        found |= results(facts, facts.answer.analysis)
    for i, (field, rows) in enumerate(series.tuning(facts).items()):
        values = in_order(list(dict.fromkeys(row["x"] for row in rows)))
        tips = {
            "series": "cell",
            "x": field,
            "mean": "mean",
            "lost": "diverged",
            "chosen": "chosen",
        }
        spec = charts.lines(field, "mean validation score", values, labels, chosen, tips)
        found[f"tuning-{i + 1}"] = drawn(spec, rows, key)
    if curves:
        found["curves"] = drawn(charts.curves(labels, chosen), [], key, "curves")
    if diagnosed:
        layers = layer_order(diagnosed)
        tips = {"series": "cell", "x": "layer", "mean": "value"}
        spec = charts.lines("layer", "value", layers, labels, chosen, tips)
        found["layers"] = drawn(spec, [], key, "layers")
        styles = charts.styles([(name,) for name in layers])
        found["epochs"] = drawn(charts.over_epochs(layers), [], legend(layers, styles), "epochs")
    return found


def in_order(values: Sequence[str]) -> list[str]:
    """Tuned values by size where all are numbers, else as they were given."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return list(values)


def layer_order(diagnosed: series.Rows) -> list[str]:
    """Layers of all cells, each where its own net has it."""
    place: dict[str, int] = {}
    for row in diagnosed:
        place[row["layer"]] = max(place.get(row["layer"], 0), row["order"])
    return sorted(place, key=lambda name: place[name])


def results(facts: Facts, analysis: Analysis) -> dict[str, Any]:
    """Distribution, effects and interactions of the primary metric."""
    labels, metric = facts.labels, analysis.metric.name
    replicas = [{**row, "kind": "replica"} for row in series.finals(facts, analysis)]
    means = [{**row, "kind": "mean"} for row in series.means(facts, analysis)]
    percent, found = analysis.metric.is_fraction, {}
    effects = [row for row in series.effects(analysis) if row["mean"] is not None]
    if effects:
        names = list(dict.fromkeys(row["series"] for row in effects))
        tips = {
            "series": "difference", "mean": "estimate", "low": "low", "high": "high", "n": "n",
            "verdict": "verdict",
        }  # fmt: skip
        title = f"difference of test {metric}"
        found["effects"] = drawn(charts.intervals(title, names, tips, percent, zero=True), effects)
    pairs = itertools.combinations(range(len(analysis.factors)), 2)
    for i, (first, second) in enumerate(itertools.islice(pairs, PAIRS)):
        found[f"interaction-{i + 1}"] = interaction(analysis, first, second)
    spec = charts.distribution(f"test {metric}", labels, percent)
    return found | {"final": drawn(spec, replicas + means)}


def interaction(analysis: Analysis, first: int, second: int) -> Drawn:
    """Cell means over the levels of one factor, a line per level of another."""
    names = list(analysis.factors)
    others = [f"{names[second]} {level}" for level in analysis.factors[names[second]]]
    chosen = [(i % len(charts.COLOURS), i % len(charts.DASHES)) for i in range(len(others))]
    tips = {"series": "line", "x": names[first], "mean": "mean", "low": "low", "high": "high"}
    spec = charts.lines(
        names[first], f"test {analysis.metric.name}", list(analysis.factors[names[first]]),
        others, chosen, tips, analysis.metric.is_fraction,
    )  # fmt: skip
    rows = series.interaction(analysis, first, second)
    return drawn(spec, rows, legend(others, chosen))


def without_gaps(value: Any) -> Any:
    """The same with None for every number that JSON does not know."""
    if isinstance(value, dict):
        return {key: without_gaps(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_gaps(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
