"""Gains by task as bars up and down, after figure 5 of the paper."""

import math
from collections.abc import Callable, Mapping, Sequence

from must_tf.report.markup import Html, element
from must_tf.report.scale import label, ticks

_HEIGHT, _TOP, _BOTTOM = 300, 18, 30
_GROUP = 0.72  # share of a task's room that its bars fill


def gain_chart(tasks: Sequence[str], gains: Mapping[str, Sequence[float]], accent: str) -> Html:
    """Returns a bar chart: a group a task, in it a bar an initialisation.

    Widths are shares of the window's and heights are pixels, so that the text keeps its size in any window.

    Args:
      tasks: names of the groups.
      gains: {initialisation: percent of each task}; NaN has no bar.
      accent: the initialisation whose bars stand out.
    """
    known = [0.0, *(gain for row in gains.values() for gain in row if math.isfinite(gain))]
    marks = ticks(min(known), max(known), 5)
    low, high = min(marks[0], *known), max(marks[-1], *known)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / ((high - low) or 1), 1)

    grid = [
        [
            element("line", x1="0", x2="100%", y1=y(mark), y2=y(mark), class_="zero" if mark == 0 else "grid"),
            element("text", f"{label(mark)}%", x="0", y=y(mark) - 4, class_="tick"),
        ]
        for mark in marks
    ]
    left = 7.0  # percent, for the scale
    room = (100 - left) / len(tasks)
    width = room * _GROUP / len(gains)
    bars = []
    for i, task in enumerate(tasks):
        start = left + room * (i + (1 - _GROUP) / 2)
        for j, (init, row) in enumerate(gains.items()):
            bars.append(_bar(f"{task}, {init}", row[i], start + j * width, width, y, _class(init, j, accent)))
        middle = f"{left + room * (i + 0.5):.2f}%"
        bars.append(element("text", task, x=middle, y=_HEIGHT - 8, class_="task", text_anchor="middle"))
    words = "; ".join(
        f"{task}: " + ", ".join(f"{init} {_percent(row[i])}" for init, row in gains.items())
        for i, task in enumerate(tasks)
    )
    chart = element("svg", grid, bars, width="100%", height=_HEIGHT, role="img", aria_label=f"Gains. {words}")
    keys = [
        element("li", element("span", class_=f"key {_class(init, j, accent)}"), init) for j, init in enumerate(gains)
    ]
    return element("div", element("ul", keys, class_="legend"), chart, class_="gains")


def _bar(name: str, gain: float, x: float, width: float, y: Callable[[float], float], colour: str) -> Html:
    middle = f"{x + width / 2:.2f}%"
    if not math.isfinite(gain):
        return element("text", "–", x=middle, y=y(0) - 5, text_anchor="middle", class_="value")
    top, bottom = sorted((y(gain), y(0)))
    bar = element(
        "rect",
        element("title", f"{name}: {_percent(gain)}"),
        x=f"{x + 0.06 * width:.2f}%",
        width=f"{0.88 * width:.2f}%",
        y=top,
        height=max(bottom - top, 1),
        class_=colour,
    )
    text_y = top - 5 if gain >= 0 else bottom + 13
    value = element("text", label(round(gain, 1), sign=True), x=middle, y=text_y, text_anchor="middle", class_="value")
    return element("g", bar, value)


def _class(init: str, index: int, accent: str) -> str:
    return "accent" if init == accent else f"other{index % 4}"


def _percent(gain: float) -> str:
    return f"{label(round(gain, 1), sign=True)}%" if math.isfinite(gain) else "none"
