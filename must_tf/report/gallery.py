"""Drawn labels with filters by class and by score, collected while a dataset is read."""

import json
from collections import Counter
from collections.abc import Sequence

from must_tf.records import Record
from must_tf.report.markup import Html, element, join
from must_tf.report.pictures import even, picture_row, rows_table
from must_tf.tasks import Task

_SCRIPT = """
"use strict";
const controls = document.querySelector(".filters");
const names = ["class", "from", "to"];
const fields = Object.fromEntries(names.map(name => [name, document.getElementById("filter-" + name)]));
const images = [...document.querySelectorAll("[data-labels]")].map(figure => ({
  row: figure.closest("tr"), labels: JSON.parse(figure.dataset.labels),
}));

function read(field, otherwise) {
  const value = field ? parseFloat(field.value) : NaN;
  return Number.isNaN(value) ? otherwise : value;
}

function show() {
  const wanted = fields.class.value, from = read(fields.from, 0), to = read(fields.to, 1);
  const any = from <= 0 && to >= 1;  // a label without a score fits as well
  for (const {row, labels} of images)
    row.hidden = !(wanted === "" && any) && !labels.some(([name, score]) =>
      (wanted === "" || name === wanted) && (any || (score !== null && score >= from && score <= to)));
  const shown = images.filter(({row}) => !row.hidden).length;
  document.getElementById("filter-count").textContent = `${shown} of ${images.length} images`;
}

function follow() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, field] of Object.entries(fields))
    if (field && given.has(name)) field.value = given.get(name);
  if (fields.class.selectedIndex < 0) fields.class.value = "";  // a class that is in no picture
  show();
}

if (controls) {
  controls.hidden = false;
  controls.addEventListener("input", show);
  window.addEventListener("hashchange", follow);
  follow();
}
"""


class Gallery:
    """Draws images at even distances over a dataset; keeps the pictures alone.

    Args:
      tasks: whose labels are drawn.
      total: records of the dataset.
      count: images to draw.
    """

    def __init__(self, tasks: Sequence[Task], total: int, count: int):
        self.tasks, self.total = tasks, total
        self._wanted = set(even(total, count).tolist())
        self._rows: list[list[Html]] = []
        self._classes: dict[str, Counter] = {task.name: Counter() for task in tasks}
        self._scored = False

    def add(self, index: int, record: Record) -> None:
        """Draws a record, if its number is one of those wanted."""
        if index not in self._wanted:
            return
        self._wanted.remove(index)
        found: list[tuple[str, float | None]] = []
        for task in self.tasks:
            if task.name in record.labels:
                classes = task.classes(record.labels[task.name])
                self._classes[task.name].update({name for name, _ in classes})
                found += [(_key(task.name, name), score and round(score, 4)) for name, score in classes]
        self._scored |= any(score is not None for _, score in found)
        self._rows.append(picture_row(record, self.tasks, json.dumps(sorted(set(found), key=str))))

    def html(self) -> Html | None:
        """Returns the filters and the pictures; None where nothing was drawn."""
        if not self._rows:
            return None
        caption = f"{len(self._rows)} of {self.total:,} images, spread evenly over the dataset."
        return join(self._filters(), rows_table(self._rows, self.tasks, caption))

    def script(self) -> str:
        """Returns the script of the filters; it reads `#class=TASK/CLASS&from=0.5&to=0.8` too."""
        return _SCRIPT if self._rows else ""

    def _filters(self) -> Html | None:
        """The controls, hidden until the script runs; none where there is nothing to filter by."""
        groups = [_group(task, classes) for task, classes in self._classes.items() if classes]
        if not groups:
            return None
        choice = element("select", element("option", "all classes", value=""), groups, id="filter-class")
        controls = [element("label", "Class ", choice)]
        if self._scored:
            controls += [_number("from", "Score from ", "0"), _number("to", "to ", "1")]
        count = element("output", id="filter-count", aria_live="polite")
        return element("div", controls, count, class_="filters", role="group", aria_label="Filters", hidden="")


def _group(task: str, classes: Counter) -> Html:
    options = [
        element("option", f"{name}, {task} ({classes[name]})", value=_key(task, name)) for name in sorted(classes)
    ]
    return element("optgroup", options, label=task)


def _number(name: str, text: str, value: str) -> Html:
    box = element("input", id=f"filter-{name}", type="number", min=0, max=1, step=0.05, value=value)
    return element("label", text, box)


def _key(task: str, name: str) -> str:
    return f"{task}/{name}"
