"""The transfer table on the page: scores with their cost, paired differences, and the gains as a chart."""

from typing import Any

from must_tf.evaluation.row import Row
from must_tf.evaluation.table import AHEAD, BEHIND, OPEN, TaskRow, TransferTable
from must_tf.report.gains import gain_chart
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section, number, table
from must_tf.report.transfer import EDGE
from must_tf.report.wording import RANDOM, Wording
from must_tf.report.words import ABSENT, metric_name

_CLASSES = {AHEAD: "won", BEHIND: "hurts"}


def transfer_section(transfer: TransferTable, anchor: str = "transfer") -> Section:
    """Returns the section with the tables and the chart of the gains."""
    said = Wording(transfer)
    whole = join(_scores(said), _differences(said), _edges(said), _budgets(said))
    tables = _plain(said) if transfer.is_plain else whole
    body = join(
        element("p", said.verdict, ".", class_="verdict"),
        element("p", transfer.note, class_="note") if transfer.note else None,
        tables,
        _gains(said),
        made_by(transfer.command),
    )
    return Section(anchor, transfer.title, body)


def made_by(command: str) -> Html | None:
    """Returns the line with the command that made a figure, where one is known."""
    return element("p", "Made by ", element("code", command), class_="command") if command else None


def _plain(said: Wording) -> Html:
    """Returns the one table of one seed with one setting."""
    transfer, candidate, reference = said.table, said.table.candidate, said.table.reference
    header = ["task", "metric", "images", *transfer.inits, "gain", f"{candidate} better"]
    rows = []
    for task in transfer.tasks:
        better = task.is_better(candidate, reference)
        known = task.difference(candidate, reference).known
        mark = element("td", ("yes" if better else "no") if known else ABSENT, class_="won" if better else "lost")
        images = number(f"{task.train_images:,} / {task.test_images:,}")
        scores = [_score(said, task, init) for init in transfer.inits]
        gain = number(said.gain(task, candidate))
        rows.append([task.name, element("td", metric_name(task.measure)), images, *scores, gain, mark])
    caption = (
        f"{_caption(said)} Below a score: images seen / minutes of fine-tuning. Images: training / test. "
        f"Gain: of {candidate} over {reference}, relative{said.gain_note}."
    )
    return table(header, rows, caption, class_="scores plain", tasks=[task.name for task in transfer.tasks])


def _scores(said: Wording) -> Html:
    transfer = said.table
    rows: list[list[Any]] = []
    for row in transfer.rows:
        below = [_small(metric_name(row.measure)), _small(said.images(row))] if isinstance(row, TaskRow) else []
        rows.append([join(row.name, below), *(_score(said, row, init) for init in transfer.inits)])
    costs = [said.cost(transfer.whole_cost(init)) for init in transfer.inits]
    rows.append(["fine-tuning, all tasks", *map(_cost, costs)])
    if transfer.pretraining:
        costs = [said.cost(transfer.pretraining.get(init)) for init in transfer.inits]
        rows.append(["pre-training", *map(_cost, costs)])
    chosen = "; then the learning rate × steps that validation chose" if transfer.settings > 1 else ""
    caption = (
        f"{_caption(said)} Below a score: images seen / minutes of all its fine-tuning{chosen}. "
        "Below a task: images for training / validation / test."
    )
    tasks = [*map(_task, transfer.rows), *[None] * (len(rows) - len(transfer.rows))]
    return table(["task", *transfer.inits], rows, caption, class_="scores", tasks=tasks)


def _score(said: Wording, row: Row, init: str) -> Html:
    """Returns the cell of a score, its cost below it."""
    score = element("b" if init in row.best else "span", said.score(row, init))
    if not isinstance(row, TaskRow) or init not in row.cost:
        return number(score)
    chosen = said.table.settings > 1 and init in row.chosen
    below = [_in_minutes(said.cost(row.cost[init])), *([said.chosen(row, init)] if chosen else [])]
    return number(join(score, [_small(line) for line in below]))


def _differences(said: Wording) -> Html | None:
    transfer = said.table
    if not transfer.others:
        return None
    rows = [[row.name, *(_difference(said, row, init) for init in transfer.others)] for row in transfer.rows]
    key = "" if transfer.why_no_verdict else f"{AHEAD}, {BEHIND}, {OPEN}: "
    caption = f"{said.compared}; {key}{said.test}."
    if transfer.intervals:
        caption += f" Below a difference: {said.bootstrap[0].lower()}{said.bootstrap[1:]}."
    return table(["task", *transfer.others], rows, caption, class_="scores", tasks=[*map(_task, transfer.rows)])


def _difference(said: Wording, row: Row, init: str) -> Html:
    verdict = said.verdict_of(row, init)
    below = element("small", verdict, class_=_CLASSES.get(verdict, "lost")) if verdict else None
    interval = _small(said.interval(row, init)) if said.table.intervals else None
    return number(join(said.difference(row, init), below, interval))


def _edges(said: Wording) -> Html | None:
    """Returns which chosen settings lie on the edge of the sweep."""
    if not said.on_edge:
        return None
    before, command, after = EDGE.split("`")
    return element("p", before, element("code", command), after, ". ", "; ".join(said.on_edge), ".", class_="note")


def _budgets(said: Wording) -> Html:
    """Returns what the initializations cost, teachers included."""
    caption = "Budget of the initializations, teachers and their labeling included."
    rows = [[row[0], *map(number, row[1:])] for row in said.budgets]
    return table(["budget", *said.table.inits], rows, caption, class_="scores")


def _gains(said: Wording) -> Html | None:
    """Returns the chart; a random start is left out of it beside others, because its bars would dwarf theirs."""
    transfer = said.table
    shown = [init for init in transfer.others if init != RANDOM] or transfer.others
    if not shown:
        return None
    gains = {init: [task.gain(init, transfer.reference) for task in transfer.tasks] for init in shown}
    chart = gain_chart([task.name for task in transfer.tasks], gains, transfer.candidate)
    errors = ", ± a standard error" if len(transfer.seeds) > 1 else ""
    left_out = f"; {RANDOM} is left out" if RANDOM in transfer.others and RANDOM not in shown else ""
    legend = f"Relative gain over {transfer.reference}, paired by seed{errors}{left_out}{said.gain_note}."
    return element("figure", element("figcaption", legend), chart, class_="chart")


def _cost(cost: str) -> Html:
    return number(_small(_in_minutes(cost)))


def _in_minutes(cost: str) -> str:
    return cost if cost == ABSENT else f"{cost} min"


def _caption(said: Wording) -> str:
    recipe = said.recipe[0].upper() + said.recipe[1:]
    unit = "in percent" if said.all_shares else "each in its own unit"
    return f"{recipe}. Scores on the test images, {unit}{said.score_note}; the best of a row is bold."


def _task(row: Row) -> str | None:
    """Returns the task of a row; None of the mean."""
    return row.name if isinstance(row, TaskRow) else None


def _small(text: str) -> Html:
    return element("small", text)
