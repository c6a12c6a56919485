"""Principal components of a model's features, fitted on a sample of images and kept in a file with a SHA-256."""

import dataclasses
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from must_tf.buckets import URL
from must_tf.copies import fetched
from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.tasks.features.grid import is_known
from must_tf.tasks.fitting import Fitting

_MOST_BYTES = 2**28  # of a file
_EVERY, _MOST_APART = 8, 2**24  # images of which one is kept apart; values of all that are
_LEAST_DEVIATION = 1e-3  # of the largest one: channels that hardly vary are not blown up
_LEAST_VARIANCE = 1e-9  # of the largest one
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """Standardizes the vectors of a model, and keeps their coordinates along the first principal components.

    A channel is standardized by its mean and deviation over a sample, as Theia does (Shang et al., CoRL 2024). The
    components are orthonormal in the standardized channels, so that the cosine of two vectors of coordinates is that of
    the standardized vectors, as far as the components span them. One scale makes the mean square of the coordinates 1.

    Attributes:
      sha256: of the file.
      model: SHA-256 of the model whose features were fitted.
      asked: how many components were asked for; there are fewer where the features have fewer.
      summary: length of the model's global vector.
      mean: of each channel, float32 [C].
      deviation: of each channel, float32 [C].
      components: float32 [k, C], the first explains most; the largest entry of each is positive.
      scale: the coordinates are divided by it.
      figures: `images` that were fitted, and the share of their `variance` that is kept; of others the `bytes` per
        image, the mean `cosine` of features and what a record gives back, and `cosine_standardized` of both.
    """

    sha256: str
    model: str
    asked: int
    summary: int
    mean: np.ndarray
    deviation: np.ndarray
    components: np.ndarray
    scale: float
    figures: Mapping[str, float]

    @property
    def channels(self) -> int:
        """The number of components, k."""
        return len(self.components)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the coordinates of features, [..., C] → float32 [..., k]."""
        return self.standardize(vectors) @ self.components.T / np.float32(self.scale)

    def standardize(self, vectors: np.ndarray) -> np.ndarray:
        """Returns features with mean 0 and deviation 1 in each channel over the sample, float32 [..., C]."""
        return ((vectors - self.mean) / self.deviation).astype(np.float32)

    def restore(self, coordinates: np.ndarray) -> np.ndarray:
        """Returns the features of which only what the components span is left, [..., k] → float32 [..., C]."""
        return self.mean + self.deviation * (coordinates * np.float32(self.scale) @ self.components)

    def to_json(self) -> dict[str, Any]:
        """Returns what the manifest says of it: its SHA-256 and the figures."""
        return {"sha256": self.sha256, "components": self.channels, **self.figures}

    @classmethod
    def from_json(cls, value: Any, where: str | os.PathLike) -> "Projection":
        """Reads the file that a field of a card names, in its folder, in the current one, or by a URL.

        A bad one is a `UserError`.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise UserError(f"{where}: projection: {short(value)} received; expected the name of a file")
        beside = fetched(value) if URL.match(value) else Path(where).parent / value
        path = beside if beside.is_file() else Path(value)  # as a flag gives it, whose paths are of the current folder
        if not path.is_file():
            raise UserError(
                f"{where}: projection: {beside}: no such file, and no {value} in the current folder; leave the field "
                "out, and must label makes one"
            )
        try:
            return cls.from_bytes(path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b"")
        except _DAMAGED as error:
            raise UserError(f"{path}: holds no principal components ({str(error)[:100]}); delete it") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> "Projection":
        """The inverse of `to_bytes`; raises various errors where the bytes are others."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            values = dict(file)
        arrays = {name: values.pop(name).astype(np.float32) for name in ("mean", "deviation", "components")}
        mean, deviation, components = arrays.values()
        if components.ndim != 2 or not len(components) or not mean.shape == deviation.shape == components.shape[1:]:
            raise ValueError(f"shapes {[array.shape for array in arrays.values()]}")
        named = {"model": str, "asked": int, "summary": int, "scale": float}
        known: dict[str, Any] = {name: kind(values.pop(name).item()) for name, kind in named.items()}
        figures = {name: float(value.item()) for name, value in values.items()}
        if not (all(np.isfinite(array).all() for array in arrays.values()) and (deviation > 0).all()):
            raise ValueError("values that are not finite, or deviations of 0")
        if not (0 < known["scale"] < np.inf and known["summary"] > 0):
            raise ValueError(f"scale {known['scale']}, a global vector of {known['summary']}")
        return cls(hashlib.sha256(data).hexdigest(), **known, **arrays, figures=figures)

    def to_bytes(self) -> bytes:
        """Returns the file's contents; the same projection gives the same bytes."""
        file = io.BytesIO()
        names = ("model", "asked", "summary", "scale", "mean", "deviation", "components")
        values: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in names}
        np.savez(file, **(values | {name: np.array(value) for name, value in self.figures.items()}))
        return file.getvalue()


