"""The transfer table as plain text."""

import textwrap
from collections.abc import Sequence

from must_tf.evaluation.row import Row
from must_tf.evaluation.table import AHEAD, BEHIND, OPEN, TransferTable
from must_tf.report.text import WIDTH, text_table
from must_tf.report.wording import Wording
from must_tf.report.words import metric_name

MARKS = {AHEAD: "▲", BEHIND: "▼", OPEN: "·"}

EDGE = "Chosen on the edge of the sweep: a better setting may lie beyond it, and `must transfer --extend_sweep` goes on"


def transfer_table(table: TransferTable) -> str:
    """Returns a table as plain text, under its title and note; its last line is the verdict."""
    return "\n".join([table.title, *([table.note] if table.note else []), transfer_text(table)])


def transfer_text(table: TransferTable) -> str:
    """Returns what stands under the title of a table and its note, as plain text."""
    said = Wording(table)
    compared = [*_differences(said), "", *_intervals(said)] if table.others else []
    lines = _plain(said) if table.is_plain else [*_scores(said), "", *compared, *_costs(said)]
    return "\n".join([*lines, "", said.verdict])


def _plain(said: Wording) -> list[str]:
    table = said.table
    rows = [
        [*_named(task), f"{task.train_images:,}", *_scored(said, task), said.gain(task, table.candidate)]
        for task in table.tasks
    ]
    note = f"{_caption(said)}; gain of {table.candidate} over {table.reference}, relative{said.gain_note}"
    return [*_wrapped(note), "", *text_table(["task", "metric", "images", *_heads(table.inits), "gain"], rows, 2)]


def _scores(said: Wording) -> list[str]:
    rows = [[*_named(row), *_scored(said, row)] for row in said.table.rows]
    return [*_wrapped(_caption(said)), "", *text_table(["task", "metric", *_heads(said.table.inits)], rows, 2)]


def _differences(said: Wording) -> list[str]:
    table = said.table
    key = "" if table.why_no_verdict else f"▲ {AHEAD}, ▼ {BEHIND}, · {OPEN}: "
    rows = [[row.name, *(_marked(said, row, init) for init in table.others)] for row in table.rows]
    lines = text_table(["task", *(f"{init}  " for init in table.others)], rows)
    title = f"{said.compared}; {key}{said.test}"
    return [*_wrapped(title), "", *lines]


def _marked(said: Wording, row: Row, init: str) -> str:
    return f"{said.difference(row, init)} {MARKS.get(said.verdict_of(row, init), ' ')}"


def _intervals(said: Wording) -> list[str]:
    table = said.table
    if not table.intervals:
        return []
    rows = [[row.name, *(said.interval(row, init) for init in table.others)] for row in table.rows]
    return [*_wrapped(said.bootstrap), "", *text_table(["task", *table.others], rows), ""]


def _costs(said: Wording) -> list[str]:
    table = said.table
    rows = [
        [task.name, said.images(task), *(said.cost(task.cost.get(init)) for init in table.inits)]
        for task in table.tasks
    ]
    if len(table.tasks) > 1:
        rows.append(["all tasks", "", *(said.cost(table.whole_cost(init)) for init in table.inits)])
    if table.pretraining:
        rows.append(["pre-training", "", *(said.cost(table.pretraining.get(init)) for init in table.inits)])
    title = "Cost: images seen / minutes, of all seeds and settings; images: training / validation / test"
    lines = [*_wrapped(title), "", *text_table(["task", "images", *table.inits], rows, 2)]
    if table.settings > 1:
        rows = [[task.name, *(said.chosen(task, init) for init in table.inits)] for task in table.tasks]
        title = f"Chosen on validation with seed {table.seeds[0]}: learning rate × steps"
        lines += ["", title, "", *text_table(["task", *table.inits], rows)]
    if said.on_edge:
        lines += ["", *_wrapped(EDGE), "", *(line for init in said.on_edge for line in _wrapped(init))]
    return [*lines, "", *_budgets(said)]


def _budgets(said: Wording) -> list[str]:
    title = "Budget of the initializations, teachers and their labeling included"
    if not said.table.budgets:
        return [f"{title}: not stated"]
    return [title, "", *text_table(["", *said.table.inits], said.budgets)]


def _caption(said: Wording) -> str:
    unit = "in %" if said.all_shares else "each score in its own unit"
    return f"{said.recipe}; {unit}, * best{said.score_note}"


def _named(row: Row) -> list[str]:
    return [row.name, metric_name(row.measure)]


def _scored(said: Wording, row: Row) -> list[str]:
    return [said.score(row, init) + " *"[init in row.best] for init in said.table.inits]


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH)


def _heads(inits: Sequence[str]) -> list[str]:
    return [f"{init} " for init in inits]
