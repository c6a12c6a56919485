"""Gains by task as bars with their standard errors, after figure 5 of the paper."""

from collections.abc import Callable, Mapping, Sequence

from must_tf.evaluation.statistics import Mean
from must_tf.report.markup import Html, element
from must_tf.report.scale import label, ticks
from must_tf.report.words import words

_ROW, _FOOT = 24, 16
_NAME = 3, 11  # least and most width of the names, in units of their size
_CLOSE = 0.2  # of the axis's length: marks as close as that to one with a label have none


def gain_chart(tasks: Sequence[str], gains: Mapping[str, Sequence[Mean]], accent: str) -> Html:
    """Returns one panel per task, all on one scale, with one bar per initialization and its number beside it.

    Widths are shares of the panel's width and heights are pixels, so that the text keeps its size in any window.

    Args:
      tasks: names of the panels.
      gains: {initialization: gain of each task in percent, positive where better}; an unknown one has no bar.
      accent: the initialization whose bars stand out.
    """
    known = [gain for row in gains.values() for gain in row if gain.known]
    marks = ticks(min([0.0, *(gain.low for gain in known)]), max([0.0, *(gain.high for gain in known)]), 4)

    def x(value: float) -> str:
        return f"{100 * (value - marks[0]) / (marks[-1] - marks[0]):.2f}%"

    panels = []
    for i, task in enumerate(tasks):
        rows = [_row(task, init, row[i], marks, x, init == accent) for init, row in gains.items()]
        foot = element("div", element("span"), _foot(marks, x), element("span"), class_="row")
        panels.append(element("figure", element("figcaption", element("b", task)), rows, foot, data_task=task))
    name = min(max(0.62 * max(map(len, gains)) + 0.4, _NAME[0]), _NAME[1])
    return element("div", panels, class_="gains", style=f"--name:{name:g}em")


def _row(task: str, init: str, gain: Mean, marks: Sequence[float], x: Callable[[float], str], accent: bool) -> Html:
    said = words(gain, sign=True, unit="%")
    grid = [_vertical(x(mark), _ROW, "zero" if mark == 0 else "grid") for mark in marks]
    middle = _ROW / 2
    drawn = []
    if gain.known:
        low, high = sorted((gain.value, 0.0))
        wide = float(x(high)[:-1]) - float(x(low)[:-1])
        title = element("title", f"{task}, {init}: {said}")
        drawn.append(
            element(
                "rect",
                title,
                x=x(low),
                width=f"{max(wide, 0.3):.2f}%",
                y=5,
                height=_ROW - 10,
                class_="accent" if accent else "other0",
            )
        )
    if gain.low < gain.high:
        drawn.append(element("line", x1=x(gain.low), x2=x(gain.high), y1=middle, y2=middle, class_="whisker"))
        drawn += [
            element("line", x1=x(end), x2=x(end), y1=middle - 3, y2=middle + 3, class_="whisker")
            for end in (gain.low, gain.high)
        ]
    chart = element("svg", grid, drawn, width="100%", height=_ROW, role="img", aria_label=f"{task}, {init}: {said}")
    breakable = init.replace("_", "_\u200b")
    name = element("span", element("b" if accent else "span", breakable), class_="init")
    return element("div", name, chart, element("span", said, class_="gain"), class_="row")


def _foot(marks: Sequence[float], x: Callable[[float], str]) -> Html:
    """Returns the numbers under the bars: 0, and those of the ends that are not too close to it."""
    length = marks[-1] - marks[0]
    shown = [mark for mark in (marks[0], 0.0, marks[-1]) if mark == 0 or abs(mark) > _CLOSE * length]
    texts = [element("text", f"{label(mark)}%", x=x(mark), y=11, text_anchor="middle", class_="tick") for mark in shown]
    return element("svg", texts, width="100%", height=_FOOT, aria_hidden="true")


def _vertical(x: str, height: float, class_: str) -> Html:
    return element("line", x1=x, x2=x, y1=0, y2=height, class_=class_)
