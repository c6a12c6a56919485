"""Audits, comparisons of datasets and near-duplicates as plain text, and audits as a table."""

import os
from collections.abc import Iterator

from must_tf.quality import Comparison, Duplicates
from must_tf.quality.compare import Alone, TaskComparison
from must_tf.records import Audited, Dataset
from must_tf.report.markup import Html, element, join
from must_tf.report.page import number, table

_MOST = 20  # pairs, differences and classes that a text names


def audits(dataset: Dataset) -> Html | None:
    """Returns tables of precision and recall by class, if people audited labels that are still the dataset's."""
    found = dataset.manifest.audited
    return join(map(_audit_table, found.values())) if found else None


def _audit_table(audited: Audited) -> Html:
    rows = [
        [row.name or "all classes", number(str(row.precision)), number(str(row.recall)), number(row.recall.images)]
        for row in audited.classes
    ]
    caption = (
        f"{audited.task}: how right its labels are. People corrected {audited.images:,} of {audited.population:,} "
        "images; the figures are for all of them."
    )
    header = ["class", "precision [95 %]", "recall [95 %]", "images of the sample that have it"]
    return join(table(header, rows, caption), element("p", f"{audited.method}.", class_="note"))


def audit_lines(dataset: Dataset) -> list[str]:
    """Returns what audits found, as plain text; also that an audit was of labels that have changed since."""
    current = dataset.manifest.audited
    lines = []
    for task in dataset.manifest.audits.results:
        if task in current:
            lines += audited_lines(current[task])
        else:
            lines.append(f"audit of {task}: its labels have changed since; audit them again with --audit=N")
    return lines


def audited_lines(audited: Audited) -> list[str]:
    """Returns the result of an audit, one line per class."""
    looked = f"{audited.images:,} of {audited.population:,} images were corrected"
    rows = [f"  {row}" for row in audited.classes]
    return [f"audit of {audited.task}: {looked}; estimates for all, with 95 % intervals:", *rows]


def comparison_lines(comparison: Comparison, first: str | os.PathLike, second: str | os.PathLike) -> list[str]:
    """Returns how two datasets differ, as plain text."""
    lines = [f"A: {first}", f"B: {second}", f"images: {comparison.shared:,} in both"]
    lines += [_alone_line(alone, name) for alone, name in ((comparison.only_first, "A"), (comparison.only_second, "B"))]
    for task, found in comparison.tasks.items():
        lines += _task_lines(task, found)
    more = len(comparison.manifest) - _MOST
    lines.append(f"manifests: {len(comparison.manifest) or 'no'} difference{'s' * (len(comparison.manifest) != 1)}")
    lines += [f"  {line}" for line in comparison.manifest[:_MOST]]
    return lines + [f"  and {more:,} more"] * (more > 0)


def _alone_line(alone: Alone, name: str) -> str:
    names = ", ".join(alone.names) + (", ..." if alone.count > len(alone.names) else "")
    return f"images: {alone.count:,} in {name} alone" + (f": {names}" if names else "")


def _task_lines(task: str, found: TaskComparison) -> Iterator[str]:
    one_sided = f"{found.only_first:,} in A alone, {found.only_second:,} in B alone"
    if found.reason:
        yield f"{task}: not compared, because {found.reason}; labels of images in both: {one_sided}"
        return
    yield (f"{task}: labels of images in both: {found.same:,} the same, {found.different:,} different, {one_sided}")
    for name, (both, second, first) in list(found.classes.items())[:_MOST]:
        agreement = 2 * both / (first + second)
        yield f"  {name}: agreement {agreement:.1%} ({first:,.0f} in A, {second:,.0f} in B, {both:,.0f} in both)"
    more = len(found.classes) - _MOST
    if more > 0:
        yield f"  and {more:,} more classes"


def duplicate_lines(found: Duplicates, what: str, rest: str) -> list[str]:
    """Returns near-duplicates as plain text.

    Args:
      found: the pairs.
      what: says what a pair is, in words that follow the number of images.
      rest: where all pairs are, if there are more than the text names.
    """
    lines = [f"{len(found.pairs):,} of {found.images:,} images {what}"]
    for pair in found.pairs[:_MOST]:
        kind = pair.kind if pair.kind == "same file" else f"{pair.kind}, {pair.bits} of 128 bits differ"
        lines.append(f"  {pair.image}: {pair.earlier} ({kind})")
    more = len(found.pairs) - _MOST
    if more > 0:
        lines.append(f"  and {more:,} more: {rest}")
    if found.flat:
        lines.append(f"  {found.flat:,} images have hardly any contrast; of these, only equal files are found")
    return lines
