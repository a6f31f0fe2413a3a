"""`report.html`: one page per study folder."""

import pathlib
from typing import Any

from experiments.engine.page import drawn, sections, series, sheets
from experiments.engine.page.document import document
from experiments.engine.page.facts import Facts
from experiments.engine.sealed import write_text

NAME = "report.html"


def page(facts: Facts) -> str:
    """The page of a study, finished or not."""
    tables, curves = sheets.sheets(facts), series.curves(facts)
    diagnosed = series.diagnoses(facts)
    charts = drawn.every_chart(facts, diagnosed, curves)
    parts = {
        "results": sections.results(facts, tables),
        "problems": sections.problems(facts),
        "effects": sections.effects(facts, charts),
        "tuning": sections.tuning(charts),
        "curves": sections.curves(curves, facts.metric, tunes=series.still_tunes(facts)),
        "layers": sections.layers(facts, diagnosed),
        "pictures": sections.pictures(facts),
        "provenance": sections.provenance(facts),
    }
    data: dict[str, Any] = {
        "charts": charts,
        "labels": facts.labels,
        "curves": curves,
        "diagnoses": diagnosed,
        "replicas": sheets.replicas(facts),
    }
    return document(sections.title(facts), sections.head(facts), parts, drawn.without_gaps(data))


def write_page(facts: Facts) -> pathlib.Path:
    """Writes the page into the study folder; returns its path."""
    path = facts.folder / NAME
    write_text(path, page(facts))
    return path
