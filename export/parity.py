"""Measures how far the outputs of an exported file are from those of its student."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.tasks import Ranking

LARGEST, MEAN = "largest", "mean"
# Rows whose values are nearer than this are pairs; relative where the largest value is above 1.
_SAME_ROW = {LARGEST: 1e-3, MEAN: 0.1}
_TIED = 1e-5  # rows whose scores are nearer than this may change places
_MAX_UNPAIRED = 0.05  # share of the rows, beside the tied ones
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
      compared: how many values the errors are over; 0 where a ranked list has no rows.
      bound: of the file.
      of: which error is bounded.
    """

    file: str
    output: str
    size: Size
    batch: int
    largest: float
    mean: float
    compared: int
    bound: float
    of: str


def measure(
    file: str, batch: int, size: Size, wanted: Arrays, given: Arrays, bound: Bound, rankings: Sequence[Ranking] = ()
) -> list[Parity]:
    """Compares the outputs of a file for a batch of images with those of the student.

    Args:
      file: path in the export.
      batch: how many images.
      size: height and width of the images.
      wanted: outputs of the student.
      given: outputs of the file.
      bound: how far they may be apart.
      rankings: see `compare`.

    Raises:
      UserError: an output is further off than the bound, or an output of the student is not finite.
    """
    for name, values in wanted.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"{file}: the student itself gives {name} that is not finite at {size[0]}x{size[1]}, batch {batch}; "
                "nothing can be compared with it; train it further, or with a lower rate"
            )
    errors = compare(wanted, given, rankings, bound.of)
    found = [Parity(file, name, size, batch, *errors[name], bound.value, bound.of) for name in errors]
    for parity in found:
        error = getattr(parity, bound.of)
        if not error <= bound.value:
            raise UserError(
                f"{file}: output {parity.output} is {error:.2g} from the student's ({bound.of} error) at "
                f"{size[0]}x{size[1]}, batch {batch}; bound {bound.value:g}; the file was not kept"
            )
    return found


def compare(
    wanted: Arrays, given: Arrays, rankings: Sequence[Ranking] = (), of: str = LARGEST
) -> dict[str, tuple[float, float, int]]:
    """Returns each output's (largest error, mean error, over how many values); infinite where names or shapes differ.

    Ranked lists are compared by pairs of rows. Of two rows whose scores are nearly tied, rounding decides which comes
    first, and which of two boxes suppresses the other. So a row of the student is paired with the row of the file that
    is nearest in all columns; whole numbers must be equal. The error is that of the pairs. It is infinite where more
    rows have no partner than are tied with another one, and 5 % on top. In a rounded network, of which the mean error
    is bounded, rows are partners whatever their scores, and those near the least score come and go: there the error of
    the score grows instead, by what the scores of such rows have above the least one that the other side's list takes.

    Args:
      wanted: outputs of the student by name.
      given: outputs of the file by name.
      rankings: which outputs are ranked lists, by their names here.
      of: which error is bounded, `largest` or `mean`.
    """
    found = dict.fromkeys(set(wanted) ^ set(given), (_FAR, _FAR, 0))
    wanted, given = dict(wanted), dict(given)
    for ranking in rankings:
        names = ranking.columns
        if all(name in wanted and name in given and wanted[name].shape == given[name].shape for name in names):
            for name, (ours, theirs) in _pair(ranking, wanted, given, of).items():
                wanted[name], given[name] = ours, theirs
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


def _pair(ranking: Ranking, wanted: Arrays, given: Arrays, of: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs the rows of a ranked list; returns each column's rows that have a partner, on both sides.

    Where too many rows have none, what is returned differs in shape or, if the mean error is bounded, has the scores of
    these rows beside the least one that the other side's list takes: that of its last row, if it is full.
    """
    columns = [name for name in ranking.columns if of == LARGEST or name != ranking.score]
    weights = _weights([wanted[name] for name in columns])
    left, right, rows, tied = [], [], 0, 0  # of pairs, (image, row) on both sides
    alone, least = list[float](), list[float]()  # scores of rows without a partner; what the other list takes
    for image in range(len(wanted[ranking.valid])):
        ours, theirs = (np.flatnonzero(side[ranking.valid][image] >= 0) for side in (wanted, given))
        sides = (wanted, ours), (given, theirs)
        first, second = (_rows(columns, side, image, kept) * weights for side, kept in sides)
        pairs = _nearest(first, second, _SAME_ROW[of])
        left += [(image, ours[i]) for i, _ in pairs]
        right += [(image, theirs[j]) for _, j in pairs]
        rows += max(len(ours), len(theirs))
        tied += _count_tied(wanted[ranking.score][image][ours])
        scores = [side[ranking.score][image][kept] for side, kept in sides]
        for number, (own, other) in enumerate((scores, scores[::-1])):
            gone = np.delete(own, [pair[number] for pair in pairs])
            room = len(other) < wanted[ranking.score].shape[1]
            alone += gone.tolist()
            least += np.minimum(gone, ranking.least if room else other.min()).tolist()
    too_many = rows - len(left) > tied + _MAX_UNPAIRED * rows
    if too_many and of == LARGEST:
        return {name: (np.zeros(rows), np.zeros(len(left))) for name in ranking.columns}
    at = [tuple(np.reshape(np.array(side, int), [-1, 2]).T) for side in (left, right)]
    found = {name: (wanted[name][at[0]], given[name][at[1]]) for name in ranking.columns}
    if too_many:
        ours, theirs = found[ranking.score]
        found[ranking.score] = np.append(ours, alone), np.append(theirs, least)
    return found


def _weights(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Returns what the values of a row are multiplied by before they are compared, [values of a row]."""
    factors = [
        1.0 if np.issubdtype(column.dtype, np.integer) else 1 / max(1.0, np.abs(column).max(initial=0.0))
        for column in columns
    ]
    return np.repeat(factors, [int(np.prod(column.shape[2:])) for column in columns])


def _rows(columns: Sequence[str], side: Arrays, image: int, kept: np.ndarray) -> np.ndarray:
    """Returns the rows of one image as float64 [rows, values of a row]."""
    values = [side[name][image][kept] for name in columns]
    flat = [column.reshape(len(kept), int(np.prod(column.shape[1:]))) for column in values]
    return np.concatenate(flat, 1, dtype=np.float64)


def _nearest(ours: np.ndarray, theirs: np.ndarray, apart: float) -> list[tuple[int, int]]:
    """Returns pairs (row of ours, row of theirs) that are no further apart, the nearest first, a row once at most."""
    distances = np.array([np.abs(theirs - row).max(-1, initial=0.0) for row in ours]).reshape(len(ours), len(theirs))
    near = np.argwhere(distances <= apart)
    pairs: dict[int, int] = {}
    for i, j in near[np.argsort(distances[tuple(near.T)], kind="stable")].tolist():
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return list(pairs.items())


def _count_tied(scores: np.ndarray) -> int:
    near = np.diff(np.sort(scores), prepend=-np.inf, append=np.inf) <= _TIED
    return int(np.count_nonzero(near[1:] | near[:-1]))
