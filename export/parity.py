"""How far an exported file is from the student that it was made of."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from must_tf.errors import UserError

LARGEST, MEAN = "largest", "mean"
_COLUMNS = ("boxes", "classes", "scores")  # of a list of boxes; class -1 is padding
_SAME_BOX = 1e-3  # rows of one class nearer than this, in corners and score, are the same box
_TIED = 1e-5  # scores nearer than this may change places
_MAX_UNPAIRED = 0.05  # share of the boxes, beside the tied ones
_FAR = float("inf")

Runner = Callable[[np.ndarray], dict[str, np.ndarray]]
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Bound:
    """How far a file may be from the student.

    Attributes:
      value: the error above which a file is not kept.
      of: which error: `largest` or `mean`, see `Parity`.
    """

    value: float = 1e-4
    of: str = LARGEST


@dataclasses.dataclass(frozen=True)
class Parity:
    """One output of one file on one batch of images, against the student.

    Attributes:
      file: path in the export.
      output: the output's name.
      size: height and width of the images.
      batch: how many images.
      largest: the largest |file - student|, divided by the largest |student| of the output.
      mean: the sum of |file - student|, divided by the sum of |student|.
      compared: how many values the errors are over; 0 where the student found no box.
      bound: of the file.
      of: which error is bounded.
    """

    file: str
    output: str
    size: tuple[int, int]
    batch: int
    largest: float
    mean: float
    compared: int
    bound: float
    of: str


def measure(file: str, batch: int, size: tuple[int, int], wanted: Arrays, given: Arrays, bound: Bound) -> list[Parity]:
    """Compares a file's outputs of a batch of images with the student's.

    Raises:
      UserError: an output is further off than the bound, or the student's own is not finite.
    """
    for name, values in wanted.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"{file}: the student itself gives {name} that is not finite at {size[0]}x{size[1]}, batch {batch}; "
                "nothing can be compared with it; train it further, or with a lower rate"
            )
    errors = compare(wanted, given)
    found = [Parity(file, name, size, batch, *errors[name], bound.value, bound.of) for name in errors]
    for parity in found:
        error = getattr(parity, bound.of)
        if not error <= bound.value:
            raise UserError(
                f"{file}: output {parity.output} is {error:.2g} from the student's ({bound.of} error) at "
                f"{size[0]}x{size[1]}, batch {batch}; bound {bound.value:g}; the file was not kept"
            )
    return found


def compare(wanted: Arrays, given: Arrays) -> dict[str, tuple[float, float, int]]:
    """Returns each output's (largest error, mean error, over how many values); infinite where names or shapes differ.

    Boxes are a ranked list out of many candidates; of two with scores that are nearly tied, rounding decides which
    comes first, and which one suppresses the other. So boxes are paired, not compared by position: a pair is of one
    class, and alike in corners and score. The error is that of the pairs; it is infinite where more boxes have no
    partner than are tied with another one, and 5 % on top.
    """
    found = dict.fromkeys(set(wanted) ^ set(given), (_FAR, _FAR, 0))
    wanted, given = dict(wanted), dict(given)
    for task in {name.rpartition("/")[0] for name in wanted}:
        keys = [f"{task}/{column}" for column in _COLUMNS]
        if all(key in wanted and key in given and wanted[key].shape == given[key].shape for key in keys):
            pairs = _pair([wanted[key] for key in keys], [given[key] for key in keys])
            for key, (ours, theirs) in zip(keys, pairs, strict=True):
                wanted[key], given[key] = ours, theirs
    return {name: _relative(wanted[name], given[name]) for name in wanted if name in given} | found


def table(parities: Sequence[Parity], sizes: Mapping[str, int]) -> str:
    """Returns lines of text: each file's largest errors, the output that has the largest one, the bound and the bytes.

    Args:
      parities: of the files.
      sizes: bytes of each file of the export, by name; a SavedModel is several of them.
    """
    rows = [("file", "largest relative error", "output", "mean", "bound", "bytes")]
    for file in dict.fromkeys(parity.file for parity in parities):
        own = [parity for parity in parities if parity.file == file]
        worst = max(own, key=lambda parity: parity.largest)
        size = sum(size for name, size in sizes.items() if name == file or name.startswith(f"{file}/"))
        errors = (f"{worst.largest:.1e}", worst.output, f"{max(p.mean for p in own):.1e}")
        rows.append((file, *errors, f"{worst.of} {worst.bound:g}", f"{size:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _relative(wanted: np.ndarray, given: np.ndarray) -> tuple[float, float, int]:
    if wanted.shape != given.shape or not np.isfinite(given).all():
        return _FAR, _FAR, wanted.size
    tiny = np.finfo(np.float32).tiny
    distance, size = np.abs(wanted.astype(np.float64) - given), np.abs(wanted.astype(np.float64))
    largest = distance.max(initial=0.0) / max(size.max(initial=0.0), tiny)
    return float(largest), float(distance.sum() / max(size.sum(), tiny)), wanted.size


def _pair(wanted: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs the rows of (boxes, classes, scores); returns each column's rows that have a partner, on both sides.

    Where too many rows have none, what comes back differs in shape.
    """
    left, right, rows, tied = [], [], 0, 0
    for image in range(len(wanted[1])):
        columns = [[column[image][side[1][image] >= 0] for column in side] for side in (wanted, given)]
        ours, theirs = (np.column_stack(side) for side in columns)  # ymin, xmin, ymax, xmax, class, score
        free = np.ones(len(theirs), bool)
        rows += max(len(ours), len(theirs))
        tied += _count_tied(ours[:, 5])
        for row in ours:
            distance = np.abs(theirs - row).max(-1, initial=0.0)
            distance[~free] = np.inf
            if len(distance) and distance.min() <= _SAME_BOX:
                best = int(distance.argmin())
                free[best] = False
                left.append(row)
                right.append(theirs[best])
    if rows - len(left) > tied + _MAX_UNPAIRED * rows:
        return [(np.zeros(rows), np.zeros(len(left))) for _ in wanted]
    ours, theirs = np.reshape(left, [-1, 6]), np.reshape(right, [-1, 6])
    return [(ours[:, i], theirs[:, i]) for i in (slice(4), 4, 5)]


def _count_tied(scores: np.ndarray) -> int:
    near = np.diff(np.sort(scores), prepend=-np.inf, append=np.inf) <= _TIED
    return int(np.count_nonzero(near[1:] | near[:-1]))
