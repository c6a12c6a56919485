"""Controls that filter a page by task, and its gallery also by class and score; `filters.js` runs them."""

from collections.abc import Mapping
from importlib import resources

from must_tf.report.markup import Html, element


def script() -> str:
    """Returns the script of the controls; it reads `#task=TASK&class=TASK/CLASS&from=0.5&to=0.8` too."""
    return resources.files("must_tf.report").joinpath("filters.js").read_text()


def filters(classes: Mapping[str, Mapping[str, int]] | None = None, scored: bool = False) -> Html:
    """Returns the controls, hidden until the script runs.

    The script fills in the tasks of the page, which are those of its elements with `data-task`.

    Args:
      classes: {task: {class: images that have it}} of the gallery; None on a page without one.
      scored: whether its labels have scores.
    """
    tasks = element("select", element("option", "all tasks", value=""), id="filter-task")
    controls = [element("label", "Task ", tasks)]
    groups = [_group(task, counts) for task, counts in (classes or {}).items() if counts]
    if groups:
        choice = element("select", element("option", "all classes", value=""), groups, id="filter-class")
        controls.append(element("label", "Class ", choice))
    if scored:
        controls += [_number("from", "Score from ", "0"), _number("to", "to ", "1")]
    count = element("output", id="filter-count", aria_live="polite") if classes is not None else None
    return element("div", controls, count, class_="filters", role="group", aria_label="Filters", hidden="")


def _group(task: str, counts: Mapping[str, int]) -> Html:
    options = [
        element("option", f"{name}, {task} ({counts[name]:,})", value=f"{task}/{name}") for name in sorted(counts)
    ]
    return element("optgroup", options, label=task)


def _number(name: str, text: str, value: str) -> Html:
    box = element("input", id=f"filter-{name}", type="number", min=0, max=1, step=0.05, value=value)
    return element("label", text, box)
