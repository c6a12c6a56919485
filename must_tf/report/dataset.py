"""The page of one dataset, and its summary for the terminal."""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from must_tf.labeling import Doubts
from must_tf.labeling.grade import Grade, Grader, flip_grade
from must_tf.records import Dataset, Findings, Record, open_dataset, verify
from must_tf.report import quality, statistics
from must_tf.report.filters import script
from must_tf.report.gallery import Gallery
from must_tf.report.markup import Html, element, join
from must_tf.report.page import Section, number, table, write_page
from must_tf.report.pictures import even
from must_tf.runtime.progress import Progress
from must_tf.storage import location
from must_tf.tasks import Task
from must_tf.teachers import Teacher

_CLASSES = 8  # that a line names
_HISTOGRAMS = 12  # lines of a task
_SAMPLE = 32  # records whose labels are looked at together


def inspect(
    folder: str | os.PathLike,
    out: str | os.PathLike | None = None,
    pictures: int = 24,
    progress: bool = False,
    teachers: Sequence[Teacher] = (),
    shards: int | None = None,
) -> tuple[Dataset, Findings, list[Grade]]:
    """Reads a dataset once: verifies and counts it, grades its labels, draws some of them, and writes its page.

    Args:
      folder: of the dataset, which may be damaged.
      out: the HTML file, `FOLDER/report.html` by default; it needs nothing else, and opens offline.
      pictures: how many images to draw, spread evenly over the dataset.
      progress: whether to show a progress line.
      teachers: run on the images that are drawn, and on their mirror images, to see how far they agree with themselves.
      shards: how many shards to read, at even distances, with images and labels of these alone; of the others the sizes
        are checked. All where None.

    Raises:
      UserError: no dataset in the folder, or a manifest that cannot be read.
    """
    dataset = open_dataset(folder, whole=False)
    manifest = dataset.manifest
    page = location(out) if out else location(folder) / "report.html"
    read = None if shards is None else even(len(manifest.shards), shards).tolist()
    total = manifest.count if read is None else int(manifest.shards.counts[read].sum())
    grader, gallery = Grader(manifest.tasks), Gallery(manifest.tasks, total, pictures, page)
    wanted = set(even(total, pictures).tolist()) if teachers else set()
    doubts, sampled = Doubts(manifest.tasks), set(even(total, _SAMPLE).tolist())
    images: list[np.ndarray] = []

    def see(index: int, record: Record) -> None:
        grader.update(record)
        gallery.add(index, record)
        if index in sampled:
            doubts.add(record)
        if index in wanted:
            images.append(tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy())

    findings = verify(dataset, see, Progress("inspect", total) if progress else None, read)
    told = {_without_figures(line) for line in manifest.warnings}  # of the same labels, but of another sample
    findings.warnings = [*manifest.warnings, *(line for line in doubts.lines() if _without_figures(line) not in told)]
    grades = grader.result() + [flip_grade(teacher, images) for teacher in teachers if images]
    write_dataset_page(page, dataset, findings, grades, gallery)
    return dataset, findings, grades


def _without_figures(warning: str) -> str:
    """Returns a warning with 0 for each number; digits in names of tasks and teachers stay."""
    return re.sub(r"(?<![\w-])\d[\d.,]*", "0", warning)


def write_dataset_page(
    out: str | os.PathLike, dataset: Dataset, findings: Findings, grades: Sequence[Grade], gallery: Gallery
) -> None:
    """Writes the page of a dataset: its problems, its labels drawn, counted and graded."""
    lead = join(
        element("p", _lead(dataset, findings, gallery.count), class_="lead"),
        statistics.problems(findings),
        statistics.overview(dataset, findings),
    )
    sections = []
    drawn = gallery.html()
    if drawn:
        sections.append(Section("pictures", "Labels", drawn))
    counts = join(statistics.origins(dataset, findings), statistics.histograms(dataset, findings))
    sections.append(Section("counts", "Counts", counts))
    if grades:
        sections.append(Section("grades", "Agreement", _grades(grades)))
    audits = quality.audits(dataset)
    if audits:
        sections.append(Section("audits", "Audits by people", audits))
    sources = join(statistics.teachers(dataset), statistics.quarantine(dataset), statistics.left_out(dataset))
    if sources:
        sections.append(Section("sources", "Teachers, quarantine, and what is left out", sources))
    write_page(out, f"Labels of {dataset.folder}", lead, sections, script() if drawn else "")


