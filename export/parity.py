"""How far an exported file is from the student that it was made of."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError

BOUND = 1e-4
_COLUMNS = ("boxes", "classes", "scores")  # of a list of boxes; class -1 is padding
_SAME_BOX = 1e-3  # rows of one class nearer than this, in corners and score, are the same box
_TIED = 1e-5  # scores nearer than this may change places
_MAX_UNPAIRED = 0.05  # share of the boxes, beside the tied ones

Runner = Callable[[np.ndarray], dict[str, np.ndarray]]
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Parity:
    """One output of one file on one batch of images, against the student.

    Attributes:
      file: path in the export.
      output: the output's name.
      size: height and width of the images.
      batch: how many images.
      error: largest |file - student|, divided by the largest |student| of the output.
      compared: how many values the error is over; 0 where the student found no box.
    """

    file: str
    output: str
    size: tuple[int, int]
    batch: int
    error: float
    compared: int


def measure(
    file: str, student: Runner, exported: Runner, sizes: Sequence[tuple[int, int]], batches: Sequence[int]
) -> list[Parity]:
    """Compares a loaded file with the student on images of each size, in batches of each length.

    Raises:
      UserError: an output is further off than `BOUND`.
    """
    measured = []
    for size in sizes:
        for batch in batches:
            images = probe_images(batch, size)
            with _full_precision():
                wanted, given = student(images), exported(images)
            found = [Parity(file, name, size, batch, *entry) for name, entry in compare(wanted, given).items()]
            for parity in found:
                if not parity.error <= BOUND:
                    raise UserError(
                        f"{file}: output {parity.output} is {parity.error:.2g} from the student's at "
                        f"{size[0]}x{size[1]}, batch {batch}; bound {BOUND:g}; the file was not kept"
                    )
            measured += found
    return measured


def compare(wanted: Arrays, given: Arrays) -> dict[str, tuple[float, int]]:
    """Returns each output's (relative error, how many values it is over); infinite where names or shapes differ.

    Boxes are a ranked list out of many candidates; of two with scores that are nearly tied, rounding decides which
    comes first, and which one suppresses the other. So boxes are paired, not compared by position: a pair is of one
    class, and alike in corners and score. The error is that of the pairs; it is infinite where more boxes have no
    partner than are tied with another one, and 5 % on top.
    """
    found = {name: (float("inf"), 0) for name in set(wanted) ^ set(given)}
    wanted, given = dict(wanted), dict(given)
    for task in {name.rpartition("/")[0] for name in wanted}:
        keys = [f"{task}/{column}" for column in _COLUMNS]
        if all(key in wanted and key in given and wanted[key].shape == given[key].shape for key in keys):
            pairs = _pair([wanted[key] for key in keys], [given[key] for key in keys])
            for key, (ours, theirs) in zip(keys, pairs, strict=True):
                wanted[key], given[key] = ours, theirs
    return {name: _relative(wanted[name], given[name]) for name in wanted if name in given} | found


def probe_images(batch: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Makes images: smooth colours with a few rectangles, float32 [batch, height, width, 3] in [0, 255]."""
    rng = np.random.default_rng([seed, batch, *size])
    smooth = tf.image.resize(rng.uniform(0, 255, [batch, 5, 5, 3]), size, method="bicubic").numpy()
    for image in smooth:
        for _ in range(4):
            (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in size)
            image[top:bottom, left:right] = rng.uniform(0, 255, 3)
    return np.clip(smooth, 0, 255).astype(np.float32)


def table(parities: Sequence[Parity]) -> str:
    """Returns lines of text: the largest error of each file, and the output that has it."""
    worst: dict[str, Parity] = {}
    for parity in parities:
        if parity.file not in worst or parity.error > worst[parity.file].error:
            worst[parity.file] = parity
    rows = [("file", "largest relative error", "output")]
    rows += [(file, f"{parity.error:.1e}", parity.output) for file, parity in worst.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _relative(wanted: np.ndarray, given: np.ndarray) -> tuple[float, int]:
    if wanted.shape != given.shape or not np.isfinite(given).all():
        return float("inf"), wanted.size
    distance = np.abs(wanted.astype(np.float64) - given)
    scale = max(np.abs(wanted).max(initial=0.0), np.finfo(np.float32).tiny)
    return float(distance.max(initial=0.0) / scale), wanted.size


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


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Turns off TensorFloat-32, whose error on a GPU is a thousand times float32's."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
