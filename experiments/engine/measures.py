"""What an experiment measured beside its metrics, as text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.jobs import Job
from experiments.engine.statistics import Analysis
from experiments.engine.study import Study, factors, label
from experiments.engine.text import table
from experiments.engine.wording import value_scale


def others_text(others: Sequence[Analysis], width: int) -> list[str]:
    """The table of the metrics that are not the primary one."""
    if not others:
        return []
    scales = list(map(value_scale, others))
    columns = [
        [scale.number(cell.summary.mean) for cell in each.cells]
        for scale, each in zip(scales, others, strict=True)
    ]
    factors = others[0].factors
    names = [f"{o.metric.name}{s.unit}" for o, s in zip(others, scales, strict=True)]
    rows = [
        [*cell.levels, *row]
        for cell, row in zip(others[0].cells, zip(*columns, strict=True), strict=True)
    ]
    text = ["Other metrics of the test rows, means over seeds:"]
    return [*text, *table([*factors, *names], rows, width, len(factors)), ""]


def measures_text(
    study: Study, jobs: Sequence[Job], measures: Mapping[str, Sequence[float | None]], width: int
) -> list[str]:
    """The table of further measures, and what the experiment says to them."""
    if not measures:
        return []
    rows = [
        [*cell.levels.values(), *(_short(column[i]) for column in measures.values())]
        for i, cell in enumerate(study.cells)
    ]
    header = [*factors(study), *measures]
    text = ["Further measures of the final nets, means over seeds:"]
    text += table(header, rows, width, len(factors(study)))
    configs = {job.cell: job.config for job in jobs}
    return text + _remarks(study, configs, measures, width)


def _remarks(
    study: Study,
    configs: Mapping[int, Any],
    means: Mapping[str, Sequence[float | None]],
    width: int,
) -> list[str]:
    """What the experiment says to the measures of each cell; nothing of one that lacks some it
    speaks of."""
    remark = study.experiment.remark
    text: list[str] = []
    for i, config in sorted(configs.items()):
        known = {name: column[i] for name, column in means.items()}
        measured = {name: value for name, value in known.items() if value is not None}
        if remark is None:
            continue
        try:
            said = f"{label(study, i)}: {remark(config, measured)}"
        except KeyError:
            if len(measured) == len(known):
                raise
            continue
        text += textwrap.wrap(said, width, initial_indent="  ", subsequent_indent="    ")
    return text


def _short(value: float | None) -> str:
    """Four digits, but all of a whole number."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"
