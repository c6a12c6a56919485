"""The interface of an export format: which parts of a student it has, how they are written, loaded and described."""

import abc
from pathlib import Path
from typing import Any, ClassVar

from must_tf.export.images import MADE, Images
from must_tf.export.parity import Bound, Runner
from must_tf.geometry import Size
from must_tf.student import Student

Card = dict[str, Any]  # what card.json holds; see `card.describe`


class Format(abc.ABC):
    """One kind of files that a student is exported to. A format has no state.

    Attributes:
      name: value of `--formats`, and key of `FORMATS`.
      parts: what is written: an endpoint (`backbone`, `heads`, `student`), with a variant after a dot where there are
        several (`student.int8`).
      snippet: Markdown for the README: how a file is loaded. `{height}`, `{width}`, `{pixels}`, `{features}`,
        `{backbone}` and `{resnet}` (its name without a hyphen) are filled in.
    """

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    snippet: ClassVar[str]

    @abc.abstractmethod
    def path(self, part: str) -> str:
        """Returns where a part lies in an export: a file, or a folder of files."""

    @abc.abstractmethod
    def write(self, student: Student, part: str, where: Path, facts: Card, images: Images = MADE) -> None:
        """Writes one part; the same student gives the same bytes in every process.

        Args:
          student: what is exported.
          part: one of `parts`.
          where: the file or folder.
          facts: what the card says of the export, before a file is written.
          images: for formats that are calibrated.

        Raises:
          UserError: the format has no counterpart of something in the student.
        """

    @abc.abstractmethod
    def load(self, where: Path) -> Runner:
        """Loads what `write` left, in the format's own runtime; returns a function of images, see `Runner`."""

    def require(self) -> None:
        """Raises a `UserError` unless all packages of the format are installed."""
        return

    def usage(self, facts: Card) -> str:
        """Returns the part of `snippet` that holds for a student's files; by default all of it."""
        del facts
        return self.snippet

    def bound(self, part: str) -> Bound:
        """Returns how far a part may be from the student."""
        del part
        return Bound()

    def sizes(self, facts: Card) -> list[Size] | None:
        """Returns the only heights and widths that the files take; None where they take any."""
        del facts
        return None
