"""The page of `must report`: transfer tables, curves, labels, predictions, training, counts."""

import dataclasses
import os
import shlex
from collections.abc import Sequence

from must_tf.copies import fetched
from must_tf.errors import UserError
from must_tf.evaluation.lines import Lines, read_lines
from must_tf.evaluation.table import TransferTable, read_table
from must_tf.parsing import as_items
from must_tf.records import Dataset, open_dataset, verify
from must_tf.report import quality, statistics
from must_tf.report.conflicts import conflicts_section
from must_tf.report.curves import curves_section
from must_tf.report.filters import filters, script
from must_tf.report.lines import lines_text
from must_tf.report.lines_section import lines_section
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section, write_page
from must_tf.report.pictures import picture_table, spread
from must_tf.report.predictions import predict
from must_tf.report.text import write_text
from must_tf.report.transfer import transfer_text
from must_tf.report.transfer_section import made_by, transfer_section

_PICTURES = 6  # images of a dataset
_VERIFIED = 5000  # records up to which a dataset is read whole; of larger ones the manifest's counts are shown

Path = str | os.PathLike


def report(
    out: Path,
    datasets: Path | Sequence[Path] = (),
    workdirs: Path | Sequence[Path] = (),
    student: Path | None = None,
    transfer: Path | Sequence[Path] = (),
    title: str = "Results of multi-task self-training",
    curves: Path | Sequence[Path] = (),
    text: Path | None = None,
) -> None:
    """Writes the page of the whole loop; a section for which nothing was given is left out.

    Args:
      out: the HTML file; it needs nothing else, and opens offline.
      datasets: folders of records, to draw and to count.
      workdirs: runs, for their curves, and for the cosines of their tasks' gradients.
      student: workdir of a finished run, for its predictions on images of the first dataset that can be read.
      transfer: JSONs of transfer tables; a folder stands for all of its own, in the order of their names.
      title: of the page.
      curves: JSONs of scores against a quantity, and folders likewise.
      text: a Markdown file that gets the tables and the curves as plain text. Where it exists, only what stands
        between its lines `<!-- tables -->` and `<!-- /tables -->` is replaced.

    Raises:
      UserError: nothing to report, or a file that is missing or broken.
    """
    tables, lines = [read_table(path) for path in _jsons(transfer)], [read_lines(path) for path in _jsons(curves)]
    datasets, workdirs = as_items(datasets), as_items(workdirs)
    runs = [fetched(workdir) for workdir in workdirs]
    opened = [open_dataset(folder) for folder in datasets]
    sections = [transfer_section(table, _anchor("transfer", i)) for i, table in enumerate(tables)]
    sections += [lines_section(drawn, _anchor("lines", i)) for i, drawn in enumerate(lines)]
    given = f"--datasets={','.join(map(str, datasets))}"
    if opened:
        body = join(_labels(dataset) for dataset in opened)
        sections.append(_made(Section("labels", "Labels", body), given))
    if student:
        sections.append(_made(_predictions(fetched(student), opened), given, f"--student={student}"))
    if workdirs:
        trained = [curves_section(runs), *conflicts_section(runs)]
        sections += [_made(section, f"--workdirs={','.join(map(str, workdirs))}") for section in trained]
    if opened:
        body = join(_counts(dataset) for dataset in opened)
        sections.append(_made(Section("datasets", "Datasets", body), given))
    if not sections:
        raise UserError(
            "nothing to report: none of datasets, workdirs, student, transfer and curves given; name one or more"
        )
    if text and not (tables or lines):
        raise UserError(f"{text}: no table for it; give --transfer or --curves too")
    if text:
        _write_text(text, title, tables, lines)
    shown = {
        "how starts of fine-tuning compare": tables,
        "curves of scores": lines,
        "labels drawn on their images": opened,
        "predictions of a student": student,
        "curves of the training": workdirs,
        "counts of the labels": opened,
    }
    named = _and([name for name, part in shown.items() if part])
    lead = element("p", f"This page shows {named}. {_METHOD}", class_="lead")
    write_page(out, title, join(lead, filters()), sections, script())


_METHOD = (
    "In multi-task self-training, teachers label images. One student learns all tasks at once, and its backbone starts "
    "tasks of your own (Ghiasi et al., Multi-Task Self-Training for Learning General Representations, ICCV 2021)."
)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + [names[-1]])


def _jsons(paths: Path | Sequence[Path]) -> list[Path]:
    """Puts the JSON files of a folder in its place."""
    found: list[Path] = []
    for path in map(fetched, as_items(paths)):
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: holds no JSON of a table or a curve; name its files, or another folder")
        found += inside
    return found


def _write_text(path: Path, title: str, tables: Sequence[TransferTable], lines: Sequence[Lines]) -> None:
    parts = [(table.title, table.note, transfer_text(table), table.command) for table in tables]
    parts += [(drawn.title, drawn.note, lines_text(drawn), drawn.command) for drawn in lines]
    write_text(path, title, parts)


def _anchor(name: str, index: int) -> str:
    return f"{name}-{index + 1}" if index else name


def _made(section: Section, *flags: str) -> Section:
    """Adds the command that makes a section again."""
    return dataclasses.replace(section, body=join(section.body, made_by(shlex.join(["must", "report", *flags]))))


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
            caption = f"One forward pass of the student per image; images of {_name(dataset)}."
            body = picture_table(predicted, list(student.tasks.values()), caption)
            return Section("predictions", "The student’s predictions", body)
    raise UserError(f"{workdir}: no image for the student to predict on; name a dataset too")


def _counts(dataset: Dataset) -> Html:
    findings = verify(dataset) if dataset.manifest.count <= _VERIFIED else None
    command = element("code", f"must inspect {dataset.folder}")
    hint = join("The class histograms of so large a dataset come from ", command, ".")
    return join(
        element("h3", _name(dataset)),
        statistics.problems(findings) if findings and findings.problems else None,
        statistics.overview(dataset, findings),
        statistics.origins(dataset, findings),
        statistics.histograms(dataset, findings) if findings else element("p", hint, class_="note"),
        quality.audits(dataset),
        statistics.teachers(dataset),
        statistics.quarantine(dataset),
    )


def _name(dataset: Dataset) -> str:
    return "/".join(str(dataset.folder).rsplit("/", 2)[-2:])
