"""A hierarchical bootstrap of differences: over pre-trainings, their fine-tunings, and test images.

It describes the spread at the levels that are there, and gives no verdict: of three to five pre-trainings its intervals
are too narrow.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from must_tf.evaluation.row import Row
from must_tf.evaluation.table import MEAN, Interval, TransferTable
from must_tf.tasks.per_image import PerImage

RESAMPLES = 1000
PRETRAINING, FINE_TUNING, IMAGES = "pre-training", "fine-tuning", "test images"
Images = Mapping[tuple[str, str, int], PerImage]  # by task, initialization, and position among the seeds
Resampled = Mapping[tuple[str, int], np.ndarray]  # scores on resampled images, by initialization and position


def with_intervals(table: TransferTable, images: Images) -> TransferTable:
    """Returns the table with the interval of each difference to the reference, at the levels that there are.

    Pre-trainings are drawn in pairs, and of each its fine-tunings. The test images of a task are drawn once for all
    that were scored on them. The same table has the same intervals.

    Args:
      table: the table.
      images: statistics of single images, where they were kept.
    """
    resampled = {task.name: _resampled(task, images) for task in table.tasks}
    found: dict[str, dict[str, Interval]] = {}
    for row in table.rows:
        parts = [resampled[task.name] for task in (table.averaged if row.name == MEAN else [row])]
        intervals = {init: _interval(row, init, table.reference, parts) for init in table.others}
        found[row.name] = {init: interval for init, interval in intervals.items() if interval}
    return dataclasses.replace(table, intervals={name: own for name, own in found.items() if own})


def _resampled(task: Row, images: Images) -> Resampled:
    """Returns the scores of a task on resampled test images; none where not all have as many images."""
    own = {(init, position): value for (name, init, position), value in images.items() if name == task.name}
    counts = {value.num_images for value in own.values()}
    if len(counts) != 1 or counts == {0}:
        return {}
    (count,) = counts
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return {key: value.scores(weights) for key, value in own.items()}


def _interval(row: Row, init: str, reference: str, parts: Sequence[Resampled]) -> Interval | None:
    """Returns the interval of a difference; None where no level has more than one to draw from."""
    groups = row.positions(init, reference)
    needed = [(name, position) for group in groups for position in group for name in (init, reference)]
    with_images = bool(needed) and all(key in part for part in parts for key in needed)
    several = {PRETRAINING: len(groups) > 1, FINE_TUNING: any(len(group) > 1 for group in groups), IMAGES: with_images}
    if not any(several.values()):
        return None
    draws, scores = _draws(groups), np.array([row.of(init), row.of(reference)], float)
    total = np.zeros(RESAMPLES)
    for position in (position for group in groups for position in group):
        if with_images:
            difference = np.mean([part[init, position] - part[reference, position] for part in parts], 0)
        else:
            difference = scores[0, position] - scores[1, position]
        total += draws[:, position] * difference
    low, high = np.nanquantile(total, (0.025, 0.975))
    return Interval(round(float(low), 6), round(float(high), 6), tuple(level for level in several if several[level]))


def _draws(groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns the weight of each position in each resample: groups are drawn, and then positions of each."""
    rng = np.random.default_rng(0)
    weights = np.zeros((RESAMPLES, 1 + max(position for group in groups for position in group)))
    for resample in weights:
        for drawn in rng.integers(len(groups), size=len(groups)):
            group = groups[drawn]
            np.add.at(resample, rng.choice(group, len(group)), 1 / len(group) / len(groups))
    return weights
