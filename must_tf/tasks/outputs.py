"""Declarations of a task's output arrays: names, axes, and which of them form a ranked list."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Output:
    """One array of `Task.decode_predictions`.

    Attributes:
      name: its key.
      axes: names of its axes after the batch. `height` and `width` have the size of the image, and `height/4` a
        quarter of it, rounded up. Any other axis has the same size for all images.
      meaning: one phrase for the README of an export, with the unit or coordinate frame.
    """

    name: str
    axes: tuple[str, ...]
    meaning: str


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Outputs that form one list of rows per image, with the best first.

    Rounding decides which of two rows with nearly equal scores comes first. Exported files are therefore compared with
    the student by pairs of similar rows, and not by position.

    Attributes:
      columns: names of the outputs [batch, N, ...] that make up a row; `score` and `valid` are among them.
      score: name of the output [batch, N] by which rows are ranked.
      valid: name of the output [batch, N] that is negative in rows that are padding.
      least: the score that a row needs to be in a list that has room for it.
    """

    columns: tuple[str, ...]
    score: str
    valid: str
    least: float = 0.0
