"""The page of a preview: labels by teachers of a few images, before anything is written."""

import os
from collections.abc import Sequence

from must_tf.records import Record, count_labels
from must_tf.report.dataset import task_lines
from must_tf.report.markup import element
from must_tf.report.page import Section, write_page
from must_tf.report.pictures import picture_table
from must_tf.tasks import Task


def preview_lines(records: Sequence[Record], tasks: Sequence[Task]) -> list[str]:
    """Returns what the labels of a preview hold, in lines of plain text: counts, classes, means, histograms."""
    findings = count_labels(records, tasks)
    return [line for task in tasks for line in task_lines(task, findings)]


def preview_page(records: Sequence[Record], tasks: Sequence[Task], out: str | os.PathLike) -> None:
    """Writes the page.

    Args:
      records: at least one, with the teachers' labels.
      tasks: that the labels are of.
      out: the HTML file; it needs nothing else, and opens offline.
    """
    origins = sorted({origin for record in records for origin in record.origins.values()})
    made = f"This page shows {len(records)} images with labels by {', '.join(origins) or 'nobody'}."
    lead = element("p", f"{made} Nothing else was written.", class_="lead")
    caption = f"{len(records)} images from all over the source."
    write_page(out, "Preview of labels", lead, [Section("pictures", "Labels", picture_table(records, tasks, caption))])
