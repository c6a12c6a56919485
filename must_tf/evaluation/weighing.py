"""Weights of tasks out of how much the gradient of each helps a target: the statistics of `must weigh`."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from scipy import stats

from must_tf.errors import UserError
from must_tf.evaluation.statistics import Mean
from must_tf.training.alignment import Alignment

LEVEL = 0.95  # of the intervals


@dataclasses.dataclass(frozen=True)
class Help:
    """How much the gradient of one task helps the target, and the weight that follows.

    Attributes:
      cosine: inner product of the task's and the target's mean gradients of the trunk, over the length of the target's
        and the length of one batch's gradient of the task (`norm`). Above 0, a small step for the task lowers the
        target's loss. It is small where most of a batch's gradient differs from batch to batch.
      error: its standard error, over batches of the task and over parts of the target's images.
      low: lower end of the 95 % interval of the cosine.
      high: its upper end.
      energy: share of the squared length of one batch's gradient that lies in what the gradients of the target's images
        span, of either sign, as a basis of ATTITTUD captures it; the mean over batches. It takes no part in the weight.
      norm: length of one batch's gradient before the task's weight, the root of its mean square over batches.
      weight_before: the weight that the task had.
      share_before: share of the trunk's gradient that the task had: of the sum of the tasks' lengths.
      share: that of the new weight.
      weight: the new weight; 0 where the interval does not lie above 0.
    """

    cosine: float
    error: float
    low: float
    high: float
    energy: float
    norm: float
    weight_before: float
    share_before: float
    share: float
    weight: float


def check_learned(losses: np.ndarray, name: str) -> None:
    """Raises a `UserError` unless heads of the target predict an image's own label better than another image's.

    A gradient through a head that has learned nothing says nothing of the target. Loss alone does not tell: the start
    is random, and a head that knows its own images by heart may lose on others.

    Args:
      losses: of groups of images that the head has not seen, with the labels of other images and with their own,
        [groups, 2].
      name: of the target's task.
    """
    gain = Mean.of(losses[:, 0] - losses[:, 1])
    if not gain.value - _reach(gain) > 0:
        others, own = losses.mean(0)
        raise UserError(
            f"--target: heads of {name!r} on this student have learned nothing that holds for other images; their loss "
            f"is {own:.3g} there, and {others:.3g} with labels of other images; give more labeled images or "
            "--head_steps, or look at the labels (`must inspect`)"
        )


def helps(alignments: Mapping[str, Alignment], before: Mapping[str, float]) -> dict[str, Help]:
    """Returns what each task's gradient does for the target, and its new weight.

    The share of a task in the trunk's gradient becomes proportional to the lower end of the 95 % interval of its
    cosine, where that is above 0; else it is 0. So weight = share · (sum of old weight · norm) / norm: the tasks'
    gradients together are as long as they were, and the learning rate still fits. Where the gradients of tasks are
    orthogonal, cosine / norm is the weight by which the sum of the tasks' gradients of a batch comes closest to the
    target's mean gradient (least squares). The lower end takes off what may be noise.

    Args:
      alignments: by task.
      before: the tasks' weights until now.

    Raises:
      UserError: too few batches have labels of a task; or all tasks had a weight of 0.
    """
    measured = {name: _measured(name, alignment) for name, alignment in alignments.items()}
    energies = {name: float(np.nanmean(alignment.energies)) for name, alignment in alignments.items()}
    lengths = {name: before[name] * norm for name, (_, norm) in measured.items()}
    whole = sum(lengths.values())
    if not whole > 0:
        raise UserError("--workdir: all tasks of its config have a weight of 0; give a run that learned something")
    certain = {name: max(cosine.value - _reach(cosine), 0.0) for name, (cosine, _) in measured.items()}
    total, found = sum(certain.values()), {}
    for name, (cosine, norm) in measured.items():
        interval = cosine.value - _reach(cosine), cosine.value + _reach(cosine)
        share = certain[name] / total if total else 0.0
        weight = float(f"{share * whole / norm:.4g}")
        shares = lengths[name] / whole, share
        found[name] = Help(cosine.value, cosine.error, *interval, energies[name], norm, before[name], *shares, weight)
    return found


def crossed(values: np.ndarray) -> Mean:
    """Returns the mean of values of which each belongs to one draw of two samples, and its standard error.

    The error has three parts: rows differ, columns differ, and what remains differs. They are estimated as in an
    analysis of variance with two random factors (a part below 0 counts as 0). To add the error over rows to the error
    over columns would count the third part twice: where most is noise, that is an interval 1.4 times too wide.

    Args:
      values: [rows, columns], 2 or more of each.
    """
    rows, columns = values.shape
    mean, by_row, by_column = values.mean(), values.mean(1), values.mean(0)
    rest = values - by_row[:, np.newaxis] - by_column + mean
    remains = np.square(rest).sum() / ((rows - 1) * (columns - 1))
    differ = max(columns * by_row.var(ddof=1), remains) + max(rows * by_column.var(ddof=1), remains)
    return Mean(float(mean), math.sqrt((differ - remains) / values.size), min(rows, columns))


def _measured(name: str, alignment: Alignment) -> tuple[Mean, float]:
    """Returns the cosine and the norm of a task."""
    known = np.isfinite(alignment.norms)
    if known.sum() < 2:
        raise UserError(
            f"--records: {known.sum()} of {len(known)} batches give the trunk a gradient of task {name!r}, expected 2 "
            "or more; give more --batches, or records with more labels of it"
        )
    norm = float(np.sqrt(np.square(alignment.norms[known]).mean()))
    return crossed(alignment.products[known]).times(1 / norm), norm


def _reach(mean: Mean) -> float:
    """Returns half of the width of a mean's interval."""
    return float(stats.t.ppf((1 + LEVEL) / 2, mean.count - 1)) * mean.error
