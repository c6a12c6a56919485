"""The page of one dataset."""

import os

from must_tf.records import Dataset, Findings
from must_tf.report import statistics
from must_tf.report.markup import element, join
from must_tf.report.page import Section, write_page
from must_tf.report.pictures import picture_table, spread


def dataset_report(dataset: Dataset, findings: Findings, out: str | os.PathLike, pictures: int = 12) -> None:
    """Writes the page of a dataset: what it is, what is wrong with it, and its labels drawn.

    Args:
      dataset: the dataset.
      findings: what `records.verify` found in it.
      out: the HTML file; it needs nothing else, and opens offline.
      pictures: how many images to draw, spread evenly over the dataset.
    """
    manifest = dataset.manifest
    title = f"{manifest.name}, {manifest.split}"
    lead = join(
        element("p", "A dataset of images with labels of ", _names(dataset), ".", class_="lead"),
        statistics.problems(findings),
        statistics.overview(dataset, findings),
    )
    sections = []
    records = spread(dataset, pictures)
    if records:
        caption = f"{len(records)} of {manifest.count:,} images, spread evenly over the dataset."
        sections.append(Section("pictures", "Labels", picture_table(records, manifest.tasks, caption)))
    counts = join(statistics.origins(dataset, findings.labels), statistics.histograms(dataset, findings))
    sections.append(Section("counts", "Counts", counts))
    sources = join(statistics.teachers(dataset), statistics.quarantine(dataset))
    if sources:
        sections.append(Section("sources", "Teachers and quarantine", sources))
    write_page(out, title, lead, sections)


def _names(dataset: Dataset) -> str:
    return ", ".join(f"{task.name} ({task.kind})" for task in dataset.manifest.tasks)
