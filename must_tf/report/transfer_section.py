"""The transfer table on the page, with the gains as a chart."""

from must_tf.report.gains import gain_chart
from must_tf.report.markup import element, join
from must_tf.report.page import Section, number, table
from must_tf.report.transfer import Transfer


def transfer_section(transfer: Transfer) -> Section:
    """Returns the section with the table and the chart of the gains."""
    candidate, reference = transfer.candidate, transfer.reference
    header = ["task", "metric", "images", *transfer.inits, "gain", f"{candidate} won"]
    rows = []
    for task in transfer.tasks:
        best = transfer.best(task)
        scores = [number(element("b" if i in best else "span", transfer.score(task, i))) for i in transfer.inits]
        won = transfer.won(task, reference)
        mark = element("td", "yes" if won else "no", class_="won" if won else "lost")
        images = number(f"{task['train_images']:,} / {task['test_images']:,}")
        gain = number(transfer.gain_in_words(task))
        rows.append([task["name"], element("td", task["metric"]), images, *scores, gain, mark])
    caption = (
        f"{transfer.recipe}. Scores on the test images, in percent; the best of a row is bold. Images: training / "
        f"test. Gain: of {candidate} over {reference}, relative; won: against {reference}."
    )
    gains = {
        init: [transfer.gain(task, init) for task in transfer.tasks] for init in transfer.inits if init != reference
    }
    chart = gain_chart([task["name"] for task in transfer.tasks], gains, candidate)
    legend = f"Relative gain over the initialisation {reference}, in percent."
    command = transfer.value.get("command")
    body = join(
        element("p", transfer.verdict(), ".", class_="verdict"),
        table(header, rows, caption, class_="scores"),
        element("figure", element("figcaption", legend), chart, class_="chart"),
        element("p", "Made by ", element("code", command), class_="command") if command else None,
    )
    return Section("transfer", transfer.value["title"], body)
