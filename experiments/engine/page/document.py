"""HTML: the frame of a page, with its style, data and code inside. Every text is escaped here."""

import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.page.vega import javascript

HERE = pathlib.Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data: blob:"
)
"""What the browser may do for the page: nothing that needs a network."""


def text(value: object) -> str:
    """Anything as HTML that shows it literally, also inside an attribute's quotes."""
    return html.escape(str(value), quote=True)


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page that the contents point to; nothing without parts."""
    inside = "\n".join(part for part in parts if part)
    return f'<section id="{name}"><h2>{text(title)}</h2>\n{inside}\n</section>' if inside else ""


def items(lines: Sequence[str]) -> str:
    """A list of texts; nothing without any."""
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>" if lines else ""


def pairs(named: Mapping[str, object]) -> str:
    """Names with what stands for them."""
    inside = "".join(f"<dt>{text(n)}</dt><dd>{text(v)}</dd>" for n, v in named.items())
    return f"<dl>{inside}</dl>" if inside else ""


def details(title: str, inside: str, *, opened: bool = False, name: str = "") -> str:
    """Something shown when asked for."""
    mark = f' id="{name}"' if name else ""
    state = " open" if opened else ""
    return f"<details{mark}{state}><summary>{text(title)}</summary>\n{inside}\n</details>"


def figure(chart: str, caption: str, *controls: str) -> str:
    """The place of a chart, with its controls and its legend."""
    above = f'<div class="controls">{"".join(controls)}</div>' if controls else ""
    return (
        f'<figure class="chart" data-chart="{text(chart)}">{above}'
        f'<div class="view" role="img" aria-label="{text(caption)}"></div>'
        '<div class="legend" role="group" aria-label="series shown"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def choice(control: str, label: str, values: Sequence[object], chosen: object = None) -> str:
    """A control with one of several values."""
    inside = "".join(
        f'<option value="{text(v)}"{" selected" if v == chosen else ""}>{text(v)}</option>'
        for v in values
    )
    return f'<label>{text(label)} <select data-control="{control}">{inside}</select></label>'


def tick(control: str, label: str) -> str:
    """A control that is on or off."""
    return f'<label><input type="checkbox" data-control="{control}"> {text(label)}</label>'


def document(title: str, head: str, sections: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        title: of the browser's window.
        head: HTML above the contents.
        sections: name -> HTML by `section`, "" for those without contents.
        data: what the page's code draws.
    """
    shown = {name: part for name, part in sections.items() if part}
    links = "".join(f'<li><a href="#{name}">{text(name)}</a></li>' for name in shown)
    parts = "\n".join(shown.values())
    style, code = ((HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{style}</style></head>
<body>
<header>{head}</header>
<nav aria-label="contents"><ul>{links}</ul></nav>
<main>{parts}</main>
<noscript><p>Charts and sorting need JavaScript; the answer, its tables and its text do not.</p>
</noscript>
<script type="application/json" id="data">{as_json(data)}</script>
<script>{javascript()}</script>
<script>{code}</script>
</body></html>
"""


def as_json(data: Mapping[str, Any]) -> str:
    """JSON that ends no script element, whatever its strings hold."""
    written = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
