"""What a kind of task declares of the arrays that users read of it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Output:
    """One array of `Task.decode_predictions`.

    Attributes:
      name: its key.
      axes: names of its axes after the batch. `height` and `width` are those of the image, `height/4` a quarter of it,
        rounded up; the size of any other axis is the same for all images.
      meaning: in words, for the README of an export.
    """

    name: str
    axes: tuple[str, ...]
    meaning: str


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Outputs that are one list of rows per image, the best first.

    Rounding decides which of two rows with nearly the same score comes first. So files are compared with the student by
    pairs of rows that are alike, not by position.

    Attributes:
      columns: names of the outputs [batch, N, ...] that make up a row; `score` and `valid` are among them.
      score: name of the output [batch, N] that rows are ranked by.
      valid: name of the output [batch, N] that is negative in rows that are padding.
    """

    columns: tuple[str, ...]
    score: str
    valid: str
