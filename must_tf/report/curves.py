"""Training curves: small charts of the losses, of the scores on the validation set, and of learned weights."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import read_json
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section
from must_tf.report.scale import label, log_ticks, ticks
from must_tf.report.words import LOWER
from must_tf.saving import CONFIG
from must_tf.tasks import Score, from_json
from must_tf.training.monitor import BAD, FILE, read_bad_batches, read_metrics

_WIDTH, _HEIGHT = 300, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 12, 10, 24
_POINTS = 150  # of the smooth line; more would be finer than the screen
_LOG = 4  # the ratio of the highest to the lowest value from which on the axis is logarithmic
_TITLES = {
    "loss": "",
    "validation": "On the validation set",
    "weight": "Weights of the losses, learned",
    "energy": "Share of the target’s gradient that the basis of ATTITTUD holds",
}


def curves_section(workdirs: Sequence[str | os.PathLike]) -> Section:
    """Returns the section with the curves of some runs.

    Raises:
      UserError: a run without metrics, or with a line that cannot be read.
    """
    return Section("curves", "Training", join(_run(Path(workdir)) for workdir in workdirs))


def curve(
    name: str,
    steps: Sequence[float],
    values: Sequence[float],
    bounds: tuple[float, float] | None = None,
    task: str | None = None,
) -> Html:
    """Returns a line chart of values over steps as a figure.

    Args:
      name: above the chart.
      steps: ascending.
      values: one per step.
      bounds: what the axis spans at least, for charts that are to be compared; without them, values that spread far
        get a logarithmic axis.
      task: for the filter by task.
    """
    low, high = bounds or (min(values), max(values))
    logarithmic = bounds is None and low > 0 and high / low >= _LOG
    marks = log_ticks(low, high) if logarithmic else ticks(low, high, 4)
    low, high = marks[0], marks[-1]

    def x(step: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (step - steps[0]) / ((steps[-1] - steps[0]) or 1), 1)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1)

    grid = [
        [
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(mark), y2=y(mark), class_=_grid(mark, low)),
            element("text", label(mark), x=_LEFT - 6, y=y(mark) + 4, text_anchor="end", class_="tick"),
        ]
        for mark in marks
    ]
    feet = [mark for mark in ticks(steps[0], steps[-1], 4) if steps[0] <= mark <= steps[-1]]
    foot = [_foot(mark, x(mark), mark == feet[0]) for mark in feet]
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
    last = element("span", f"{values[-1]:.3g}{note}".replace("-", "−"), class_="last")
    return element("figure", element("figcaption", element("b", name), last), chart, data_task=task)


def read_run(workdir: str | os.PathLike) -> list[dict[str, float]]:
    """Reads the entries of a run's metrics.jsonl.

    Raises:
      UserError: no such file, or a line that cannot be read.
    """
    path = Path(workdir, FILE)
    if not path.exists():
        raise UserError(f"{path}: no such file; train with `must train --workdir={workdir}` first")
    return [{name: float(value) for name, value in entry.items()} for entry in read_metrics(workdir)]


def series(entries: Iterable[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Returns the steps at which a value is known and finite, and the values."""
    known = [(entry["step"], entry[name]) for entry in entries if math.isfinite(entry.get(name, math.nan))]
    return [step for step, _ in known], [value for _, value in known]


def charts(figures: Iterable[Html]) -> Html:
    """Returns figures as a grid that is as wide as the window allows."""
    return element("div", figures, class_="curves")


def _run(workdir: Path) -> Html:
    entries, measures = read_run(workdir), _measures(workdir)
    names = dict.fromkeys(["loss", *(name for entry in entries for name in entry)])
    drawn: dict[str, list[Html]] = {}
    for name in names:
        group, _, rest = name.partition("/")
        steps, values = series(entries, name)
        if steps and group == "validation" and rest:
            drawn.setdefault(group, []).append(_score_curve(rest, steps, values, measures.get(rest)))
        elif steps and group in _TITLES and (rest or group == "loss"):
            title = name if group == "loss" else rest.replace("/", " ")
            drawn.setdefault(group, []).append(curve(title, steps, values, task=rest or None))
    if "loss" not in drawn:
        raise UserError(f"{workdir / FILE}: no loss in it; train with `must train --workdir={workdir}` first")
    last = f"{entries[-1]['step']:,.0f} steps; the number beside a name is the last value."
    return join(
        element("h3", workdir.resolve().name),
        element("p", last, class_="note"),
        _setbacks(workdir, entries),
        [join(_heading(_TITLES[group]), charts(drawn[group])) for group in _TITLES if group in drawn],
    )


