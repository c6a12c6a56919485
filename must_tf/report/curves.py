"""Training curves: a small chart for the loss and for each task's share of it."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from must_tf.errors import UserError
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section
from must_tf.report.scale import label, log_ticks, ticks
from must_tf.training.monitor import FILE, read_metrics

_WIDTH, _HEIGHT = 300, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 12, 10, 24
_POINTS = 150  # of the smooth line; more would be finer than the screen
_LOG = 4  # the ratio of the highest to the lowest value from which on the axis is logarithmic


def curves_section(workdirs: Sequence[str | os.PathLike]) -> Section:
    """Returns the section with the curves of some runs.

    Raises:
      UserError: a run without metrics, or with a line that cannot be read.
    """
    return Section("curves", "Training", join(_run(Path(workdir)) for workdir in workdirs))


def curve(name: str, steps: Sequence[float], values: Sequence[float]) -> Html:
    """Returns a line chart of values over steps as a figure; values that spread far get a logarithmic axis."""
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= _LOG
    marks = log_ticks(low, high) if logarithmic else ticks(low, high, 4)
    low, high = marks[0], marks[-1]

    def x(step: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (step - steps[0]) / ((steps[-1] - steps[0]) or 1), 1)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1)

    grid = [
        [
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(mark), y2=y(mark), class_="grid"),
            element("text", label(mark), x=_LEFT - 6, y=y(mark) + 4, text_anchor="end", class_="tick"),
        ]
        for mark in marks
    ]
    feet = [mark for mark in ticks(steps[0], steps[-1], 3) if steps[0] <= mark <= steps[-1]]
    foot = [_foot(mark, x(mark), mark == feet[-1]) for mark in feet]
    smooth_steps, smooth_values = _smooth(steps), _smooth(values)
    raw = _line([x(step) for step in steps], [y(value) for value in values], "raw")
    line = _line([x(step) for step in smooth_steps], [y(value) for value in smooth_values], "line")
    end = element("circle", cx=x(smooth_steps[-1]), cy=y(smooth_values[-1]), r=3, class_="end")
    words = f"{name}: from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}"
    chart = element(
        "svg",
        grid,
        foot,
        raw if len(steps) > _POINTS else None,
        line,
        end,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=words,
    )
    note = " (log scale)" if logarithmic else ""
    last = element("span", f"{values[-1]:.3g}{note}", class_="last")
    return element("figure", element("figcaption", element("b", name), last), chart)


def _run(workdir: Path) -> Html:
    path = workdir / FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; train with `must train --workdir={workdir}` first")
    try:
        entries = [(float(entry["step"]), entry) for entry in read_metrics(workdir)]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: a line cannot be read ({error}); delete the line, or train again") from None
    names = list(dict.fromkeys(name for _, entry in entries for name in entry if name.split("/")[0] == "loss"))
    charts = []
    for name in names:
        points = [(step, entry[name]) for step, entry in entries if math.isfinite(entry.get(name, math.nan))]
        if points:
            charts.append(curve(name, *zip(*points, strict=True)))
    if not charts:
        raise UserError(f"{path}: no loss in it; train with `must train --workdir={workdir}` first")
    last = f"{entries[-1][0]:,.0f} steps; the number beside a name is the last value."
    heading = element("h3", workdir.resolve().name)
    return join(heading, element("p", last, class_="note"), element("div", charts, class_="curves"))


def _line(xs: Sequence[float], ys: Sequence[float], class_: str) -> Html:
    points = " ".join(f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True))
    return element("polyline", points=points, class_=class_)


def _foot(step: float, x: float, last: bool) -> Html:
    """Returns the text under the axis; the last one says what the axis is."""
    at_edge = x > _WIDTH - _RIGHT - 24
    text = f"step {label(step)}" if last else label(step)
    return element("text", text, x=x, y=_HEIGHT - 8, text_anchor="end" if at_edge else "middle", class_="tick")


def _smooth(values: Sequence[float]) -> list[float]:
    """Returns means of neighbours, at most `_POINTS` of them."""
    parts = np.array_split(np.array(values, float), min(len(values), _POINTS))
    return [float(part.mean()) for part in parts]
