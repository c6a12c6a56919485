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
      cosine: between the gradients that the task and the target give the trunk: its mean over batches of the task.
      error: its standard error, over batches of the task and over groups of the target's images.
      low: lower end of the 95 % interval of the cosine.
      high: its upper end.
      energy: share of the gradient's squared length in the directions of the target's gradients, a mean over batches;
        NaN where the target's loss is no sum over images.
      norm: length of the gradient before the task's weight, a mean over batches.
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


def helps(alignments: Mapping[str, Alignment], before: Mapping[str, float]) -> dict[str, Help]:
    """Returns what each task's gradient does for the target, and its new weight.

    The share of a task in the trunk's gradient becomes proportional to the lower end of the 95 % interval of its
    cosine, where that is above 0; else it is 0. So weight = share · (sum of old weight · norm) / norm: the tasks'
    gradients together are as long as they were, and the learning rate still fits. Where the lengths of a task's
    gradients hardly vary and tasks do not overlap, cosine / norm is the weight by which the sum of the tasks' gradients
    comes closest to the target's (least squares). The lower end takes off what may be noise.

    Args:
      alignments: by task.
      before: the tasks' weights until now.

    Raises:
      UserError: too few batches have labels of a task; or all tasks had a weight of 0.
    """
    measured = {name: _measured(name, alignment) for name, alignment in alignments.items()}
    lengths = {name: before[name] * norm for name, (*_, norm) in measured.items()}
    whole, certain = sum(lengths.values()), {name: max(low, 0.0) for name, (_, _, low, *_) in measured.items()}
    if not whole > 0:
        raise UserError("--workdir: all tasks of its config have a weight of 0; give a run that learned something")
    total, found = sum(certain.values()), {}
    for name, (cosine, error, low, high, energy, norm) in measured.items():
        share = certain[name] / total if total else 0.0
        weight = float(f"{share * whole / norm:.4g}")
        shares = lengths[name] / whole, share
        found[name] = Help(cosine, error, low, high, energy, norm, before[name], shares[0], shares[1], weight)
    return found


def _measured(name: str, alignment: Alignment) -> tuple[float, float, float, float, float, float]:
    """Returns cosine, its error and interval, energy and norm of a task."""
    cosines, norms = (Mean.of(values) for values in (alignment.cosines, alignment.norms))
    if cosines.count < 2:
        raise UserError(
            f"--records: {cosines.count} of {len(alignment.cosines)} batches give the trunk a gradient of task "
            f"{name!r}, expected 2 or more; give more --batches, or records with more labels of it"
        )
    groups = Mean.of(alignment.parts)
    error = math.hypot(cosines.error, groups.error)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, min(cosines.count, groups.count) - 1)) * error
    known = alignment.energies[np.isfinite(alignment.energies)]
    energy = float(known.mean()) if len(known) else math.nan
    return cosines.value, error, cosines.value - reach, cosines.value + reach, energy, norms.value
