"""Figures and tables for a paper, in `figures/` of the study folder."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.engine.errors import UsageError
from experiments.engine.page import series
from experiments.engine.page.facts import Facts, read_facts
from experiments.engine.page.sheet import Sheet, file_name, to_csv, to_latex, to_markdown
from experiments.engine.page.sheets import sheets
from experiments.engine.page.vega import need, schema_version
from experiments.engine.reopen import Reopened
from experiments.engine.sealed import write_bytes, write_text

WIDTH = 480
"""Pixels of a figure's plot."""
SCALE = 3.0
"""Pixels of a PNG per pixel of the figure."""
TABLES: Mapping[str, tuple[str, Callable[[Sheet], str]]] = {
    "markdown": ("md", to_markdown),
    "latex": ("tex", to_latex),
    "csv": ("csv", to_csv),
}


FIGURES = ("pdf", "svg", "png")


def check(figures: str | None, tables: str | None) -> None:
    """Raises `UsageError` for an unknown format, or figures without the extra `report`."""
    for flag, given, known in (("figures", figures, FIGURES), ("tables", tables, list(TABLES))):
        if given is not None and given not in known:
            raise UsageError(f"--{flag} {given}: one of {', '.join(known)}")
    if figures:
        need()


def write_papers(
    opened: Reopened, *, figures: str | None, tables: str | None
) -> list[pathlib.Path]:
    """Writes what is asked for; returns the files.

    Args:
        figures: one of `FIGURES`; None: none.
        tables: one of `TABLES`; None: none.
    """
    if not figures and not tables:
        return []
    facts, folder = read_facts(opened), opened.folder / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    if tables:
        ending, write = TABLES[tables]
        for sheet in sheets(facts):
            written.append(folder / f"{sheet.name}.{ending}")
            write_text(written[-1], write(sheet))
    if figures:
        for name, spec in specs(facts).items():
            written.append(folder / f"{file_name(name)}.{figures}")
            write_bytes(written[-1], _rendered(spec, figures))
    return written


def specs(facts: Facts) -> dict[str, dict[str, Any]]:
    """Every chart with rows and a legend: curves of each metric, layers after each cell's last
    epoch."""
    from experiments.engine.page.drawn import every_chart, without_gaps

    curves, diagnosed = series.curves(facts), series.diagnoses(facts)
    drawn = every_chart(facts, diagnosed, curves)
    found = {
        name: (each["spec"], each["rows"], "") for name, each in drawn.items() if not each["build"]
    }
    for metric in curves:
        rows = curve_rows(facts.labels, curves[metric])
        found[f"curves-{metric}"] = (drawn["curves"]["spec"], rows, metric)
    last = {row["cell"]: row["epoch"] for row in sorted(diagnosed, key=lambda row: row["epoch"])}
    for quantity in dict.fromkeys(row["quantity"] for row in diagnosed):
        rows = [
            {"series": facts.labels[row["cell"]], "x": row["layer"], "mean": row["value"]}
            for row in diagnosed
            if row["epoch"] == last[row["cell"]] and row["quantity"] == quantity
        ]
        found[f"layers-{quantity}"] = (drawn["layers"]["spec"], rows, quantity)
    return {
        name: printed(spec, without_gaps(rows), value)
        for name, (spec, rows, value) in found.items()
    }


def curve_rows(labels: Sequence[str], curves: Sequence[Mapping[str, Any]]) -> series.Rows:
    """Means and intervals of one metric's curves, as the chart takes them."""
    return [
        {"series": labels[curve["cell"]], "x": x, "y": mean, "low": low, "high": high, "seed": None}
        for curve in curves
        for x, mean, low, high in zip(
            curve["x"], curve["mean"], curve["low"], curve["high"], strict=True
        )
    ]


LEGEND = {
    "title": None, "labelLimit": 400, "symbolType": "stroke", "symbolOpacity": 1,
    "symbolSize": 400, "symbolStrokeWidth": 2,
}  # fmt: skip


def printed(spec: Mapping[str, Any], rows: series.Rows, value: str) -> dict[str, Any]:
    """A chart of the page for paper: black on white, of fixed width, its legend beside it.

    Args:
        value: what stands at the axis where the page has a choice of values.
    """
    plain = _on_paper(spec, value)
    config = plain.get("config", {}) | {"background": "white", "font": "sans-serif"}
    datasets = plain.get("datasets", {}) | {"rows": rows}
    return plain | {"width": WIDTH, "config": config, "datasets": datasets}


def _on_paper(part: Any, value: str) -> Any:
    if isinstance(part, list):
        return [_on_paper(each, value) for each in part]
    if not isinstance(part, Mapping):
        return "#000" if part == "currentColor" else part
    new = {key: _on_paper(each, value) for key, each in part.items() if key != "tooltip"}
    if new.get("title") == "value":
        new["title"] = value
    for name in ("color", "strokeDash"):
        if isinstance(new.get(name), dict) and "field" in new[name]:
            new[name]["legend"] = LEGEND
    return new


def _rendered(spec: dict[str, Any], ending: str) -> bytes:
    import vl_convert

    version = schema_version()
    if ending == "pdf":
        return vl_convert.vegalite_to_pdf(spec, vl_version=version)
    if ending == "png":
        return vl_convert.vegalite_to_png(spec, vl_version=version, scale=SCALE)
    return vl_convert.vegalite_to_svg(spec, vl_version=version).encode()
