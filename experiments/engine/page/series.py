"""What the charts draw: curves of training, of tuning, and what was recorded of every layer."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.engine.config import spell
from experiments.engine.contrasts import summarise
from experiments.engine.log import line_key
from experiments.engine.page.facts import Facts, Lines
from experiments.engine.standing import standings
from experiments.engine.statistics import Analysis
from experiments.engine.verdicts import in_order, judged, medians

ALPHA = 0.05
NO_CURVE = ("cell", "seed", "epoch", "step", "lines")

Rows = list[dict[str, Any]]


def curves(facts: Facts) -> dict[str, list[dict[str, Any]]]:
    """Metric -> per cell the mean over seeds of every epoch, its 95 % t interval, and each seed.

    While a study tunes and has nothing else, each cell is shown at the value that scores best so
    far. Below three seeds there is no interval. The mean is over the seeds whose value is finite;
    "n" counts them. A replica that ran out of patience keeps its last values.

    Returns:
        metric -> [{"cell", "x": epochs, "mean", "low", "high", "n", "seeds": {seed: values}}].
    """
    every = [each for each in facts.lines if "epoch" in each and "step" in each]
    kept = [line for line in every if line["phase"] == "report"] or _at_best(facts, every)
    kept = _to_the_end(facts, kept)
    names = dict.fromkeys(name for line in kept for name in line if _is_curve(name, line))
    by_cell: dict[int, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for line in kept:
        by_cell[line["cell"]].append(line)
    found = {
        name: [_curve(cell, mine, name) for cell, mine in sorted(by_cell.items())] for name in names
    }
    return {name: each for name, each in found.items() if any(curve["seeds"] for curve in each)}


def still_tunes(facts: Facts) -> bool:
    """Whether only replicas that tune have been evaluated."""
    return {line["phase"] for line in facts.lines} == {"tune"}


def _at_best(facts: Facts, lines: Lines) -> Lines:
    """The lines of each cell's best tuned value so far."""
    if not facts.metrics:
        return []
    best = {each.cell: each.tuned for each in reversed(standings(lines, facts.metrics[0]))}
    return [line for line in lines if line["tuned"] == best.get(line["cell"])]


def _to_the_end(facts: Facts, lines: Lines) -> Lines:
    """The lines, and the last one of every finished replica again for each later epoch that others
    of its cell have: one that ran out of patience stays as it was."""
    ended = {line_key(line) for line in facts.lines if line.get("final")}
    epochs: dict[int, set[int]] = collections.defaultdict(set)
    last: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for line in lines:
        epochs[line["cell"]].add(line["epoch"])
        if line_key(line) in ended:
            last[line_key(line)] = line
    more = [
        {**line, "epoch": epoch}
        for line in last.values()
        for epoch in sorted(epochs[line["cell"]])
        if epoch > line["epoch"]
    ]
    return [*lines, *more]


