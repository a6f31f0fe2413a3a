"""Vega-Lite charts, built with Altair; their rows are added where they are drawn.

Fields have fixed names and what people chose is only ever a value or a title, so that no name can
be read as an expression. Text and axes take the page's colour, in light, dark and print.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import altair as alt

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
"""Okabe and Ito 2008, told apart with every kind of colour vision; grey for their black and
without their yellow, which a white page swallows."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 1])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
INK = "currentColor"
STEP = 26
"""Pixels of a row."""

MEASURED = ("y", "mean", "low", "high", "value")
"""Fields whose values are printed to five digits."""

Spec = dict[str, Any]
Style = tuple[int, int]
P = ParamSpec("P")


def once(build: Callable[P, Spec]) -> Callable[P, Spec]:
    """Builds a chart once for the same words: Altair takes 50 to 100 ms for each."""
    built: dict[str, Spec] = {}

    @functools.wraps(build)
    def found(*args: P.args, **kwargs: P.kwargs) -> Spec:
        key = json.dumps([args, kwargs])
        if key not in built:
            built[key] = build(*args, **kwargs)
        return built[key]

    return found


def styles(levels: Sequence[Sequence[str]]) -> list[Style]:
    """Colour and dash of every cell: the first factor's level, and the others'.

    A factor with more levels than colours goes on with the next dash.
    """
    firsts, others = (
        list(dict.fromkeys(each)) for each in ([x[:1] for x in levels], [x[1:] for x in levels])
    )
    found = []
    for level in levels:
        first, other = firsts.index(level[:1]), others.index(level[1:])
        lap = first // len(COLOURS)
        found.append((first % len(COLOURS), (other + lap) % len(DASHES)))
    return found


def finish(chart: Any) -> Spec:
    """The chart as JSON types, in the page's ink."""
    chart = (
        chart.configure(background="transparent", font="inherit")
        .configure_view(stroke=None)
        .properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
        .configure_axis(
            labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridColor=INK,
            gridOpacity=0.15, labelLimit=220, titleFontWeight="normal",
        )
    )  # fmt: skip
    return json.loads(chart.to_json(validate=True))


def _chart(height: int = 260) -> alt.Chart:
    return alt.Chart(alt.NamedData(name="rows")).properties(width="container", height=height)


def _colour(names: Sequence[str], chosen: Sequence[Style]) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=[COLOURS[colour] for colour, _ in chosen])
    return alt.Color("series:N", scale=scale, legend=None)


def _dash(names: Sequence[str], chosen: Sequence[Style]) -> alt.StrokeDash:
    scale = alt.Scale(domain=list(names), range=[DASHES[dash] for _, dash in chosen])
    return alt.StrokeDash("series:N", scale=scale, legend=None)


def _shape(names: Sequence[str], chosen: Sequence[Style]) -> alt.Shape:
    scale = alt.Scale(domain=list(names), range=[SHAPES[dash] for _, dash in chosen])
    return alt.Shape("series:N", scale=scale, legend=None)


def _tips(**titles: str) -> list[alt.Tooltip]:
    """Field -> what the hover calls it; measured numbers to five digits."""
    return [
        alt.Tooltip(field=field, type="quantitative", title=title, format=".5~g")
        if field in MEASURED
        else alt.Tooltip(field=field, type="nominal", title=title)
        for field, title in titles.items()
    ]


def _y(field: str, title: str, percent: bool = False) -> alt.Y:
    return alt.Y(field, **_measured(title, percent))


def _measured(title: str, percent: bool) -> dict[str, Any]:
    """The scale of measured values, in percent where they are fractions."""
    axis = alt.Axis(format=".4~%") if percent else alt.Axis()
    return {"title": title, "scale": alt.Scale(zero=False), "axis": axis}


def _epochs() -> alt.X:
    whole = alt.Axis(tickMinStep=1, labelExpr="datum.value % 1 ? '' : datum.label")
    return alt.X("x:Q", title="epoch", scale=alt.Scale(zero=False, nice=False), axis=whole)


@once
def curves(names: Sequence[str], chosen: Sequence[Style]) -> Spec:
    """Mean and band of every cell over epochs; seeds where the rows have them."""
    colour, dash = _colour(names, chosen), _dash(names, chosen)
    base = _chart(340).encode(x=_epochs(), color=colour)
    means = base.transform_filter("datum.seed === null")
    band = means.mark_area(opacity=0.18).encode(y=_y("low:Q", "value"), y2="high:Q")
    single = base.transform_filter("datum.seed !== null").mark_line(opacity=0.45, strokeWidth=1)
    single = single.encode(y=_y("y:Q", "value"), strokeDash=dash, detail="seed:N")
    line = means.mark_line(strokeWidth=2.2).encode(y=_y("y:Q", "value"), strokeDash=dash)
    counted = means.transform_joinaggregate(points="count()", groupby=["series"])
    alone = counted.transform_filter("datum.points === 1").mark_point(filled=True, opacity=1)
    alone = alone.encode(y=_y("y:Q", "value"))
    near = alt.selection_point(
        name="near", nearest=True, on="pointerover", clear="pointerout", fields=["x", "series"]
    )
    tips = _tips(
        series="cell", x="epoch", y="value", low="low", high="high", n="seeds", seed="seed"
    )
    spots = base.mark_point(filled=True, size=60).encode(
        y=_y("y:Q", "value"),
        opacity=alt.condition(near, alt.value(1), alt.value(0), empty=False),
        tooltip=tips,
    )
    return finish(alt.layer(band, single, line, alone, spots.add_params(near)))


