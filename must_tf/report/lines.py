"""Scores against a quantity as plain text."""

from must_tf.evaluation.lines import Lines, Panel
from must_tf.evaluation.table import MEAN
from must_tf.report.text import text_table
from must_tf.report.words import Format, metric_name


def lines_text(lines: Lines) -> str:
    """Returns the numbers of all panels as plain text."""
    seeds = f"mean ± standard error of {lines.seeds} seeds" if lines.seeds > 1 else "1 seed"
    blocks = [[f"{'in %' if all_shares(lines) else 'each score in its own unit'}, {seeds}"]]
    xs = [x_words(lines, i) for i in range(len(lines.x.values))]
    width = max(map(len, xs))
    for panel in lines.drawn:
        form = panel_format(lines, panel)
        rows = [[x.rjust(width), *(form.score(panel.mean(init, i)) for init in panel.lines)] for i, x in enumerate(xs)]
        blocks.append([panel_name(panel), "", *text_table([lines.x.name, *panel.lines], rows)])
    return "\n\n".join("\n".join(block) for block in blocks)


def all_shares(lines: Lines) -> bool:
    """Returns whether all scores are shares: then the reader is told once that they are in percent."""
    return all(panel.unit == "share" for panel in lines.drawn)


def panel_format(lines: Lines, panel: Panel) -> Format:
    """Returns how the scores of a panel are written."""
    means = [panel.mean(init, i) for init in panel.lines for i in range(len(lines.x.values))]
    return Format.of(panel.measure, means, not all_shares(lines))


def panel_name(panel: Panel) -> str:
    """Returns the name of a panel; it says where lower is better."""
    return metric_name(panel.measure) + (", lower is better" if panel.better == "lower" else "")


def panel_task(panel: Panel) -> str | None:
    """Returns the task of a panel, as the start of its name says; None where it is the mean of all."""
    task = panel.name.partition(", ")[0]
    return None if task == MEAN else task


def x_words(lines: Lines, index: int) -> str:
    """Returns a value of x, in full."""
    x = lines.x.values[index]
    return f"{x:,}" if isinstance(x, int) else f"{x:,.6g}"
