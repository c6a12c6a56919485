"""The page of the whole loop: transfer, labels, predictions, curves, counts."""

import os
from collections.abc import Sequence

from must_tf.errors import UserError
from must_tf.records import Dataset, open_dataset, verify
from must_tf.report import statistics
from must_tf.report.conflicts import conflicts_section
from must_tf.report.curves import curves_section
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section, write_page
from must_tf.report.pictures import picture_table, spread
from must_tf.report.predictions import predict
from must_tf.report.transfer import read_transfer
from must_tf.report.transfer_section import transfer_section

_PICTURES = 6  # images of a dataset
_VERIFIED = 5000  # records up to which a dataset is read whole; of larger ones the manifest's counts are told

Path = str | os.PathLike


def report(
    out: Path,
    datasets: Sequence[Path] = (),
    workdirs: Sequence[Path] = (),
    student: Path | None = None,
    transfer: Path | None = None,
    title: str = "Multi-Task Self-Training",
) -> None:
    """Writes the page of the whole loop; a section that nothing was given for is left out.

    Args:
      out: the HTML file; it needs nothing else, and opens offline.
      datasets: folders of records, to draw and to count.
      workdirs: runs, for their curves.
      student: workdir of a finished run, for its predictions on images of the first dataset that can be read.
      transfer: JSON of a transfer table.
      title: of the page.

    Raises:
      UserError: nothing to report, or a file that is missing or broken.
    """
    opened = [open_dataset(folder) for folder in datasets]
    sections = [transfer_section(read_transfer(transfer))] if transfer else []
    if opened:
        sections.append(Section("labels", "Labels", join(_labels(dataset) for dataset in opened)))
    if student:
        sections.append(_predictions(student, opened))
    if workdirs:
        sections.append(curves_section(workdirs))
        sections += conflicts_section(workdirs)
    if opened:
        sections.append(Section("datasets", "Datasets", join(_counts(dataset) for dataset in opened)))
    if not sections:
        raise UserError("nothing to report: none of datasets, workdirs, student and transfer given; name one or more")
    write_page(out, title, element("p", _LEAD, class_="lead"), sections)


_LEAD = (
    "Teachers label images, one student learns all the tasks at once, and its backbone is the start for tasks of "
    "one’s own (Ghiasi et al., Multi-Task Self-Training for Learning General Representations, ICCV 2021)."
)


def _labels(dataset: Dataset) -> Html:
    manifest = dataset.manifest
    records = spread(dataset, _PICTURES)
    caption = f"{len(records)} of {manifest.count:,} images, spread evenly over the dataset."
    return join(element("h3", _name(dataset)), picture_table(records, manifest.tasks, caption))


def _predictions(workdir: Path, datasets: Sequence[Dataset]) -> Section:
    for dataset in datasets:
        records = spread(dataset, _PICTURES)
        if records:
            student, predicted = predict(workdir, records)
            caption = f"One forward pass of the student an image; images of {_name(dataset)}."
            body = picture_table(predicted, list(student.tasks.values()), caption)
            return Section("predictions", "The student’s predictions", body)
    raise UserError(f"{workdir}: no image for the student to predict on; name a dataset too")


def _counts(dataset: Dataset) -> Html:
    findings = verify(dataset) if dataset.manifest.count <= _VERIFIED else None
    hint = f"The class histograms of so large a dataset come from `must inspect {dataset.folder}`."
    return join(
        element("h3", _name(dataset)),
        statistics.problems(findings) if findings and findings.problems else None,
        statistics.overview(dataset, findings),
        statistics.origins(dataset, findings),
        statistics.histograms(dataset, findings) if findings else element("p", hint, class_="note"),
        statistics.teachers(dataset),
        statistics.quarantine(dataset),
    )


def _name(dataset: Dataset) -> str:
    return "/".join(dataset.folder.parts[-2:])