def summary(dataset: Dataset, findings: Findings, grades: Sequence[Grade]) -> str:
    """Returns what a dataset holds, as plain text."""
    manifest, records = dataset.manifest, findings.records
    size = int(manifest.shards.bytes.sum())
    shards = f"{len(manifest.shards):,} shard{'s' * (len(manifest.shards) != 1)}"
    lines = [
        f"{dataset.folder}: {records:,} records in {shards}, {size / 1e6:,.1f} MB; "
        f"images of {findings.image_bytes / max(records, 1):,.0f} bytes"
    ]
    if findings.unread:
        lines.append(f"  {unread(dataset, findings)}")
    for task in manifest.tasks:
        lines += task_lines(task, findings)
    lines += [f"  warning: {line}" for line in findings.warnings]
    for grade in grades:
        lines.append(f"  {grade.tasks[0]} against {grade.tasks[1]}: {grade.words(4)} ({grade.images:,} images)")
    lines += [f"  {line}" for line in quality.audit_lines(dataset)]
    if findings.copies:
        pair = " and ".join(findings.pair)
        lines.append(f"  copies: {findings.copies:,} records have an image of one before, as {pair}")
    lines.append(f"  quarantined: {len(manifest.quarantined):,}")
    lines += [f"  left out: {count:,} {reason}" for reason, count in manifest.left_out.items()]
    return "\n".join(lines)


def unread(dataset: Dataset, findings: Findings) -> str:
    """Returns which part of a dataset was read, where that is not all."""
    shards = len(dataset.manifest.shards)
    return (
        f"{shards - findings.unread:,} of {shards:,} shards were read, with {findings.records:,} of "
        f"{dataset.manifest.count:,} records; of the others the sizes alone were checked"
    )


def task_lines(task: Task, findings: Findings) -> list[str]:
    """Returns what is known of the labels of a task, in lines of plain text."""
    origins = findings.labels[task.name]
    labels = sum(origins.values())
    if not labels:
        return [f"  {task.name} ({task.kind}): no label"]
    by = ", ".join(f"{count:,} by {origin}" for origin, count in origins.items())
    share = labels / max(findings.records, 1)
    lines = [f"  {task.name} ({task.kind}): {by}; {share:.1%} of records"]
    if size := findings.label_bytes.get(task.name):
        lines[0] += f"; {size / labels:,.0f} bytes per label"
    sums = findings.statistics[task.name]
    names, words = statistics.class_sums(task, sums, labels)
    if names:
        more = f" and {len(names) - _CLASSES:,} more" if len(names) > _CLASSES else ""
        shown = zip(names[:_CLASSES], words, strict=False)
        lines.append("    classes: " + ", ".join(f"{name} {value}" for name, value in shown) + more)
    means = [f"{name} {value / labels:.3g}" for name, value in sums.items() if name not in names]
    if means:
        lines.append("    per image: " + ", ".join(means))
    shares = [f"    {quantity}: {_shares(counts)}" for quantity, counts in findings.histograms[task.name].items()]
    hidden = len(shares) - _HISTOGRAMS
    return lines + shares[:_HISTOGRAMS] + ([f"    and {hidden} more, on the page"] if hidden > 0 else [])


def _shares(counts: Mapping[str, float]) -> str:
    total = sum(counts.values()) or 1
    return "  ".join(f"{name} {count / total:.0%}" for name, count in statistics.trimmed(counts).items())


def _grades(grades: Sequence[Grade]) -> Html:
    rows = []
    for grade in grades:
        rows.append([" against ".join(grade.tasks), number(f"{grade.images:,}"), grade.words(3)])
    notes = [element("p", note, class_="note") for note in dict.fromkeys(grade.note for grade in grades)]
    return join(table(["labels", "images", "scores"], rows, "Labels of two tasks, compared without truth."), notes)


def _lead(dataset: Dataset, findings: Findings, drawn: int) -> str:
    """Returns what one sees on the page."""
    tasks, count = dataset.manifest.tasks, findings.records if findings.unread else dataset.manifest.count
    names = ", ".join(task.name if task.name == task.kind else f"{task.name} ({task.kind})" for task in tasks)
    part = f" {unread(dataset, findings)}." if findings.unread else ""
    if not drawn:
        return f"This page counts the labels of {count:,} images: {names}.{part}"
    return (
        f"This page shows {drawn:,} of {count:,} images with their labels drawn: {names}. It counts the labels of all."
        f"{part}"
    )
