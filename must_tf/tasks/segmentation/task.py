"""Semantic segmentation task: one class per pixel."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from must_tf import garden
from must_tf.errors import UserError, nearest
from must_tf.geometry import Geometry, Size, move_map, restore_map
from must_tf.parsing import FrozenDict
from must_tf.tasks import drawing
from must_tf.tasks.classes import class_table
from must_tf.tasks.histogram import TENTHS, histogram
from must_tf.tasks.loss import Term, mean_over_pixels
from must_tf.tasks.maps import decode_or, png, tile_targets, wrong_size
from must_tf.tasks.metric import Metric, Score
from must_tf.tasks.outputs import Output
from must_tf.tasks.segmentation.metrics import MeanIoU
from must_tf.tasks.segmentation.reader import SegmentationReader
from must_tf.tasks.task import FUSED, Features, Outputs, Target, Task, optional_bytes
from must_tf.trunk import Trunk

_MUCH_IGNORED = 0.5  # share of ignored pixels that is no mere doubt
_SOME_IGNORED = 0.1  # the same, where a class is missing
_FILLED = 0.999  # share of pixels of one class that fills all images
_FEW = 4  # images that may be alike by chance
_MAX_VALUES = 2**25  # float32 probabilities that are resized at once: 128 MiB


@dataclasses.dataclass(frozen=True)
class Segmentation(Task):
    """Classes of pixels.

    A label is an integer mask [H, W]; pixels with values outside [0, classes) are ignored. It is stored as a PNG: uint8
    with 255 for ignored pixels, or uint16 with 65535 if there are more than 255 classes.

    Attributes:
      class_names: names in the order of the ids; a background counts as a class.
      min_score: least probability, from 0 to 1, at which a teacher's class becomes the pseudo label of a pixel.
      iou_weights: {class: weight of its soft IoU in the loss}, for thin or rare classes; see `loss`.
    """

    class_names: tuple[str, ...] = ()
    min_score: float = 0.5
    iou_weights: Mapping[str, float] = FrozenDict()

    taps: ClassVar[tuple[str, ...]] = (FUSED,)
    scores: ClassVar[tuple[Score, ...]] = (Score("mIoU"),)
    outputs: ClassVar[tuple[Output, ...]] = (
        Output("probs", ("height", "width", "class"), "probability of each class for each pixel"),
    )
    reader: ClassVar[type[SegmentationReader]] = SegmentationReader
    png_maps: ClassVar[tuple[str, ...]] = ("mask/encoded",)
    identity_fields: ClassVar[tuple[str, ...]] = ("class_names",)
    ranges: ClassVar[Mapping[str, str]] = {"min_score": "[0, 1]", "iou_weights": "[0, inf)"}
    thresholds: ClassVar[tuple[str, ...]] = ("min_score",)
    tiles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.iou_weights:
            if name not in self.class_names:
                raise UserError(
                    f"task {self.name!r}: iou_weights: no class {name!r}; {nearest(name, self.class_names)}"
                )

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def ignore(self) -> int:
        """The stored value of ignored pixels."""
        return 255 if self.num_classes <= 255 else 65535

    @property
    def _dtype(self) -> tf.DType:
        return tf.uint8 if self.ignore == 255 else tf.uint16

    def features(self) -> Features:
        """`mask/encoded`: bytes of a PNG."""
        return {f"{self.name}/mask/encoded": optional_bytes()}

    def encode(self, label: np.ndarray) -> dict[str, Any]:
        """Takes an integer mask [H, W]; the round trip is exact. A mask without a valid pixel has no features."""
        label = np.asarray(label)
        if label.ndim != 2 or label.dtype.kind not in "iu":
            raise UserError(
                f"task {self.name!r}: a mask of integers [H, W] expected, {label.dtype} {label.shape} given"
            )
        known = self._known(label)
        if not known.any():
            return {}
        stored = np.where(known, label, self.ignore).astype(self._dtype.as_numpy_dtype)
        return {f"{self.name}/mask/encoded": png(stored)}

    def size_of(self, label: np.ndarray) -> Size:
        """Returns height and width of the map."""
        height, width, *_ = np.shape(label)
        return height, width

    def decode(self, parsed: Mapping[str, tf.Tensor]) -> Target:
        """Returns `mask` int32 [H, W, 1]; all pixels are ignored without a label."""
        size = [parsed["image/height"], parsed["image/width"], 1]
        mask = decode_or(
            parsed[f"{self.name}/mask/encoded"],
            lambda png: tf.cast(tf.io.decode_png(png, channels=1, dtype=self._dtype), tf.int32),
            lambda: tf.fill(size, self.ignore),
        )
        return {"mask": mask}

    def label(self, target: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Returns the mask int32 [H, W]; None if it has no valid pixel."""
        mask = np.asarray(target["mask"])[..., 0]
        return mask if (mask != self.ignore).any() else None

    def transform(self, target: Target, geometry: Geometry) -> Target:
        """Resamples to the nearest pixel; pixels outside the image are ignored."""
        return {"mask": move_map(target["mask"], geometry, self.ignore)}

    def tile(self, targets: Sequence[Target]) -> Target:
        """Joins the maps."""
        return tile_targets(targets)

    def head(self, trunk: Trunk) -> tf_keras.layers.Layer:
        """Fused map [batch, H/4, W/4, C] → logits [batch, H/4, W/4, classes]."""
        return garden.PixelHead(self.num_classes, trunk)

    def has_label(self, target: Target) -> tf.Tensor:
        """Whether any pixel has a class."""
        return tf.reduce_any(target["mask"] != self.ignore, [1, 2, 3])

    def translate(self, label: np.ndarray, to: Task) -> np.ndarray:
        """Gives the pixels the class ids of another task; ignored pixels become -1."""
        table = np.append(class_table(self.class_names, to.identity["class_names"]), -1)
        return table[np.where(self._known(np.asarray(label)), label, self.num_classes)]

    def count_right(self, labels: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> np.ndarray:
        """Counts pixels; one that only the label ignores is missing in it."""
        counts = np.zeros((len(labels), self.num_classes, 3))
        for row, label, truth in zip(counts, map(np.asarray, labels), map(np.asarray, truths), strict=True):
            known = self._known(truth)
            parts = (truth[known & (label == truth)], label[known & self._known(label)], truth[known])
            row[:] = np.stack([np.bincount(part, minlength=self.num_classes) for part in parts], -1)
        return counts

    def loss(self, target: Target, prediction: tf.Tensor) -> dict[str, Term]:
        """Mean cross-entropy over the valid pixels of the batch, at the size of the mask, as in Model Garden.

        Model Garden adds 1e-5 to the number of valid pixels, which changes the loss by at most 1e-5 of itself.

        For each class of `iou_weights` there is 1 - soft IoU of its probability and its mask, over the valid pixels of
        an image, as a mean over the images that have the class. YOLOP (arXiv 2108.11250) adds it for lane lines; in its
        code the IoU is that of the most likely classes, through which no gradient flows.
        """
        mask = target["mask"][..., 0]
        valid = mask != self.ignore
        logits = tf.image.resize(prediction, tf.shape(mask)[1:3])
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(valid, mask, 0), logits)
        terms = mean_over_pixels(entropy, valid)
        for name, weight in self.iou_weights.items():
            number = self.class_names.index(name)
            truth = tf.cast(valid & (mask == number), tf.float32)
            found = tf.where(valid, tf.nn.softmax(logits)[..., number], 0.0)
            both, either = (tf.reduce_sum(one, [1, 2]) for one in (truth * found, truth + found - truth * found))
            there = tf.reduce_any(truth > 0, [1, 2])
            apart = tf.where(there, 1 - tf.math.divide_no_nan(both, either), 0.0)
            terms[f"iou of {name}"] = Term(apart, tf.cast(there, tf.float32), weight)
        return terms

    def decode_predictions(self, prediction: tf.Tensor, view_size: tf.Tensor) -> Outputs:
        """`probs`: float32 [batch, H, W, classes] at the size of the view."""
        return {"probs": tf.nn.softmax(tf.image.resize(prediction, view_size))}

    def to_image_frame(self, outputs: Outputs, geometry: Geometry, band: tf.Tensor | None = None) -> Outputs:
        """Resizes the probabilities to [H, W, classes], or to the rows of `band`, int [first row, rows]."""
        return {"probs": restore_map(outputs["probs"], geometry, band)}

    def bands(self, height: int, width: int) -> Sequence[tuple[tf.Tensor, ...]]:
        """Splits a large image into bands of rows: float32 for each pixel and class may exceed memory."""
        count = max(1, _MAX_VALUES // (width * self.num_classes))
        if count >= height:
            return [()]
        return [(tf.constant([first, min(count, height - first)]),) for first in range(0, height, count)]

    def pseudo_label(self, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the most likely class of each pixel, [H, W]; pixels below `min_score` are ignored."""
        probs = outputs["probs"]
        return np.where(probs.max(-1) >= self.min_score, probs.argmax(-1), self.ignore)

    def implausible(self, labels: Sequence[np.ndarray]) -> str | None:
        """Reports much that is ignored, and one class that fills all images."""
        known = [np.asarray(label)[self._known(np.asarray(label))].ravel() for label in labels]
        total = sum(np.size(label) for label in labels)
        counts = np.bincount(np.concatenate(known).astype(int), minlength=self.num_classes)
        ignored, missing = 1 - counts.sum() / total, [self.class_names[i] for i in np.flatnonzero(counts == 0)]
        if ignored > _MUCH_IGNORED or (ignored > _SOME_IGNORED and missing):
            absent = f", and {missing[0]!r} never occurs" if missing else ""
            return (
                f"{ignored:.0%} of pixels are ignored{absent}; mask_values where a mask has other values than class "
                f"ids, min_score ({self.min_score:g}) or activation where scores are low"
            )
        if missing and counts.max() > _FILLED * total and len(labels) >= _FEW:
            return (
                f"all pixels of {len(labels)} images are {self.class_names[int(counts.argmax())]!r}; activation, "
                "range, output_layout, or the order of class_names?"
            )
        return None

    def metrics(self) -> Metric:
        """`mIoU`: intersection over union, averaged over the classes that occur."""
        return MeanIoU(self.num_classes, self.ignore)

    def draw(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Overlays one color per class, with the class names; ignored pixels are dimmed."""
        return drawing.regions(image, label, self._known(label), self.class_names)

    def statistics(self, label: np.ndarray) -> dict[str, float]:
        """Share of the image's pixels by class, and the share of `ignored` pixels if there are any."""
        known = self._known(label)
        values, counts = np.unique(label[known], return_counts=True)
        shares = {self.class_names[v]: float(count) / label.size for v, count in zip(values, counts, strict=True)}
        return shares if known.all() else shares | {"ignored": float((~known).mean())}

    def histograms(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Counts images by their share of ignored pixels."""
        return {"share of ignored pixels": histogram((~self._known(label)).mean(), TENTHS)}

    def classes(self, label: np.ndarray) -> list[tuple[str, float | None]]:
        """The classes that occur."""
        return [(self.class_names[i], None) for i in np.unique(label[self._known(label)])]

    def flaws(self, target: Mapping[str, np.ndarray], height: int, width: int) -> list[str]:
        """Reports a mask of another size, and values that are neither a class nor `ignore`."""
        mask = target["mask"]
        strange = np.unique(mask[~self._known(mask) & (mask != self.ignore)])
        return wrong_size(mask, height, width) + (
            [f"classes {strange[:5].tolist()} in the mask, of {self.num_classes}"] if strange.size else []
        )

    def _known(self, label: np.ndarray) -> np.ndarray:
        return (label >= 0) & (label < self.num_classes)
