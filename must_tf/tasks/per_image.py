"""Sufficient statistics of single images, from which a score can be computed again on resampled images.

mIoU and AP are no means over images, so their spread over test images needs what each image adds: counts, or matches.
"""

import abc
import dataclasses
import io
import os
import zipfile
import zlib
from typing import Any, ClassVar

import numpy as np

from must_tf.errors import UserError
from must_tf.storage import write_bytes

_RECALLS = np.linspace(0, 1, 101)  # as pycocotools
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class PerImage(abc.ABC):
    """What each image adds to a score.

    Attributes:
      form: name of the class in a file.
      num_images: how many images there are.
    """

    form: ClassVar[str]
    num_images: int

    @abc.abstractmethod
    def scores(self, weights: np.ndarray) -> np.ndarray:
        """Returns the score of resampled images.

        Args:
          weights: how often each image occurs, [resamples, num_images].

        Returns:
          [resamples], NaN where nothing is left to score.
        """


@dataclasses.dataclass(frozen=True)
class Ratios(PerImage):
    """A mean over groups of ratios of sums over images.

    A group is a class for mIoU. Shares of pixels, of images, and means over images have one group. A group whose
    denominators sum to 0 does not count.

    Attributes:
      image: index of the image, [n], from 0 to num_images − 1.
      group: index of the group, [n].
      numerator: what the image adds to the numerator of the group, [n].
      denominator: what it adds to the denominator, [n].
    """

    form = "ratios"
    image: np.ndarray
    group: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray

    @classmethod
    def of_images(cls, numerators: Any, denominators: Any) -> "Ratios":
        """Returns the statistic of one group, [num_images] each."""
        numerator, denominator = np.asarray(numerators), np.asarray(denominators)
        image = np.arange(len(numerator))
        return cls(len(image), image, np.zeros_like(image), numerator, denominator)

    def scores(self, weights: np.ndarray) -> np.ndarray:
        above, below = (weights @ self._dense(values) for values in (self.numerator, self.denominator))
        ratios = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        counted = (below > 0).sum(1)
        return np.divide(np.nansum(ratios, 1), counted, out=np.full(len(weights), np.nan), where=counted > 0)

    def _dense(self, values: np.ndarray) -> np.ndarray:
        dense = np.zeros((self.num_images, int(self.group.max(initial=0)) + 1))
        np.add.at(dense, (self.image, self.group), values)
        return dense


@dataclasses.dataclass(frozen=True)
class Ranking(PerImage):
    """A mean over groups of average precision, at the 101 recalls of COCO.

    A group is a class, or a class at one IoU. A group without positives does not count. Predictions that count as
    neither right nor wrong are left out.

    Attributes:
      image: index of the image of each prediction, [n].
      group: its group, [n], ascending. In a group, predictions are in the order of their scores, the highest first.
      right: whether it is right, [n].
      positive_image: indices of images with positives, [m].
      positive_group: their groups, [m].
      positives: how many the image has, [m].
    """

    form = "ranking"
    image: np.ndarray
    group: np.ndarray
    right: np.ndarray
    positive_image: np.ndarray
    positive_group: np.ndarray
    positives: np.ndarray

    def scores(self, weights: np.ndarray) -> np.ndarray:
        groups = [self._group(group, weights) for group in np.unique(self.positive_group)]
        found = np.array(groups).reshape(-1, len(weights))
        counted = np.isfinite(found).sum(0)
        return np.divide(np.nansum(found, 0), counted, out=np.full(len(weights), np.nan), where=counted > 0)

    def _group(self, group: int, weights: np.ndarray) -> list[float]:
        own, rows = self.positive_group == group, slice(*np.searchsorted(self.group, (group, group + 1)))
        totals = weights[:, self.positive_image[own]] @ self.positives[own].astype(float)
        image, right = self.image[rows], self.right[rows].astype(bool)
        return [_average_precision(own[image], right, total) for own, total in zip(weights, totals, strict=True)]


def _average_precision(weights: np.ndarray, right: np.ndarray, total: float) -> float:
    """Returns the average precision of predictions in order; each occurs as often as its weight."""
    if not total:
        return float("nan")
    hits, found = np.cumsum(weights * right), np.cumsum(weights)
    precision = np.append(np.maximum.accumulate((hits / np.maximum(found, 1))[::-1])[::-1], 0.0)
    return float(precision[np.searchsorted(hits / total, _RECALLS)].mean())


@dataclasses.dataclass(frozen=True)
class Areas(PerImage):
    """A mean over classes of the area under precision over recall. A class that no image has does not count.

    Attributes:
      truth: whether an image has a class, [num_images, classes].
      predicted: scores, [num_images, classes], of any range.
    """

    form = "areas"
    truth: np.ndarray
    predicted: np.ndarray

    def scores(self, weights: np.ndarray) -> np.ndarray:
        columns = list(zip(self.truth.T.astype(bool), self.predicted.T, strict=True))
        found = np.array([[average_precision(*column, own) for column in columns] for own in weights])
        counted = np.isfinite(found).sum(1)
        return np.divide(np.nansum(found, 1), counted, out=np.full(len(weights), np.nan), where=counted > 0)


def average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the area under the steps of precision over recall; NaN if nothing is true. Equal scores are one step.

    This is `average_precision_score` of scikit-learn: Σ (recall_n - recall_{n-1}) · precision_n, without interpolation.

    Args:
      truth: bool [N].
      scores: [N], of any range.
      weights: how often each occurs, [N]; once by default.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # a threshold keeps all of equal scores or none
    hits, found = (np.cumsum(values[order])[last] for values in (weights * truth, weights))
    if not hits.size or not hits[-1]:
        return float("nan")
    return float((np.diff(hits, prepend=0) * hits / np.maximum(found, 1)).sum() / hits[-1])


_FORMS: dict[str, type[PerImage]] = {form.form: form for form in (Ratios, Ranking, Areas)}


def write_per_image(path: str | os.PathLike, statistic: PerImage) -> None:
    """Writes a statistic as a compressed .npz file, whole numbers in as few bytes as they need."""
    fields = [field.name for field in dataclasses.fields(statistic)]
    arrays: dict[str, Any] = {name: _small(np.asarray(getattr(statistic, name))) for name in fields}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays, form=np.array(statistic.form))
    write_bytes(path, file.getvalue())


def read_per_image(path: str | os.PathLike) -> PerImage:
    """Reads a statistic; a file that holds none is a `UserError`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        statistic = _FORMS[str(arrays.pop("form"))](int(arrays.pop("num_images")), **arrays)
        statistic.scores(np.ones((1, statistic.num_images)))
    except _DAMAGED as error:
        message = f"{path}: holds no statistic of images ({error}); delete it, and its cell beside it"
        raise UserError(message) from None
    return statistic


def _small(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values.astype(np.min_scalar_type(values.max(initial=0)))
    return values