def _is_curve(name: str, line: Mapping[str, Any]) -> bool:
    value = line[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return name not in NO_CURVE and (number or value is None)


def _curve(cell: int, lines: Lines, name: str) -> dict[str, Any]:
    epochs = sorted({line["epoch"] for line in lines if name in line})
    seeds = sorted({line["seed"] for line in lines if name in line})
    at, of = ({each: i for i, each in enumerate(given)} for given in (epochs, seeds))
    values = np.full((len(epochs), len(seeds)), np.nan)
    for line in lines:
        if line.get(name) is not None:
            values[at[line["epoch"]], of[line["seed"]]] = line[name]
    sums = [summarise(row[np.isfinite(row)], ALPHA) for row in values]
    bounds = [each.interval or (None, None) for each in sums]
    return {
        "cell": cell,
        "x": epochs,
        "mean": [_short(each.mean) for each in sums],
        "low": [_short(low) for low, _ in bounds],
        "high": [_short(high) for _, high in bounds],
        "n": [each.n for each in sums],
        "seeds": {str(seed): [_short(v) for v in values[:, i]] for seed, i in of.items()},
    }


def _short(value: float | None) -> float | None:
    """Five digits, which no chart can tell from all of them; None for what is not finite."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def finals(facts: Facts, analysis: Analysis) -> Rows:
    """One row per finished reporting replica: its primary metric, as `results.csv` has it."""
    labels, name = facts.labels, f"test_{analysis.metric.name}"
    return [
        {
            "series": labels[line["cell"]], "seed": line["seed"], "status": line["status"],
            "value": line.get(name),
        }
        for line in facts.finals
    ]  # fmt: skip


def means(facts: Facts, analysis: Analysis) -> Rows:
    """One row per cell: mean and interval of the primary metric, from the analysis."""
    rows = []
    for name, cell in zip(facts.labels, analysis.cells, strict=True):
        low, high = cell.summary.interval or (None, None)
        about = {"mean": cell.summary.mean, "low": low, "high": high, "n": cell.summary.n}
        levels = {f"level_{i}": level for i, level in enumerate(cell.levels)}
        rows.append({"series": name, **about, **levels})
    return rows


def tuning(facts: Facts) -> dict[str, Rows]:
    """Tuned fields -> the mean validation score of each value, cell by cell, over the seeds that
    tune; what was chosen is marked, with `tune_per_seed` whatever a seed chose."""
    found: dict[str, dict[tuple[int, str], list[tuple[float, bool]]]] = {}
    chosen = facts.answer.chosen if facts.answer else {}
    for (cell, _), tuned in chosen.items():
        best = {name: spell(value) for name, value in tuned.values.items()}
        for values, scores in tuned.curve:
            groups = found.setdefault(", ".join(values), {})
            group = groups.setdefault((cell, "/".join(values.values())), [])
            group += [(score, values == best) for score in scores]
    return {
        fields: [_tuned(facts.labels[cell], value, group) for (cell, value), group in each.items()]
        for fields, each in found.items()
    }


def _tuned(name: str, value: str, group: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    finite = [score for score, _ in group if math.isfinite(score)]
    return {
        "series": name, "x": value, "mean": _short(float(np.mean(finite))) if finite else None,
        "lost": len(group) - len(finite), "chosen": any(chosen for _, chosen in group),
    }  # fmt: skip


def diagnoses(facts: Facts) -> Rows:
    """Medians over seeds: a row per cell, epoch, layer and quantity, layers in their order."""
    rows: Rows = []
    for cell, epoch, found in _diagnosed(facts):
        layers = medians(found)
        for quantity in ("gradient", "saturated", "dead", "mean", "sd"):
            inside = layers["activation"]
            part = {n: each[quantity] for n, each in inside.items() if quantity in each}
            part = layers["gradient"] if quantity == "gradient" else part
            rows += [
                {
                    "cell": cell, "epoch": epoch, "quantity": quantity, "layer": name, "order": i,
                    "value": _short(part[name]),
                }
                for i, name in enumerate(in_order(list(part)))
            ]  # fmt: skip
    return rows


def diagnosis(facts: Facts) -> list[tuple[str, list[str]]]:
    """Per cell, what its layers say after the last diagnosed epoch, in words."""
    last = {cell: found for cell, _, found in _diagnosed(facts)}
    return [(facts.labels[cell], judged(found)) for cell, found in last.items()]


def _diagnosed(facts: Facts) -> list[tuple[int, int, list[Mapping[str, Any]]]]:
    """(cell, epoch, what was found of each seed) in that order."""
    groups: dict[tuple[int, int], list[Mapping[str, Any]]] = collections.defaultdict(list)
    every = [x for x in facts.lines if "diagnosis" in x and x["phase"] == "report"]
    for line in _to_the_end(facts, every):
        groups[line["cell"], line["epoch"]].append(line["diagnosis"])
    return [(cell, epoch, group) for (cell, epoch), group in sorted(groups.items())]


def effects(analysis: Analysis) -> Rows:
    """One row per contrast: estimate and family-wise interval, simple effects first."""
    rows = []
    for item in (*analysis.simple_effects, *analysis.contrasts):
        low, high = item.interval or (None, None)
        held = ", ".join(f"{name} {level}" for name, level in item.within)
        rows.append({
            "series": f"{item.factor} {item.level} - {item.reference}{' at ' * bool(held)}{held}",
            "mean": item.estimate, "low": low, "high": high, "n": item.n, "verdict": item.verdict,
        })  # fmt: skip
    return rows


def interaction(analysis: Analysis, first: int, second: int) -> Rows:
    """Two factors' levels and the mean of their cells, averaged over the other factors.

    An interval stands only where nothing is averaged: then it is the cell's.
    """
    groups: dict[tuple[str, str], list[Any]] = collections.defaultdict(list)
    for cell in analysis.cells:
        groups[cell.levels[first], cell.levels[second]].append(cell.summary)
    rows = []
    for (level, other), sums in groups.items():
        known: Sequence[float] = [each.mean for each in sums if each.mean is not None]
        low, high = (len(sums) == 1 and sums[0].interval) or (None, None)
        mean = sum(known) / len(known) if len(known) == len(sums) else None
        name = f"{list(analysis.factors)[second]} {other}"
        rows.append({"x": level, "series": name, "mean": mean, "low": low, "high": high})
    return rows
