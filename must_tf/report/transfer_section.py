"""The transfer table on the page: scores with their cost, paired differences, and the gains as a chart."""

from typing import Any

from must_tf.report.gains import gain_chart
from must_tf.report.markup import Html, element, join
from must_tf.report.means import ABSENT, HELPS, HURTS, by_chance
from must_tf.report.page import Section, number, table
from must_tf.report.transfer import RANDOM, Task, Transfer

_CLASSES = {HELPS: "won", HURTS: "hurts"}


def transfer_section(transfer: Transfer, anchor: str = "transfer") -> Section:
    """Returns the section with the tables and the chart of the gains."""
    value = transfer.value
    tables = _plain(transfer) if transfer.plain else join(_scores(transfer), _differences(transfer))
    body = join(
        element("p", transfer.verdict(), ".", class_="verdict"),
        element("p", value["note"], class_="note") if value["note"] else None,
        tables,
        _gains(transfer),
        made_by(value["command"]),
    )
    return Section(anchor, value["title"], body)


def made_by(command: str) -> Html | None:
    """Returns the line with the command that made a figure, where one is known."""
    return element("p", "Made by ", element("code", command), class_="command") if command else None


def _plain(transfer: Transfer) -> Html:
    """Returns the one table of one seed with one setting."""
    candidate, reference = transfer.candidate, transfer.reference
    header = ["task", "metric", "images", *transfer.inits, "gain", f"{candidate} ahead"]
    rows = []
    for task in transfer.tasks:
        ahead = transfer.ahead(task, reference)
        known = transfer.difference(task, candidate).known
        mark = element("td", ("yes" if ahead else "no") if known else ABSENT, class_="won" if ahead else "lost")
        images = number(f"{task['train_images']:,} / {task['test_images']:,}")
        gain = number(transfer.gain(task, candidate).words(sign=True, unit="%"))
        scores = [_score(transfer, task, init) for init in transfer.inits]
        rows.append([task["name"], element("td", task["metric"]), images, *scores, gain, mark])
    caption = (
        f"{_caption(transfer)} Below a score: images seen / minutes of fine-tuning. Images: training / test. "
        f"Gain: of {candidate} over {reference}, relative."
    )
    return table(header, rows, caption, class_="scores plain")


def _scores(transfer: Transfer) -> Html:
    rows: list[list[Any]] = []
    for task in transfer.rows:
        below = [] if task is transfer.average else [_small(task["metric"]), _small(transfer.images(task))]
        rows.append([join(task["name"], below), *(_score(transfer, task, init) for init in transfer.inits)])
    rows.append(["fine-tuning, all tasks", *(_cost(transfer.whole_cost(i)) for i in transfer.inits)])
    if transfer.value.get("pretraining"):
        rows.append(["pre-training", *(_cost(transfer.pretraining(i)) for i in transfer.inits)])
    chosen = "; then the learning rate × steps that validation chose" if transfer.settings > 1 else ""
    caption = (
        f"{_caption(transfer)} Below a score: images seen / minutes of all its fine-tuning{chosen}. "
        "Below a task: images for training / validation / test."
    )
    return table(["task", *transfer.inits], rows, caption, class_="scores")


def _score(transfer: Transfer, task: Task, init: str) -> Html:
    """Returns the cell of a score, its cost below it."""
    score = element("b" if init in transfer.best(task) else "span", transfer.score(task, init))
    if "cost" not in task or init not in task["cost"]:
        return number(score)
    chosen = transfer.settings > 1 and init in task["chosen"]
    below = [_in_minutes(transfer.cost(task, init)), *([transfer.chosen(task, init)] if chosen else [])]
    return number(join(score, [_small(line) for line in below]))


def _differences(transfer: Transfer) -> Html | None:
    if not transfer.others:
        return None
    seeds = len(transfer.value["seeds"])
    rows = [[task["name"], *(_difference(transfer, task, init) for init in transfer.others)] for task in transfer.rows]
    key = "of one seed there is no verdict"
    if seeds > 1:
        key = f"helps, hurts: by more than 2 standard errors ({by_chance(seeds)})"
    caption = f"Difference to {transfer.reference}, paired by seed, in points; {key}."
    return table(["task", *transfer.others], rows, caption, class_="scores")


def _difference(transfer: Transfer, task: Task, init: str) -> Html:
    verdict = transfer.verdict_of(task, init)
    below = element("small", verdict, class_=_CLASSES.get(verdict, "lost")) if verdict else None
    return number(join(transfer.points(task, init), below))


def _gains(transfer: Transfer) -> Html | None:
    """Returns the chart; a random start is left out of it beside others, because its bars would dwarf theirs."""
    shown = [init for init in transfer.others if init != RANDOM] or transfer.others
    if not shown:
        return None
    gains = {init: [transfer.gain(task, init) for task in transfer.tasks] for init in shown}
    chart = gain_chart([task["name"] for task in transfer.tasks], gains, transfer.candidate)
    errors = ", ± a standard error" if len(transfer.value["seeds"]) > 1 else ""
    left_out = f"; {RANDOM} is left out" if RANDOM in transfer.others and RANDOM not in shown else ""
    legend = f"Relative gain over {transfer.reference}, paired by seed{errors}{left_out}."
    return element("figure", element("figcaption", legend), chart, class_="chart")


def _cost(words: str) -> Html:
    return number(_small(_in_minutes(words)))


def _in_minutes(cost: str) -> str:
    return cost if cost == ABSENT else f"{cost} min"


def _caption(transfer: Transfer) -> str:
    recipe = transfer.recipe[0].upper() + transfer.recipe[1:]
    return f"{recipe}. Scores on the test images, in percent; the best of a row is bold."


def _small(text: str) -> Html:
    return element("small", text)