@once
def intervals(
    title: str, names: Sequence[str], tips: Mapping[str, str], percent: bool, zero: bool
) -> Spec:
    """Estimates with their intervals, one below the other; a rule at zero if asked."""
    x = _measured(title, percent)
    if percent and zero:  # differences of percentages
        x["axis"] = alt.Axis(labelExpr="format(100 * datum.value, '.4~') + ' pp'")
    order = alt.Y("series:N", title=None, sort=list(names))
    base = _chart(STEP * len(names)).encode(y=order, tooltip=_tips(**tips))
    bar = base.mark_rule(strokeWidth=2, color=COLOURS[0]).encode(x=alt.X("low:Q", **x), x2="high:Q")
    dot = base.mark_point(filled=True, size=80, color=COLOURS[0], opacity=1).encode(
        x=alt.X("mean:Q", **x)
    )
    layers = [bar, dot]
    if zero:
        null = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=INK, opacity=0.5)
        layers = [null.encode(x="zero:Q"), *layers]
    return finish(alt.layer(*layers))


@once
def distribution(title: str, names: Sequence[str], percent: bool) -> Spec:
    """Every replica's final value as a point, each cell with its mean and interval."""
    order = alt.Y("series:N", title=None, sort=list(names), scale=alt.Scale(domain=list(names)))
    x = _measured(title, percent)
    base = _chart(STEP * len(names)).encode(y=order)
    points = base.transform_filter("datum.kind === 'replica'").mark_point(
        size=45, color=COLOURS[0], opacity=0.8
    )
    marks = alt.Scale(domain=["finished", "diverged"], range=["circle", "cross"])
    points = points.encode(
        shape=alt.Shape("status:N", scale=marks, legend=None),
        x=alt.X("value:Q", **x),
        tooltip=_tips(series="cell", seed="seed", value="value", status="status"),
    )
    means = base.transform_filter("datum.kind === 'mean'")
    bar = means.mark_rule(strokeWidth=2, color=COLOURS[1]).encode(
        x=alt.X("low:Q", **x), x2="high:Q"
    )
    tick = means.mark_tick(thickness=3, size=16, color=COLOURS[1]).encode(
        x=alt.X("mean:Q", **x),
        tooltip=_tips(series="cell", mean="mean", low="low", high="high", n="seeds"),
    )
    return finish(alt.layer(points, bar, tick))


@once
def lines(
    x_title: str, y_title: str, values: Sequence[str], names: Sequence[str],
    chosen: Sequence[Style], tips: Mapping[str, str], percent: bool = False,
) -> Spec:  # fmt: skip
    """A line per series over values in the order given, with intervals where there are some."""
    colour, dash = _colour(names, chosen), _dash(names, chosen)
    x = alt.X("x:N", title=x_title, sort=list(values), axis=alt.Axis(labelAngle=0))
    x = alt.X("x:N", title=x_title, sort=list(values)) if max(map(len, values)) > 8 else x
    base = _chart().encode(x=x, color=colour)
    line = base.mark_line(strokeWidth=2).encode(y=_y("mean:Q", y_title, percent), strokeDash=dash)
    bar = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
        y=_y("low:Q", y_title, percent), y2=alt.Y2("high:Q")
    )
    size = alt.condition("datum.chosen", alt.value(190), alt.value(55))
    spots = base.mark_point(filled=True, opacity=1).encode(
        y=_y("mean:Q", y_title, percent),
        shape=_shape(names, chosen),
        size=size,
        tooltip=_tips(**tips),
    )
    return finish(alt.layer(line, bar, spots))


@once
def over_epochs(names: Sequence[str]) -> Spec:
    """A quantity of one cell's layers over epochs."""
    chosen = styles([(name,) for name in names])
    base = _chart().encode(x=_epochs(), y=_y("mean:Q", "value"), color=_colour(names, chosen))
    line = base.mark_line(strokeWidth=2).encode(strokeDash=_dash(names, chosen))
    tips = _tips(series="layer", x="epoch", mean="value")
    return finish(alt.layer(line, base.mark_point(filled=True, size=40).encode(tooltip=tips)))
