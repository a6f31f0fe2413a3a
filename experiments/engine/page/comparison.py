"""`comparison.html`: several studies side by side, and what differs between their configs."""

import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.answer import answer
from experiments.engine.page import charts, drawn, sections, series
from experiments.engine.page.document import document, figure, section, text
from experiments.engine.page.facts import Facts
from experiments.engine.page.page import NAME
from experiments.engine.page.sheet import Entry, Sheet, to_html
from experiments.engine.sealed import write_text
from experiments.engine.study import specification

COMPARISON = "comparison.html"
APART = (
    "Seeds are paired within a study only, so studies are shown side by side and not tested "
    "against each other."
)


def write_comparison(studies: Sequence[Facts]) -> pathlib.Path:
    """Writes the page into the first study's folder; returns its path."""
    path = studies[0].folder / COMPARISON
    write_text(path, comparison(studies))
    return path


def comparison(studies: Sequence[Facts]) -> str:
    """The page of several studies."""
    names = short_names([facts.folder for facts in studies])
    labels = [
        f"{name}: {label}" for name, f in zip(names, studies, strict=True) for label in f.labels
    ]
    curves = joined_curves(studies)
    found: dict[str, Any] = {}
    levels = [(name, label) for name, f in zip(names, studies, strict=True) for label in f.labels]
    chosen = charts.styles(levels)
    if scored := one_metric(studies):
        found["cells"] = _cells_chart(scored, labels, studies)
    if curves:
        key = drawn.legend(labels, chosen)
        found["curves"] = drawn.drawn(charts.curves(labels, chosen), [], key, "curves")
    caption = "Mean and 95 % interval of every cell."
    parts = {
        "studies": section("studies", "Studies", _overview(names, studies), f"<p>{APART}</p>"),
        "differences": section(
            "differences", "What differs", to_html(differences(names, studies))
        ),
        "results": section(
            "results", "Results", figure("cells", caption) if scored else "",
            to_html(all_cells(names, studies)),
        ),
        "curves": sections.curves(curves, scored),
    }  # fmt: skip
    data = {"charts": found, "labels": labels, "curves": curves, "diagnoses": [], "replicas": []}
    title = f"{len(studies)} studies side by side"
    return document(title, f"<h1>{text(title)}</h1>", parts, drawn.without_gaps(data))


def short_names(folders: Sequence[pathlib.Path]) -> list[str]:
    """The folders' own names; their whole paths where two have the same name."""
    own = [folder.resolve().name for folder in folders]
    return own if len(set(own)) == len(own) else [str(folder) for folder in folders]


def one_metric(studies: Sequence[Facts]) -> str:
    """The primary metric that all studies with results share; "" where there is none."""
    known = {f.answer.analysis.metric for f in studies if f.answer and f.finals}
    names = {metric.name for metric in known}
    return names.pop() if len(names) == 1 else ""


def _cells_chart(metric: str, labels: Sequence[str], studies: Sequence[Facts]) -> drawn.Drawn:
    rows, start, percent = [], 0, False
    for facts in studies:
        if facts.answer and facts.finals:
            percent = facts.answer.analysis.metric.is_fraction
            for i, row in enumerate(series.means(facts, facts.answer.analysis)):
                rows.append(row | {"series": labels[start + i]})
        start += len(facts.labels)
    shown = [row for row in rows if row["mean"] is not None]
    tips = {"series": "cell", "mean": "mean", "low": "low", "high": "high", "n": "seeds"}
    names = [row["series"] for row in shown]
    spec = charts.intervals(f"test {metric}", names, tips, percent, zero=False)
    return drawn.drawn(spec, shown)


def _overview(names: Sequence[str], studies: Sequence[Facts]) -> str:
    items = []
    for name, facts in zip(names, studies, strict=True):
        page = os.path.relpath(facts.folder.resolve() / NAME, studies[0].folder.resolve())
        said = answer(facts.answer.analysis) if facts.answer and facts.finals else "No answer yet."
        address = urllib.parse.quote(pathlib.PurePath(page).as_posix())
        link = f'<a href="{text(address)}">{text(name)}</a>'
        asked = f"{sections.title(facts)} ({facts.state}) {said}"
        items.append(f"<li>{link}: {text(asked)}</li>")
    return f"<ul>{''.join(items)}</ul>"


def differences(names: Sequence[str], studies: Sequence[Facts]) -> Sheet:
    """A row per part of the specification that is not the same in all studies."""
    told = [_told(facts) for facts in studies]
    fields = dict.fromkeys(name for each in told for name in each)
    rows = [
        [Entry(field), *(Entry(each.get(field, "-")) for each in told)]
        for field in fields
        if len({each.get(field, "-") for each in told}) > 1
    ]
    title = "Configs and designs; what is not listed is the same"
    return Sheet("differences", title, ["field", *names], rows)


def _told(facts: Facts) -> dict[str, str]:
    """Field -> value, or all values where it is varied or tuned."""
    asked = specification(facts.study)
    flat: dict[str, str] = {name: str(value) for name, value in asked["config"].items()}
    flat |= {name: _listed("varied", values) for name, values in asked["vary"].items()}
    flat |= {name: _listed("tuned", values) for name, values in asked["tune"].items()}
    flat |= {f"arm {name}": _set(values) for name, values in asked["arms"].items()}
    shown = {"config", "vary", "tune", "arms"}
    flat |= {name: str(value) for name, value in asked.items() if name not in shown}
    data = [digest[:12] for digest in facts.contents.get("data", [])]
    study = {"seeds": facts.study.seeds, "margin": facts.study.margin, "data": ", ".join(data)}
    return flat | {name: str(value) for name, value in study.items()}


def _listed(how: str, values: Sequence[str]) -> str:
    return f"{how}: {', '.join(values)}"


def _set(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "as the others"


def all_cells(names: Sequence[str], studies: Sequence[Facts]) -> Sheet:
    """The cells of all studies, one below the other."""
    rows = []
    for name, facts in zip(names, studies, strict=True):
        if facts.answer is None or not facts.finals:
            continue
        metric = facts.answer.analysis.metric.name
        for row in series.means(facts, facts.answer.analysis):
            numbers = [row["mean"], row["low"], row["high"]]
            measured = [Entry("-" if v is None else f"{v:.5g}", v) for v in numbers]
            count = Entry(str(row["n"]), row["n"])
            rows.append([Entry(name), Entry(row["series"]), Entry(metric), count, *measured])
    header = ["study", "cell", "test metric", "n", "mean", "low", "high"]
    return Sheet("all", "Every cell: mean and 95 % interval", header, rows)


def joined_curves(studies: Sequence[Facts]) -> dict[str, list[dict[str, Any]]]:
    """The curves of all studies by metric, their cells counted through."""
    found: dict[str, list[dict[str, Any]]] = {}
    start = 0
    for facts in studies:
        for metric, each in series.curves(facts).items():
            moved = [curve | {"cell": curve["cell"] + start} for curve in each]
            found.setdefault(metric, []).extend(moved)
        start += len(facts.labels)
    return found
