"""Whether the tasks of a run agree: cosines between their gradients in the trunk, and their shares of its gradient."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from must_tf.errors import UserError
from must_tf.report.curves import charts, curve, read_run, series
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section, table
from must_tf.training.monitor import FILE

_LATE = 4  # the part of the measurements, from the end, that means are over: a quarter
_FEW = 3  # measurements from which on a line over steps says more than the mean
_MOST = 12  # pairs that are drawn over steps
_TINT = 50  # percent of color in the cell of a cosine of 1 or -1; more would hide the number

Entries = Sequence[Mapping[str, float]]
Pair = tuple[str, str]


def conflicts_section(workdirs: Sequence[str | os.PathLike]) -> list[Section]:
    """Returns the section on the runs that measured how their tasks agree; none where no run did.

    Raises:
      UserError: a run without metrics, or with a line that cannot be read.
    """
    runs = [(Path(workdir), read_run(workdir)) for workdir in workdirs]
    bodies = [_run(workdir, entries) for workdir, entries in runs if _pairs(workdir, entries)]
    return [Section("conflicts", "Do the tasks agree?", join(element("p", _LEAD), bodies))] if bodies else []


_LEAD = (
    "The cosine of the angle between the gradients that two tasks give the shared trunk: above 0, a step that is good "
    "for one is good for the other; around 0, they leave each other alone; below 0, they conflict."
)


def mean_cosines(entries: Entries, pairs: Sequence[Pair]) -> dict[Pair, float]:
    """Returns each pair's mean cosine over the last quarter of the measurements; NaN where there is none.

    Args:
      entries: of metrics.jsonl.
      pairs: of tasks, as they are named there.
    """
    measured = [entry for entry in entries if any(_cosine(pair) in entry for pair in pairs)]
    late = measured[-math.ceil(len(measured) / _LATE) :]
    values = {pair: _over_steps(late, pair)[1] for pair in pairs}
    return {pair: sum(found) / len(found) if found else math.nan for pair, found in values.items()}


def _run(workdir: Path, entries: Entries) -> Html:
    pairs = _pairs(workdir, entries)
    tasks = list(dict.fromkeys(task for pair in pairs for task in pair))
    means = mean_cosines(entries, pairs)
    late = element("p", "Mean cosines over the last quarter of the measurements.", class_="note")
    return join(
        element("h3", workdir.resolve().name),
        late,
        _matrix(tasks, means),
        element("p", _verdict(means), class_="verdict"),
        _pair_charts(entries, means),
        _share_charts(entries, tasks),
    )


def _matrix(tasks: Sequence[str], means: Mapping[Pair, float]) -> Html:
    """Returns the symmetric table of cosines, tinted by sign and size; the diagonal stands back."""

    def cell(row: str, column: str) -> Html:
        if row == column:
            return element("td", element("small", "1"), class_="number", style=_CELL)
        value = means.get((row, column), means.get((column, row), math.nan))
        return element("td", _signed(value), class_="number", style=f"{_CELL};{_tint(value)}")

    heads = [element("span", task, style=_UPRIGHT) for task in tasks]
    rows = [[task, *(cell(task, other) for other in tasks)] for task in tasks]
    style = f"break-inside:avoid;max-width:{9 + 3.6 * len(tasks):g}em"
    return element("div", table(["task", *heads], rows), style=style)


_CELL = "padding:7px 3px;text-align:center;font-size:.84rem"
_UPRIGHT = "writing-mode:vertical-rl;transform:rotate(180deg)"  # so that many columns fit a narrow window


def _tint(value: float) -> str:
    """Returns the background of a cosine: orange below 0, teal above, which no color-blindness confuses."""
    color = "var(--accent)" if value > 0 else "var(--other1)"
    share = 0 if math.isnan(value) else _TINT * math.sqrt(min(abs(value), 1))
    return f"background:color-mix(in srgb,{color} {share:.0f}%,transparent)"


def _verdict(means: Mapping[Pair, float]) -> str:
    known = {pair: mean for pair, mean in means.items() if not math.isnan(mean)}
    if not known:
        return "No late measurement had labels of two tasks."
    (one, other), lowest = min(known.items(), key=lambda item: item[1])
    if round(lowest, 2) < 0:
        return f"{one} and {other} conflict most, with a mean cosine of {_signed(lowest)}."
    return f"No two tasks conflict: the lowest mean cosine is {_signed(lowest)}, of {one} and {other}."


def _pair_charts(entries: Entries, means: Mapping[Pair, float]) -> Html | None:
    """Returns one chart per pair on one scale, the lowest mean first; pairs that were hardly measured have none."""
    points = {pair: _over_steps(entries, pair) for pair in sorted(means, key=lambda pair: (_last(means[pair]), pair))}
    shown = [(pair, *found) for pair, found in points.items() if len(found[0]) >= _FEW][:_MOST]
    if not shown:
        return None
    values = [value for _, _, found in shown for value in found]
    bounds = min(0.0, *values), max(0.0, *values)
    figures = [curve(" · ".join(pair), steps, found, bounds) for pair, steps, found in shown]
    which = f": the {_MOST} pairs with the lowest means" if len(means) > _MOST else ""
    return join(element("h4", f"Cosines over the steps{which}"), charts(figures))


def _share_charts(entries: Entries, tasks: Sequence[str]) -> Html | None:
    points = [(task, *series(entries, f"share/{task}")) for task in tasks]
    shown = [(task, steps, found) for task, steps, found in points if steps]
    if not shown:
        return None
    highest = max(value for _, _, found in shown for value in found)
    figures = [curve(task, steps, found, (0.0, highest)) for task, steps, found in shown]
    return join(element("h4", "Each task’s share of the trunk’s gradient"), charts(figures))


def _over_steps(entries: Entries, pair: Pair) -> tuple[list[float], list[float]]:
    """Returns the steps and cosines of a pair, without those where a task had no gradient and so no angle."""
    met = [entry for entry in entries if all(entry.get(f"share/{task}") != 0 for task in pair)]
    return series(met, _cosine(pair))


def _pairs(workdir: Path, entries: Entries) -> list[Pair]:
    """Returns the pairs of tasks that have cosines."""
    pairs = []
    for name in dict.fromkeys(name for entry in entries for name in entry if name.split("/")[0] == "cosine"):
        _, *pair = name.split("/")
        if len(pair) != 2:
            raise UserError(f"{workdir / FILE}: {name!r} received, expected cosine/TASK/TASK; train again")
        pairs.append((pair[0], pair[1]))
    return pairs


def _cosine(pair: Pair) -> str:
    return f"cosine/{pair[0]}/{pair[1]}"


def _last(value: float) -> float:
    """Returns a value to sort by: NaN comes last."""
    return math.inf if math.isnan(value) else value


def _signed(value: float) -> str:
    """Returns a cosine with its sign, which tells what the color does."""
    rounded = round(value, 2) + 0.0  # -0.0 becomes 0.0
    return "–" if math.isnan(value) else f"{rounded:+.2f}".replace("-", "−") if rounded else "0.00"
