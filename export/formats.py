"""The export formats by name, and the files that an export in some of them consists of."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from must_tf.errors import UserError, nearest
from must_tf.export import endpoints
from must_tf.export.format import Format
from must_tf.export.keras import Keras
from must_tf.export.litert import LiteRT
from must_tf.export.model_garden import ModelGarden
from must_tf.export.onnx import Onnx
from must_tf.export.savedmodel import SavedModel
from must_tf.export.tf_keras import TfKeras
from must_tf.export.torch import Torch
from must_tf.student import Student

FORMATS: dict[str, Format] = {
    format.name: format for format in (SavedModel(), Onnx(), Keras(), TfKeras(), ModelGarden(), LiteRT(), Torch())
}


@dataclasses.dataclass(frozen=True)
class File:
    """One file of an export (a folder, in some formats).

    Attributes:
      format: which format it is in.
      part: one of the format's `parts`.
      left_out: by task, why its outputs are not in the file.
      empty: whether nothing is left for it; it is not written then.
    """

    format: Format
    part: str
    left_out: Mapping[str, str]
    empty: bool

    @property
    def path(self) -> str:
        """Where it lies in the export."""
        return self.format.path(self.part)

    @property
    def endpoint(self) -> str:
        """What it computes: `backbone`, `heads` or `student`."""
        return endpoints.of(self.part)


def plan_files(student: Student, formats: Iterable[str]) -> list[File]:
    """Returns all files of an export of a student, with those that would be empty."""
    return [_file(student, FORMATS[name], part) for name in formats for part in FORMATS[name].parts]


def check_formats(formats: Sequence[str]) -> None:
    """Raises a `UserError` where a format is unknown or not installed, or where there is none."""
    if not formats:
        raise UserError(f"no format was given; known: {', '.join(sorted(FORMATS))}")
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"format {name!r} is unknown; {nearest(name, FORMATS)}")
        FORMATS[name].require()


def _file(student: Student, format: Format, part: str) -> File:
    endpoint = endpoints.of(part)
    left_out = endpoints.left_out(student, endpoint, format.name)
    return File(format, part, left_out, empty=endpoint != endpoints.BACKBONE and len(left_out) == len(student.tasks))