class PrincipalComponents(Fitting):
    """Fits a `Projection` on the features of a sample of images. Every eighth image is kept apart, to measure it.

    Args:
      channels: how many components are wanted.
      stored: returns what a record gives back of the coordinates of one image, [h, w, k], and of its global vector, and
        how many bytes they take.
    """

    field = "projection"

    def __init__(self, channels: int, stored: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, int]]):
        self._channels, self._stored = channels, stored
        self._images, self._count = 0, 0
        self._sum: Any = 0.0
        self._products: Any = 0.0
        self._first: tuple[np.ndarray, np.ndarray] | None = None
        self._apart: list[tuple[np.ndarray, np.ndarray]] = []
        self._values = 0
        self._fitted: Projection | None = None

    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Adds the features of one image: `grid` [h, w, C] and `summary` [s]; NaN is where nothing was seen.

        Raises:
          ValueError: they have other lengths than those of the images before.
        """
        grid = outputs["grid"]
        self._first = self._first or (grid, outputs["summary"])
        given, before = ([one.shape[-1] for one in pair] for pair in ((grid, outputs["summary"]), self._first))
        if given != before:
            raise ValueError(f"vectors of {given} numbers (grid, summary) for one image, and of {before} for another")
        self._images += 1
        if self._images % _EVERY == 0 and self._values + grid.size <= _MOST_APART:
            self._values += grid.size
            self._apart.append((grid, outputs["summary"]))
            return
        vectors = grid[is_known(grid)].astype(np.float64)
        self._count += len(vectors)
        self._sum = self._sum + vectors.sum(0)
        self._products = self._products + vectors.T @ vectors

    def result(self, model: str) -> bytes:
        """Returns the file's contents."""
        if self._count < 2 or self._first is None:
            raise ValueError(f"{self._count} vectors of features; expected many")
        mean = self._sum / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
        if not deviation.max() > 1e-6 * np.abs(mean).max(initial=1e-6):
            raise ValueError("the features of all places are equal")
        deviation = np.maximum(deviation, _LEAST_DEVIATION * deviation.max())
        standard = covariance / np.outer(deviation, deviation)
        components, kept = _principal(standard, min(self._channels, self._count - 1))
        mean, deviation, components = (values.astype(np.float32) for values in (mean, deviation, components))
        scale = float(np.sqrt(kept / len(components)))
        figures = {"images": float(self._images - len(self._apart)), "variance": float(kept / np.trace(standard))}
        sizes = self._channels, len(self._first[1])
        fitted = Projection("", model, *sizes, mean, deviation, components, scale, figures)
        self._fitted = dataclasses.replace(fitted, figures=figures | self._round_trip(fitted))
        return self._fitted.to_bytes()

    def _round_trip(self, fitted: Projection) -> dict[str, float]:
        """Returns what the images that were kept apart lose in a record, and what they take; the first if none was."""
        cosines, standardized, sizes = [], [], []
        for grid, summary in self._apart or [self._first]:  # type: ignore[list-item]
            stored, size = self._stored(fitted.project(grid), summary)
            seen, back = is_known(grid), fitted.restore(stored)
            cosines.append(cosine(grid[seen], back[seen]))
            standardized.append(cosine(fitted.standardize(grid[seen]), fitted.standardize(back[seen])))
            sizes.append(size)
        return {
            "cosine": float(np.concatenate(cosines).mean()),
            "cosine_standardized": float(np.concatenate(standardized).mean()),
            "bytes": float(np.mean(sizes)),
        }

    def words(self) -> str:
        """Returns the figures in one line."""
        assert self._fitted  # after `result`
        figures, (kept, channels) = self._fitted.figures, self._fitted.components.shape
        others = f"on {len(self._apart)} others" if self._apart else "on the first of them"
        return (
            f"{kept} principal components of {channels} channels, fitted on {figures['images']:.0f} images, keep "
            f"{figures['variance']:.1%} of their variance; {others} {figures['bytes'] / 1000:.1f} kB per image, and "
            f"after the round trip a cosine of {figures['cosine']:.3f} to the full features "
            f"({figures['cosine_standardized']:.3f} if standardized)"
        )


def _principal(covariance: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """Returns the first principal components, at most so many, [k, C], and the variance that they explain."""
    variances, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-variances, kind="stable")[:most]
    order = order[variances[order] > _LEAST_VARIANCE * variances.max()]
    components = vectors[:, order].T
    largest = np.abs(components).argmax(1)[:, np.newaxis]
    return components * np.sign(np.take_along_axis(components, largest, 1)), float(variances[order].sum())


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the cosine of vectors [..., C] in float64, 0 where a vector is 0."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.divide((one * other).sum(-1), lengths, out=np.zeros(lengths.shape), where=lengths > 0)
