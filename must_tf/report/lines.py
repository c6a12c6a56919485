"""Scores against a quantity (images, labels, input size) by initialization: what an experiment writes, and its text."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from must_tf.report.checks import Checker
from must_tf.report.means import Mean
from must_tf.report.text import text_table
from must_tf.storage import read_json

_FIELDS = {"title": str, "command": str, "note": str, "x": dict, "panels": list}
_X = {"name": str, "values": list, "log": bool}
_MAKER = "must transfer"

Panel = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Lines:
    """Panels of lines, as an experiment writes them: a line an initialization, of scores (a list over seeds) by x."""

    value: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What x counts."""
        return self.value["x"]["name"]

    @property
    def xs(self) -> list[float]:
        """The values of x, ascending."""
        return self.value["x"]["values"]

    @property
    def log(self) -> bool:
        """Whether x has a logarithmic axis."""
        return self.value["x"]["log"]

    @property
    def panels(self) -> list[Panel]:
        """The panels that have lines, in order."""
        return [panel for panel in self.value["panels"] if panel["lines"]]

    @property
    def inits(self) -> list[str]:
        """The initializations, in the order in which they first have a line."""
        return list(dict.fromkeys(init for panel in self.panels for init in panel["lines"]))

    @property
    def seeds(self) -> int:
        """Of how many seeds the means are, at most."""
        counts = [len(scores or []) for panel in self.panels for line in panel["lines"].values() for scores in line]
        return max(counts, default=0)

    def mean(self, panel: Panel, init: str, index: int) -> Mean:
        """The mean score at one x over the seeds, in percent."""
        line = panel["lines"].get(init)
        return Mean.of((line and line[index]) or []).times(100)

    def x_words(self, index: int) -> str:
        """A value of x, in full."""
        x = self.xs[index]
        return f"{x:,}" if isinstance(x, int) else f"{x:,.6g}"

    @property
    def recipe(self) -> str:
        """What the scores are, in words."""
        seeds = self.seeds
        return f"in %, mean ± standard error of {seeds} seeds" if seeds > 1 else "in %, 1 seed"


def read_lines(path: str | os.PathLike) -> Lines:
    """Reads the JSON of scores against a quantity.

    Raises:
      UserError: the file is missing, is no JSON, or a field of it is missing or wrong.
    """
    return _checked(read_json(path), str(path))


def lines_text(lines: Lines) -> str:
    """Returns the numbers of all panels as plain text."""
    blocks = [[lines.recipe]]
    xs = [lines.x_words(i) for i in range(len(lines.xs))]
    width = max(map(len, xs))
    for panel in lines.panels:
        rows = [[x.rjust(width), *(lines.mean(panel, n, i).words() for n in panel["lines"])] for i, x in enumerate(xs)]
        blocks.append([panel["name"], "", *text_table([lines.name, *panel["lines"]], rows)])
    return "\n\n".join("\n".join(block) for block in blocks)


def _checked(value: Any, where: str) -> Lines:
    """Checks the file to the last score, so that nothing after it can fail."""
    checker = Checker(value, where, _MAKER)
    checker.fields(value, _FIELDS)
    checker.fields(value["x"], _X, "x")
    xs = value["x"]["values"]
    checker.numbers(xs, "x.values")
    if xs != sorted({*xs}):
        checker.fail("x.values", xs, "ascending numbers")
    if value["x"]["log"] and xs[0] <= 0:
        checker.fail("x.values", xs, "numbers above 0, on a logarithmic axis,")
    for i, panel in enumerate(value["panels"]):
        field = f"panels[{i}]"
        checker.fields(panel, {"name": str, "lines": dict}, field)
        for init, line in panel["lines"].items():
            if not isinstance(line, list) or len(line) != len(xs):
                checker.fail(f"{field}.lines.{init}", line, f"a list of scores or null for each of the {len(xs)} x")
            for j, scores in enumerate(line):
                if scores is not None:
                    checker.scores(scores, f"{field}.lines.{init}[{j}]")
    if not Lines(value).panels:
        checker.fail("panels", value["panels"], "at least one panel with a line")
    return Lines(value)
