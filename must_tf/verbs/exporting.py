"""`must export` as a function: writes a student as files that other tools load."""

import dataclasses
import os
from collections.abc import Sequence

from must_tf.copies import fetched, mirrored
from must_tf.export import Parity, notes, summary
from must_tf.export import export as write_export
from must_tf.geometry import Size
from must_tf.parsing import as_items
from must_tf.ranges import check_range
from must_tf.runtime.quiet import quiet
from must_tf.storage import Location, location


@dataclasses.dataclass(frozen=True, repr=False)
class Exported:
    """An export; it prints itself as the command prints it.

    Attributes:
      folder: holds the files, `README.md` and `card.json`.
      parities: how far each output of each file is from the student.
      notes: what is left out, one line each.
      summary: the errors, bound and bytes of each file, as a table.
    """

    folder: Location
    parities: list[Parity]
    notes: list[str]
    summary: str

    def __repr__(self) -> str:
        return "\n".join([self.summary, *self.notes])


def export(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    formats: str | Sequence[str] = ("savedmodel", "onnx"),
    *,
    normalize: bool = True,
    allow_licenses: str | Sequence[str] | None = None,
    litert_size: Size | None = None,
    litert_records: str = "",
    litert_images: int = 100,
) -> Exported:
    """Exports the student of a finished run, and compares every file with it in the file's own runtime.

        must_tf.export("runs/photos", "exports/photos", formats=["savedmodel", "onnx", "keras"])

    Args:
      workdir: of the run.
      out: folder for the export.
      formats: which of `must_tf.export.FORMATS`.
      normalize: whether files take RGB in [0, 255] and normalize it; else they take normalized images.
      allow_licenses: of data and teachers; by default any.
      litert_size: height and width of the litert files; by default the training size.
      litert_records: folder of records to calibrate int8 on; by default those of the training.
      litert_images: how many of them.

    Raises:
      UserError: see `must_tf.export.export`.
    """
    check_range("--litert_images", litert_images, "[1, inf)")
    with mirrored(out) as folder, quiet():  # what is said of the lock is seen at once
        parities = write_export(
            fetched(workdir),
            folder,
            as_items(formats),
            normalize=normalize,
            allow_licenses=None if allow_licenses is None else as_items(allow_licenses),
            litert_size=litert_size,
            litert_records=litert_records,
            litert_images=litert_images,
        )
        return Exported(location(out), parities, notes(folder), summary(folder))
