"""Pages of datasets, students and transfer tables, as notebooks show them (see `must_tf.shown`)."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from must_tf import inference
from must_tf.copies import fetched
from must_tf.evaluation.table import TransferTable
from must_tf.parsing import read_object
from must_tf.records import Dataset, Record, open_dataset
from must_tf.records.manifest import FILE
from must_tf.report import quality, statistics
from must_tf.report.markup import element
from must_tf.report.page import Section, page
from must_tf.report.pictures import picture_table, spread
from must_tf.report.transfer_section import transfer_section
from must_tf.saving import CONFIG, locate, read_input_size
from must_tf.storage import Location
from must_tf.student import Student

_PICTURES = 6


@functools.singledispatch
def page_of(value: Any) -> str:
    """Returns the page of an object, as HTML that needs nothing else."""
    raise TypeError(f"{type(value).__name__}: has no page")


@page_of.register
def _(table: TransferTable) -> str:
    section = transfer_section(table)
    return page(section.title, None, [dataclasses.replace(section, title="Scores")])


@page_of.register
def _(dataset: Dataset) -> str:
    manifest = dataset.manifest
    drawn = spread(dataset, _PICTURES)
    caption = f"{len(drawn)} of {manifest.count:,} images, spread evenly over the dataset."
    sections = [
        Section("pictures", "Labels", picture_table(drawn, manifest.tasks, caption)),
        Section("origins", "Origins", statistics.origins(dataset, None)),
    ]
    if audits := quality.audits(dataset):
        sections.append(Section("audits", "Audits by people", audits))
    return page(str(dataset.folder), element("p", repr(dataset), class_="lead"), sections)


@page_of.register
def _(student: Student) -> str:
    lead = element("p", repr(student), class_="lead")
    sections = []
    if drawn := _predictions(student):
        caption = f"Predictions on images of the run {student.workdir}."
        sections = [Section("pictures", "Predictions", picture_table(drawn, list(student.tasks.values()), caption))]
    return page(Path(student.workdir).name or "Student", lead, sections)


def _predictions(student: Student) -> list[Record]:
    """Returns images of a student's run with its predictions in place of labels; none where no image is found."""
    run = fetched(student.workdir or "")
    if not student.workdir or not (run / CONFIG).is_file():
        return []
    config = read_object(run / CONFIG)
    named = [config.get("validation") or "", *config.get("train", [])]
    folder = next((found for name in named if name and (found := locate(name, student.workdir, FILE))), None)
    if folder is None:
        return []
    size, who = read_input_size(student.workdir), Path(student.workdir).resolve().name
    labeled = [(record, inference.predict(student, record.encoded, size)) for record in _images(folder)]
    return [dataclasses.replace(one, labels=labels, origins=dict.fromkeys(labels, who)) for one, labels in labeled]


def _images(folder: Location) -> list[Record]:
    return spread(open_dataset(folder), _PICTURES)
