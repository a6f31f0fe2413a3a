"""Tables as plain data, and as HTML, Markdown, LaTeX and CSV."""

import csv
import dataclasses
import html
import io
import math
import re
from collections.abc import Sequence

LONG = 20
"""Characters of a text that wants a wide column."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One place of a table: its text, and the number it is sorted by."""

    text: str
    number: float | None = None


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table with a title; `name` is that of its file."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Entry]]


def to_html(sheet: Sheet) -> str:
    """A table whose columns are sorted by the buttons in its head."""
    marks = [_mark(sheet, column) for column in range(len(sheet.header))]
    head = "".join(
        f'<th scope="col" {mark}><button type="button">{html.escape(name)}</button></th>'
        for name, mark in zip(sheet.header, marks, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(_place(entry, mark) for entry, mark in zip(row, marks, strict=True))}</tr>\n"
        for row in sheet.rows
    )
    return (
        f'<div class="scroll"><table id="table-{sheet.name}"><caption>{html.escape(sheet.title)}'
        f"</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _mark(sheet: Sheet, column: int) -> str:
    if _is_numeric(sheet, column):
        return 'class="number"'
    longest = max((len(row[column].text) for row in sheet.rows), default=0)
    return 'class="long"' if longest > LONG else ""


def _is_numeric(sheet: Sheet, column: int) -> bool:
    return any(row[column].number is not None for row in sheet.rows)


def _place(entry: Entry, mark: str) -> str:
    by = ""
    if entry.number is not None and math.isfinite(entry.number):
        by = f' data-number="{float(entry.number)!r}"'
    return f"<td {mark}{by}>{html.escape(entry.text)}</td>"


def file_name(name: str) -> str:
    """The name of a chart or table as that of a file: a metric may be called `kl/layer 1`."""
    return re.sub(r"[^\w.-]", "_", name)


def to_csv(sheet: Sheet) -> str:
    """A line per row, as printed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(sheet.header)
    writer.writerows([entry.text for entry in row] for row in sheet.rows)
    return buffer.getvalue()


def to_markdown(sheet: Sheet) -> str:
    """A table of GitHub's Markdown."""
    numeric = [_is_numeric(sheet, column) for column in range(len(sheet.header))]
    rows = [sheet.header, *([entry.text for entry in row] for row in sheet.rows)]
    first, *others = [f"| {' | '.join(map(_markdown, row))} |" for row in rows]
    rule = "|" + "|".join("---:" if each else "---" for each in numeric) + "|"
    return "\n".join([f"{_markdown(sheet.title)}\n", first, rule, *others]) + "\n"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", text)


def to_latex(sheet: Sheet) -> str:
    """A `tabular` between the rules of the package booktabs."""
    columns = range(len(sheet.header))
    align = "".join("r" if _is_numeric(sheet, column) else "l" for column in columns)
    head, *rows = [
        " & ".join(map(_latex, row)) + r" \\"
        for row in [sheet.header, *([entry.text for entry in row] for row in sheet.rows)]
    ]
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule", *rows]
    title = _latex(sheet.title)
    return "\n".join([f"% {title}", *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip
"""Characters that LaTeX would read as commands; a bracket after `\\\\` would be its argument."""


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