def _measures(workdir: Path) -> dict[str, Score]:
    """Returns what the tasks of a run's config declare of their scores, by `TASK/METRIC`; nothing without a config."""
    config = read_json(workdir / CONFIG) if (workdir / CONFIG).exists() else {}
    tasks = [from_json(task, workdir / CONFIG) for task in config.get("tasks", ())] if isinstance(config, dict) else []
    return {f"{task.name}/{score.name}": score for task in tasks for score in task.scores}


def _score_curve(name: str, steps: Sequence[float], values: Sequence[float], measure: Score | None) -> Html:
    """Returns the chart of a score `TASK/METRIC` in the unit that its task declares; it says where lower is better."""
    title = name.replace("/", " ")
    if measure and measure.unit:
        title += f", {'%' if measure.unit == 'share' else measure.unit}"
    if measure and measure.better == "lower":
        title += f" {LOWER} lower is better"
    values = [100 * value for value in values] if measure and measure.unit == "share" else values
    bounds = min(values), max(values)  # an even axis, on which scores are compared
    return curve(title, steps, values, bounds, name.partition("/")[0])


def _setbacks(workdir: Path, entries: Sequence[Mapping[str, float]]) -> Html | None:
    """Returns how many steps were not applied, and how often the run went back, where there is anything to tell."""
    said = []
    skipped = int(sum(series(entries, "not_applied")[1]))
    if skipped:
        scaled = ", or float16’s loss scale was too high" if any("loss_scale" in entry for entry in entries) else ""
        steps = f"{skipped:,} step{'s were' if skipped > 1 else ' was'} not applied"
        said.append(f"{steps}: the loss or a gradient was not finite{scaled}.")
    back = _rollbacks(workdir, entries)
    if back:
        times = "once" if back == 1 else f"{back:,} times"
        said.append(f"After too many such steps in a row the run went back {times}, to a lower learning rate.")
    if said and (workdir / BAD).exists():
        said.append(f"Their images are in {BAD}.")
    return element("p", " ".join(said), class_="note") if said else None


def _rollbacks(workdir: Path, entries: Sequence[Mapping[str, float]]) -> int:
    """Returns how often a run went back to a checkpoint.

    A bad step knows how often before it. The run went back after the last one too, if the entry that covers that step
    knows nothing of it: the entry is of a later attempt.
    """
    bad = read_bad_batches(workdir)
    if not bad:
        return 0
    step, before = bad[-1]["step"], bad[-1]["rollbacks"]
    entry = next((entry for entry in entries if entry["step"] >= step), None)
    return before + (entry is not None and "not_applied" not in entry)


def _heading(title: str) -> Html | None:
    return element("h4", title) if title else None


def _grid(mark: float, low: float) -> str:
    return "zero" if mark == 0 and low < 0 else "grid"


def _line(xs: Sequence[float], ys: Sequence[float], class_: str) -> Html:
    points = " ".join(f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True))
    return element("polyline", points=points, class_=class_)


def _foot(step: float, x: float, first: bool) -> Html:
    """Returns the text under the axis; the first one says what the axis is."""
    at_edge = x > _WIDTH - _RIGHT - 24
    text = f"step {label(step)}" if first else label(step)
    return element("text", text, x=x, y=_HEIGHT - 8, text_anchor="end" if at_edge else "middle", class_="tick")


def _smooth(values: Sequence[float]) -> list[float]:
    """Returns means of neighbors, at most `_POINTS` of them."""
    parts = np.array_split(np.array(values, float), min(len(values), _POINTS))
    return [float(part.mean()) for part in parts]
