"""`must inspect` as a function: verifies a dataset, counts and grades its labels, and writes its page."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from must_tf import report
from must_tf.labeling.grade import Grade
from must_tf.quality.audit import check_no_former_audits
from must_tf.ranges import check_range
from must_tf.records import Dataset, Findings
from must_tf.report.gallery import AT_ONCE
from must_tf.shown import framed
from must_tf.storage import Location, location
from must_tf.verbs.labeling import Teachers, loading
from must_tf.verbs.teachers import Thresholds


@dataclasses.dataclass(frozen=True, repr=False)
class Inspection:
    """What is in a dataset, and what is wrong with it; it prints itself as the command prints it.

    Attributes:
      dataset: the dataset.
      findings: its problems, counts and statistics.
      grades: how well its labels agree.
      page: the HTML page that was written.
      is_whole: whether the page holds its pictures; those of more than 100 images are files in a folder beside it.
    """

    dataset: Dataset
    findings: Findings
    grades: list[Grade]
    page: Location
    is_whole: bool = True

    def __repr__(self) -> str:
        return report.summary(self.dataset, self.findings, self.grades)

    def _repr_html_(self) -> str:
        return framed(self.page.read_bytes().decode()) if self.is_whole else self.dataset._repr_html_()


def inspect(
    data: str | os.PathLike,
    out: str | os.PathLike | None = None,
    pictures: int = 24,
    teachers: Teachers = (),
    *,
    cards: Mapping[str, str] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    classes: Mapping[str, Mapping[str, str | Sequence[str]]] | None = None,
    thresholds: Mapping[str, Thresholds | str] | None = None,
    tta: str | Sequence[str] | Mapping[str, str | Sequence[str]] = (),
    allow_ops: str | Sequence[str] = (),
    shards: int | None = None,
) -> Inspection:
    """Verifies every byte of a dataset, counts and grades its labels, and draws some of them into a page.

    Args:
      data: folder of records, which may be damaged: `findings.problems` says how.
      out: HTML file to write; by default DATA/report.html.
      pictures: number of images to draw.
      teachers: as for `label`; they are compared with themselves on mirror images.
      cards: of these teachers, as for `label`.
      fields: of these teachers, as for `label`.
      classes: of these teachers, as for `label`.
      thresholds: of these teachers, as for `label`.
      tta: of these teachers, as for `label`.
      allow_ops: of these teachers, as for `label`.
      shards: how many shards to read, at even distances; of the others the sizes alone are checked. All where None.

    Raises:
      UserError: no dataset in the folder, or teachers that do not exist.
    """
    check_range("--pictures", pictures, "[0, inf)")
    check_range("--shards", shards, "[1, inf)")
    check_no_former_audits(data)
    load = loading(teachers, cards, fields, classes, thresholds, tta, allow_ops)
    page = location(out) if out else location(data) / "report.html"
    loaded = load() if callable(load) else load
    dataset, findings, grades = report.inspect(data, page, pictures, sys.stderr.isatty(), loaded, shards)
    return Inspection(dataset, findings, grades, page, min(pictures, dataset.manifest.count) <= AT_ONCE)
