"""An analysis as plain text that fits a given width."""

import textwrap
from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from experiments.engine.answer import answer, methods
from experiments.engine.examples import Crossed
from experiments.engine.statistics import MINIMUM_SEEDS, Analysis, Cell, Contrast, Summary
from experiments.engine.wording import (
    Scale,
    contrast_lines,
    count,
    difference_scale,
    family,
    interaction_lines,
    label,
    p_text,
    value_scale,
)

Rows = list[list[str]]


def render(
    analysis: Analysis,
    *,
    width: int = 100,
    extra: Mapping[str, Sequence[float | None]] | None = None,
) -> str:
    """The answer, the cells, the contrasts with their verdicts, and how they were computed.

    Args:
        analysis: what `analyse` returned.
        width: columns that no line exceeds (at least 40).
        extra: more columns of the table of cells: name -> a number per cell in the metric's
            unit, e.g. the train metric and the generalisation gap.
    """
    shape = f"{count(len(analysis.cells), 'cell')} x {count(len(analysis.seeds), 'seed')}"
    marks = ["exploratory"] if analysis.exploratory else []
    marks += [f"look {analysis.looks}"] if analysis.looks > 1 else []
    sections = [
        wrap(f"{', '.join([analysis.metric.name, shape, *marks])}: {answer(analysis)}", width),
        cells_table(analysis, width, extra or {}),
        _contrasts("Simple effects (the headline)", analysis.simple_effects, analysis, width),
        _contrasts(_title(analysis), analysis.contrasts, analysis, width),
        [line for text in interaction_lines(analysis) for line in wrap(text, width, 2)],
        [line for text in analysis.notes for line in wrap(f"Note: {text}", width)],
        wrap(methods(analysis), width) if analysis.contrasts else [],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def render_exploratory(analyses: Sequence[Analysis], *, width: int = 100) -> str:
    """A compact table of every metric but the primary one; \"\" without any."""
    lines: list[str] = []
    for analysis in analyses:
        scale, rows = difference_scale(analysis), []
        for item in analysis.contrasts:
            estimate = f"{scale.number(item.estimate, '+')}{scale.unit}"
            if item.estimate is None and item.failed:  # ranks are left, and who won
                estimate = f"{item.wins} better, {item.losses} worse"
            p = "-" if item.p is None else p_text(item.p).removeprefix("p ")
            bounds = scale.interval(item.interval, "+")
            rows.append([label(item), estimate, bounds, p, str(item.n)])
        header = [analysis.metric.name, "estimate", _level(analysis), "p", "n"]
        lines += table(header, rows, width, left=1) if rows else []
    if not lines:
        return ""
    title = "Exploratory metrics: level minus reference, corrected for nothing, no verdicts"
    return "\n".join([*wrap(title, width), *lines]) + "\n"


def examples_text(analysis: Analysis, found: Sequence[Crossed], width: int) -> list[str]:
    """The differences over seeds and test examples; nothing without any."""
    if not found:
        return []
    scale = difference_scale(analysis)
    title = (
        f"Over seeds and the {found[0].examples:,} test examples, which are a sample, too "
        "(intervals at the level of those above; verdicts are over seeds):"
    )
    rows = [
        [
            label(each.contrast), f"{scale.number(each.contrast.estimate, '+')}{scale.unit}",
            scale.interval(each.interval, "+"), f"{100 * each.share:.0f} %",
        ]
        for each in found
    ]  # fmt: skip
    header = [analysis.metric.name, "estimate", "interval", "variance by examples"]
    return [*wrap(title, width), *table(header, rows, width, left=1), ""]


def _level(analysis: Analysis) -> str:
    return f"{100 * analysis.confidence:g} % interval"


def _title(analysis: Analysis) -> str:
    return "Averaged over the other factors" if analysis.simple_effects else "Level minus reference"


def _contrasts(
    title: str, contrasts: Sequence[Contrast], analysis: Analysis, width: int
) -> list[str]:
    if not contrasts:
        return []
    head = f"{title}, {analysis.metric.name} ({family(analysis, len(contrasts), 'family')}):"
    lines = wrap(head, width)
    for item in contrasts:
        first, *others = contrast_lines(item, analysis, len(contrasts))
        lines += wrap(first, width, 2)
        lines += [line for text in others for line in wrap(text, width, 6)]
    return lines


def cells_table(
    analysis: Analysis, width: int, extra: Mapping[str, Sequence[float | None]]
) -> list[str]:
    """One line per cell, below it what went wrong there; means from three seeds on."""
    scale, cells = value_scale(analysis), analysis.cells
    seeds = max(cell.summary.n for cell in cells)
    few, enough = seeds < MINIMUM_SEEDS, seeds > 2
    header = [*analysis.factors, "n", *([f"values{scale.unit}"] if few else [])]
    header += [f"mean{scale.unit}", "sd", _level(analysis)] if enough else []
    rows: Rows = []
    for i, cell in enumerate(cells):
        row = [*cell.levels, str(cell.summary.n)]
        row += [" ".join(scale.number(value) for value in cell.values)] if few else []
        row += _numbers(cell.summary, scale) if enough else []
        rows.append(row + [scale.number(column[i]) for column in extra.values()])
    remarks = [_remark(cell, scale) for cell in cells]
    lines = table([*header, *extra], rows, width, len(analysis.factors), remarks)
    if not any(cell.diverged for cell in cells):
        lines.append("  No replica diverged.")
    return lines


def _numbers(summary: Summary, scale: Scale) -> list[str]:
    numbers = [scale.number(summary.mean), scale.number(summary.sd)]
    return [*numbers, scale.interval(summary.interval)]


def _remark(cell: Cell, scale: Scale) -> str:
    remarks = [f"{cell.diverged} diverged"] if cell.diverged else []
    remarks += [f"{cell.did_not_train} did not train"] if cell.did_not_train else []
    remarks += ["tuned value at the edge of its grid"] if cell.at_edge else []
    if cell.survivors is not None and cell.survivors.n:
        mean, sd, interval = _numbers(cell.survivors, scale)
        numbers = f"n {cell.survivors.n}, mean {mean}, sd {sd}, {interval}"
        remarks.append(f"survivors only: {numbers}")
    return "; ".join(remarks)


def table(
    header: list[str], rows: Rows, width: int, left: int, remarks: Sequence[str] = ()
) -> list[str]:
    """Aligned columns, the first `left` to the left; wrapped name-value pairs if too wide. A wide
    character, as in Chinese, takes two places.

    A remark, wrapped, goes below its row.
    """
    sizes = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    stacked = sum(sizes) + 2 * len(sizes) > width
    lines = [] if stacked else [_aligned(header, sizes, left)]
    for i, row in enumerate(rows):
        named = [f"{name} {text}" for name, text in zip(header, row, strict=True)]
        if stacked:
            lines += wrap(", ".join(named[:left]), width, 2)
            lines += wrap(", ".join(named[left:]), width, 4)
        else:
            lines.append(_aligned(row, sizes, left))
        if i < len(remarks):
            lines += wrap(remarks[i], width, 6)
    return lines


def _aligned(row: list[str], sizes: list[int], left: int) -> str:
    gaps = [" " * (size - cell_len(text)) for text, size in zip(row, sizes, strict=True)]
    texts = [text + gap for text, gap in zip(row[:left], gaps[:left], strict=True)]
    texts += [gap + text for text, gap in zip(row[left:], gaps[left:], strict=True)]
    return ("  " + "  ".join(texts)).rstrip()


def wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """Lines of at most `width`, the first indented, the others two columns more if it is."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2 if indent else 0),
        break_on_hyphens=False,
    )
