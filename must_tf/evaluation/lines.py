"""Scores against a quantity (images, labels, input size) by initialization, as typed JSON that reports draw."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from must_tf.evaluation.made import parse_made, read_made
from must_tf.evaluation.statistics import Mean
from must_tf.storage import without_nan
from must_tf.tasks.metric import Score


@dataclasses.dataclass(frozen=True)
class Axis:
    """What scores are drawn against.

    Attributes:
      name: what it counts.
      values: ascending.
      log: whether the axis is logarithmic.
    """

    name: str
    values: tuple[int | float, ...]
    log: bool


@dataclasses.dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
      name: of the task and the metric.
      lines: by initialization, for each value of the axis the scores, one per seed; None where there is none.
      unit: of the scores, see `must_tf.tasks.Score`.
      better: which direction of the scores is better.
    """

    name: str
    lines: Mapping[str, tuple[tuple[float | None, ...] | None, ...]]
    unit: str = "share"  # version 0.1.0 wrote neither this nor `better`
    better: Literal["higher", "lower"] = "higher"

    @property
    def measure(self) -> Score:
        """What the scores mean."""
        return Score(self.name, self.unit, self.better)

    def mean(self, init: str, index: int) -> Mean:
        """Returns the mean score over the seeds at one value of the axis."""
        line = self.lines.get(init)
        return Mean.of((line and line[index]) or ())


@dataclasses.dataclass(frozen=True)
class Lines:
    """Charts side by side, with one line per initialization.

    Attributes:
      title: of all of them.
      command: that made the scores.
      note: what a reader should know.
      x: the axis that they share.
      panels: in order; one without a line is not drawn.
    """

    title: str
    command: str
    note: str
    x: Axis
    panels: tuple[Panel, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values; `parse_lines` is the inverse."""
        return without_nan(dataclasses.asdict(self))

    @property
    def drawn(self) -> list[Panel]:
        """The panels that have lines, in order."""
        return [panel for panel in self.panels if panel.lines]

    @property
    def inits(self) -> list[str]:
        """The initializations, in the order in which they first have a line."""
        return list(dict.fromkeys(init for panel in self.drawn for init in panel.lines))

    @property
    def seeds(self) -> int:
        """The largest number of seeds that a mean is over."""
        counts = [len(scores or ()) for panel in self.drawn for line in panel.lines.values() for scores in line]
        return max(counts, default=0)


def read_lines(path: str | os.PathLike) -> Lines:
    """Reads the JSON of scores against a quantity.

    Raises:
      UserError: the file is missing, is no JSON, or a field of it is missing or wrong.
    """
    return read_made(Lines, path, _problems)


def parse_lines(value: Any, where: str = "lines") -> Lines:
    """Returns JSON values as lines; see `read_lines`."""
    return parse_made(Lines, value, where, _problems)


def _problems(lines: Lines) -> Iterator[str]:
    """Yields what is wrong with lines whose fields have the right types, so that nothing after it can fail."""
    xs = list(lines.x.values)
    if not xs or xs != sorted({*xs}):
        yield f"x.values: {xs} received; expected ascending numbers"
    if lines.x.log and xs[0] <= 0:
        yield f"x.values: {xs} received; expected numbers above 0 on a logarithmic axis"
    for i, panel in enumerate(lines.panels):
        for init, line in panel.lines.items():
            if len(line) != len(xs):
                yield f"panels[{i}].lines.{init}: {len(line)} received; expected scores or null for each of {len(xs)} x"
    if not lines.drawn:
        yield "panels: no line received; expected at least one"
