"""Scores against a quantity on the page: small charts side by side, one line per initialization."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from must_tf.evaluation.lines import Lines, Panel
from must_tf.evaluation.statistics import Mean
from must_tf.report.lines import all_shares, panel_format, panel_name, panel_task, x_words
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section, number, table
from must_tf.report.scale import label, ticks
from must_tf.report.transfer_section import made_by

_WIDTH, _HEIGHT = 300, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 14, 10, 40
_DODGE = 10.0  # units over which the points of all lines at one x spread, so that their whiskers stand apart
_CHARACTER = 6.4  # units' width of one in a tick
_CANDIDATE = "must"
_SHAPES = {  # around 0, 0; each of about the same area
    "circle": "M-3.4,0a3.4,3.4 0 1,0 6.8,0a3.4,3.4 0 1,0 -6.8,0z",
    "square": "M-3,-3h6v6h-6z",
    "triangle": "M0,-4.2L4,3H-4z",
    "diamond": "M0,-4.4L4.4,0L0,4.4L-4.4,0z",
    "nabla": "M0,4.2L4,-3H-4z",
    "cross": "M-4,-1.4h2.6v-2.6h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6z",
}

Styles = Mapping[str, tuple[str, str]]  # {initialization: color, shape}


def lines_section(lines: Lines, anchor: str) -> Section:
    """Returns the section with the charts, and their numbers folded away."""
    styles = line_styles(lines.inits)
    keys = [element("li", _key(*style), init) for init, style in styles.items()]
    panels = [_panel(lines, panel, styles) for panel in lines.drawn]
    errors = f", mean ± standard error of {lines.seeds} seeds" if lines.seeds > 1 else ", 1 seed"
    unit = "in percent" if all_shares(lines) else "each in its own unit"
    legend = f"Scores {unit}{errors}, against {lines.x.name}{' (log scale)' if lines.x.log else ''}."
    body = join(
        element("p", lines.note, class_="note") if lines.note else None,
        element("p", legend, class_="note"),
        element("ul", keys, class_="legend"),
        element("div", panels, class_="curves lines"),
        _numbers(lines),
        made_by(lines.command),
    )
    return Section(anchor, lines.title, body)


def line_styles(inits: list[str]) -> dict[str, tuple[str, str]]:
    """Returns color and shape of each line; `must`, or else the last one, stands out."""
    accent = _CANDIDATE if _CANDIDATE in inits else inits[-1]
    shapes, colors = itertools.cycle(_SHAPES), itertools.cycle([f"other{i}" for i in range(5)])
    next(shapes)
    others: dict[str, tuple[str, str]] = {init: (next(colors), next(shapes)) for init in inits if init != accent}
    return {init: others.get(init, ("accent", "circle")) for init in inits}


def _panel(lines: Lines, panel: Panel, styles: Styles) -> Html:
    """Returns one chart; a line has a gap where it has no score."""
    form, xs = panel_format(lines, panel), lines.x.values
    means = {init: [panel.mean(init, i) for i in range(len(xs))] for init in styles}
    known = [mean.times(form.factor) for line in means.values() for mean in line if mean.known]
    low, high = min((mean.low for mean in known), default=0), max((mean.high for mean in known), default=100)
    marks = ticks(low, high, 4)
    first, last = (math.log(end) if lines.x.log else end for end in (xs[0], xs[-1]))

    def x(value: float) -> float:
        share = ((math.log(value) if lines.x.log else value) - first) / (last - first) if last > first else 0.5
        return _LEFT + 2 * _DODGE + (_WIDTH - _LEFT - _RIGHT - 4 * _DODGE) * share

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - marks[0]) / (marks[-1] - marks[0]), 1)

    grid = [
        [
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(mark), y2=y(mark), class_="grid"),
            element("text", label(mark), x=_LEFT - 6, y=y(mark) + 4, text_anchor="end", class_="tick"),
        ]
        for mark in marks
    ]
    drawn = []
    # The one that stands out is drawn last, over the others.
    for j, init in sorted(enumerate(styles), key=lambda item: styles[item[1]][0] == "accent"):
        shift = min(_DODGE / len(styles), 4) * (j - (len(styles) - 1) / 2)
        points = [
            (f"{init} at {x_words(lines, i)}: {form.score(mean)}", round(x(xs[i]) + shift, 1), mean.times(form.factor))
            for i, mean in enumerate(means[init])
        ]
        drawn.append(_line(points, y, *styles[init]))
    words = "; ".join(
        f"{init}: " + ", ".join(f"{form.score(mean)} at {x_words(lines, i)}" for i, mean in enumerate(means[init]))
        for init in panel.lines
    )
    middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
    name = element("text", lines.x.name, x=middle, y=_HEIGHT - 6, text_anchor="middle", class_="tick")
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    aria = f"{panel_name(panel)} against {lines.x.name}. {words}"
    chart = element("svg", grid, list(_feet(lines, x)), name, drawn, viewBox=box, role="img", aria_label=aria)
    caption = element("figcaption", element("b", panel_name(panel)))
    return element("figure", caption, chart, data_task=panel_task(panel))


def _line(points: list[tuple[str, float, Mean]], y: Callable[[float], float], color: str, shape: str) -> Html:
    """Returns a line with its whiskers and marks; a point has words, a place on x, and a score."""
    parts = []
    for known, run in itertools.groupby(points, lambda point: point[2].known):
        ends = " ".join(f"{x:g},{y(mean.value):g}" for _, x, mean in run) if known else ""
        parts += [element("polyline", points=ends)] if " " in ends else []
    for words, x, mean in points:
        if not mean.known:
            continue
        if mean.low < mean.high:
            parts.append(element("line", x1=x, x2=x, y1=y(mean.high), y2=y(mean.low)))
        parts.append(
            element("path", element("title", words), d=_SHAPES[shape], transform=f"translate({x:g},{y(mean.value):g})")
        )
    return element("g", parts, class_=f"series {color}")


def _feet(lines: Lines, x: Callable[[float], float]) -> Iterator[Html]:
    """Yields the values under the axis, less those that would run into the one before, or into the last."""
    places = [(x(value), label(value)) for value in lines.x.values]
    last, right = places[-1], -math.inf
    for place in places:
        half = _CHARACTER * len(place[1]) / 2
        free = place[0] + half < last[0] - _CHARACTER * len(last[1]) / 2 or place is last
        if place[0] - half > right and free:
            yield element("text", place[1], x=round(place[0], 1), y=_HEIGHT - 23, text_anchor="middle", class_="tick")
            right = place[0] + half


def _key(color: str, shape: str) -> Html:
    line = element("line", x1=-10, x2=10, y1=0, y2=0)
    drawn = element("g", line, element("path", d=_SHAPES[shape]), class_=f"series {color}")
    return element("svg", drawn, viewBox="-11 -6 22 12", width=22, height=12, aria_hidden="true", class_="mark")


def _numbers(lines: Lines) -> Html:
    rows = []
    for panel in lines.drawn:
        form = panel_format(lines, panel)
        for i in range(len(lines.x.values)):
            scores = [number(form.score(panel.mean(init, i))) for init in lines.inits]
            rows.append([panel_name(panel), number(x_words(lines, i)), *scores])
    tasks = [panel_task(panel) for panel in lines.drawn for _ in lines.x.values]
    whole = table(["task", lines.x.name, *lines.inits], rows, class_="scores", tasks=tasks)
    return element("details", element("summary", "The numbers"), whole)
