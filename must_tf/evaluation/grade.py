"""Grades labels without truth: where two tasks speak of the same thing, how far do they agree?"""

import abc
import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_tf.geometry import move_image, stretch
from must_tf.records import HUMAN, Record, parse, serialize
from must_tf.tasks import Depth, Detection, Normals, Segmentation, Task
from must_tf.tasks.depth import METRIC
from must_tf.teachers import Teacher

FIELDS_OF_VIEW = tuple(range(30, 101, 5))  # degrees that the longer side may span
_SIDE = 128  # pixels of a depth map's longer side that are enough for a grade
_BEND = 0.02  # second difference of inverse depth, as a share of it, from which on a pixel is an edge


@dataclasses.dataclass(frozen=True)
class Grade:
    """How far two labels of the same images agree.

    Attributes:
      tasks: what was compared: the names of two tasks, or a task and its teacher on mirror images.
      images: that could be compared.
      scores: by name.
      note: what the scores mean, and what was assumed.
    """

    tasks: tuple[str, str]
    images: int
    scores: dict[str, float]
    note: str


class Grader:
    """Compares the labels of all pairs of tasks that overlap, a record at a time."""

    def __init__(self, tasks: Sequence[Task]):
        self._pairs: list[_Pair] = []
        for one in tasks:
            for other in tasks:
                if isinstance(one, Normals) and isinstance(other, Depth) and other.convention == METRIC:
                    self._pairs.append(_NormalsOfDepth(one, other))
                elif isinstance(one, Detection) and isinstance(other, Segmentation) and _shared(one, other):
                    self._pairs.append(_BoxesOfMasks(one, other))

    def update(self, record: Record) -> None:
        """Adds a record."""
        for pair in self._pairs:
            first, second = (record.labels.get(task.name) for task in pair.tasks)
            if first is not None and second is not None:
                pair.images += pair.add(first, second)

    def result(self) -> list[Grade]:
        """Returns a grade for each pair of tasks that could be compared on one image or more."""
        return [
            Grade((pair.tasks[0].name, pair.tasks[1].name), pair.images, pair.scores(), pair.note)
            for pair in self._pairs
            if pair.images
        ]


class _Pair(abc.ABC):
    """Two tasks that overlap.

    Attributes:
      note: what the scores mean.
      tasks: both of them.
      images: that could be compared.
    """

    note: str

    def __init__(self, one: Any, other: Any):
        self.tasks, self.images = (one, other), 0

    @abc.abstractmethod
    def add(self, one: Any, other: Any) -> bool:
        """Compares two labels of an image; returns whether there was something to compare."""

    @abc.abstractmethod
    def scores(self) -> dict[str, float]:
        """Returns the scores so far."""


class _NormalsOfDepth(_Pair):
    """Normals and metric depth."""

    note = (
        "Normals against the normals of the metric depth, by pixel, edges and bends left out; compared: the share of "
        "pixels that are left, low where depth is rough. Records do not know their lens: "
        f"of each image the field of view between {FIELDS_OF_VIEW[0]}° and {FIELDS_OF_VIEW[-1]}° that agrees best."
    )

    def __init__(self, normals: Normals, depth: Depth):
        super().__init__(normals, depth)
        self._metric, self._fields, self._compared = normals.metrics(), 0.0, 0.0

    def add(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Compares normals [H, W, 3], 0 where unknown, with depth [H, W] in metres, NaN where unknown."""
        found, rebuilt, field = fit_field_of_view(one, other)
        if not found.any():
            return False
        self._metric.update({"normals": found[np.newaxis]}, {"normals": rebuilt[np.newaxis]})
        self._fields += field
        self._compared += float(np.any(found, -1).mean())
        return True

    def scores(self) -> dict[str, float]:
        """Returns the metrics of normals, the share of pixels compared, and the field of view in degrees, as means."""
        means = {"compared": self._compared / self.images, "field_of_view": self._fields / self.images}
        return self._metric.result() | means


class _BoxesOfMasks(_Pair):
    """Boxes and masks with class names in common."""

    note = (
        "Boxes against the mask's pixels of the same class. box_iou: a box with the tight box of those pixels in it; "
        "agree: share of boxes with 0.5 or more; filled: share of a box's known pixels that have its class; covered: "
        "share of the mask's pixels of these classes that lie in a box of their class."
    )

    def __init__(self, boxes: Detection, mask: Segmentation):
        super().__init__(boxes, mask)
        names = _shared(boxes, mask)
        self._ids = {boxes.class_names.index(name): mask.class_names.index(name) for name in names}
        self._classes = mask.num_classes
        self._ious: np.ndarray = np.zeros(4)  # boxes, sum of IoU, IoU ≥ 0.5, sum of shares
        self._pixels = np.zeros(2)  # of the classes, covered

    def add(self, one: dict[str, np.ndarray], other: np.ndarray) -> bool:
        """Compares `boxes` [N, 4], fractions, and `classes` [N] with class ids [H, W]; others are unknown.

        Boxes that `ignore` [N] marks are left out.
        """
        known = (other >= 0) & (other < self._classes)
        covered = np.zeros(other.shape, bool)
        size = np.array([*other.shape, *other.shape])
        compared = False
        ignored = one.get("ignore", np.zeros(len(one["classes"])))
        for box, cls, ignore in zip(one["boxes"], one["classes"], ignored, strict=True):
            if int(cls) not in self._ids or ignore:
                continue
            inside = _window(box * size)
            pixels = other[inside] == self._ids[int(cls)]
            covered[inside] |= pixels
            if known[inside].any():
                compared = True
                overlap = _iou(box * size, inside, pixels)
                self._ious += (1, overlap, overlap >= 0.5, pixels.sum() / known[inside].sum())
        of_classes = np.isin(other, list(self._ids.values()))
        self._pixels += (of_classes.sum(), covered.sum())
        return compared or bool(of_classes.any())

    def scores(self) -> dict[str, float]:
        """Returns the number of boxes, and the shares that `note` explains; NaN where there is nothing to share."""
        boxes, overlap, agree, filled = self._ious
        pixels, covered = self._pixels
        return {
            "boxes": float(boxes),
            "box_iou": float(overlap / boxes) if boxes else float("nan"),
            "agree": float(agree / boxes) if boxes else float("nan"),
            "filled": float(filled / boxes) if boxes else float("nan"),
            "covered": float(covered / pixels) if pixels else float("nan"),
        }


def normals_of_depth(depth: np.ndarray, field_of_view: float) -> np.ndarray:
    """Returns the normals of the surface that a metric depth map shows, in the frame of `tasks.Normals`.

    The optical axis meets the picture in its middle. Inverse depth is linear on a plane, so that planes are exact.

    Args:
      depth: [H, W], metres along the optical axis; NaN is invalid.
      field_of_view: degrees that the longer side of the picture spans.

    Returns:
      float [H, W, 3], unit length; 0 where a pixel or one of its four neighbours is invalid, at the border, and where
      the surface bends or ends.
    """
    return _normals(*_slopes(depth), field_of_view)


def fit_field_of_view(normals: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Finds the field of view at which a depth map's normals agree best with a map of normals.

    Returns:
      The normals that can be compared, their counterparts of the depth (both [h, w, 3], 0 elsewhere; a large map
      thinned out), and the field of view in degrees.
    """
    step = max(1, -(-max(depth.shape) // _SIDE))
    found = np.asarray(normals, np.float64)[::step, ::step]
    slopes = _slopes(np.asarray(depth, np.float64)[::step, ::step])
    best: tuple[float, np.ndarray, float] | None = None
    for field in FIELDS_OF_VIEW:
        rebuilt = _normals(*slopes, field)
        agreement = float((found * rebuilt).sum())
        if best is None or agreement > best[0]:
            best = agreement, rebuilt, float(field)
    assert best
    both = np.any(found, -1) & np.any(best[1], -1)
    return np.where(both[..., np.newaxis], found, 0), best[1], best[2]


def flip_grade(teacher: Teacher, images: Sequence[np.ndarray]) -> Grade:
    """Returns the `flip_agreement` of a teacher as a grade."""
    note = (
        "On mirror images: what the teacher says of an image, mirrored, is taken for the truth of what it says of the "
        "mirror image, under the task's own metrics. Disagreement is error; agreement is no proof."
    )
    return Grade(
        (teacher.task.name, f"{teacher.id} on mirror images"), len(images), flip_agreement(teacher, images), note
    )


def flip_agreement(teacher: Teacher, images: Iterable[np.ndarray]) -> dict[str, float]:
    """Compares what a teacher says of images with what it says of their mirror images.

    Args:
      teacher: of any kind of task.
      images: uint8 [H, W, 3], of any sizes.

    Returns:
      The scores of the task's own metrics, with the labels of the images, mirrored, as the truth, and the outputs for
      the mirror images as predictions; NaN where the teacher found nothing. Where it gave values that are not finite,
      the share of such images as `not_finite`; they have no part in the scores.
    """
    metric, count, lost = teacher.task.metrics(), 0, 0
    for image in images:
        count += 1
        seen = _seen(teacher, image)
        outputs = _of_both(teacher, seen)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            lost += 1
            continue
        target, mirrored = _mirrored(teacher, seen, outputs)
        metric.update(_batch(target), _batch(mirrored))
    return metric.result() | ({"not_finite": lost / count} if lost else {})


def _seen(teacher: Teacher, image: np.ndarray) -> np.ndarray:
    """Returns what the teacher's view shows of an image, without padding; a view of that moves no pixel."""
    geometry = teacher.geometry(np.array(image.shape[:2]))
    view = tf.saturate_cast(tf.round(move_image(tf.constant(image), geometry)), tf.uint8).numpy()
    height, width = np.minimum(geometry.view_size, (geometry.scaled_size - geometry.offset).numpy())
    return view[:height, :width]


def _of_both(teacher: Teacher, image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs for an image and for its mirror image."""
    geometry = teacher.geometry(np.array(image.shape[:2]))
    pair = [move_image(tf.constant(np.ascontiguousarray(shown)), geometry) for shown in (image, image[:, ::-1])]
    views = tf.saturate_cast(tf.round(tf.stack(pair)), tf.uint8)
    return {name: np.asarray(values) for name, values in teacher(views.numpy()).items()}


def _mirrored(
    teacher: Teacher, image: np.ndarray, outputs: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the mirrored target of an image's label, and the outputs for its mirror image in its frame."""
    task, (height, width) = teacher.task, image.shape[:2]
    geometry = teacher.geometry(np.array([height, width]))
    plain, mirrored = (task.restore({name: values[i] for name, values in outputs.items()}, geometry) for i in (0, 1))
    label = task.from_teacher({name: np.asarray(values) for name, values in plain.items()})
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    record = Record(buffer.getvalue(), "PNG", height, width, "", {task.name: label}, {task.name: HUMAN})
    target = parse(serialize(record, [task]), [task])["targets"][task.name]
    return task.transform(target, stretch((height, width), (height, width))._replace(flip=tf.constant(True))), mirrored


def _batch(values: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value)[np.newaxis] for name, value in values.items()}


def _slopes(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns inverse depth, its slopes to the right and down (a pixel), and where they hold, all [H, W]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / depth, np.nan)
    around = np.pad(inverse, 1, constant_values=np.nan)
    up, down, left, right = around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]
    bend = np.maximum(np.abs(left + right - 2 * inverse), np.abs(up + down - 2 * inverse))
    return inverse, (right - left) / 2, (down - up) / 2, bend < _BEND * inverse  # NaN compares as False


def _normals(inverse: np.ndarray, right: np.ndarray, down: np.ndarray, valid: np.ndarray, field: float) -> np.ndarray:
    """On P = z·(x/f, y/f, 1) the cross product of the slopes of P is along (f·dx, f·dy, d − x·dx − y·dy), d = 1/z."""
    height, width = inverse.shape
    focal = max(height, width) / 2 / np.tan(np.radians(field) / 2)
    y, x = (np.arange(n) + 0.5 - n / 2 for n in (height, width))
    along = inverse - x * right - y[:, np.newaxis] * down
    vectors = -np.stack([focal * right, focal * down, along], -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(valid[..., np.newaxis], vectors / np.where(length > 0, length, 1), 0)


def _shared(boxes: Detection, mask: Segmentation) -> list[str]:
    return [name for name in boxes.class_names if name in mask.class_names]


def _window(sides: np.ndarray) -> tuple[slice, slice]:
    """The pixels whose centres lie in a box (ymin, xmin, ymax, xmax) in pixels; at least one."""
    first = np.floor(sides[:2] + 0.5).astype(int)
    last = np.maximum(np.floor(sides[2:] + 0.5).astype(int), first + 1)
    return slice(first[0], last[0]), slice(first[1], last[1])


def _iou(sides: np.ndarray, window: tuple[slice, slice], pixels: np.ndarray) -> float:
    """The IoU of a box in pixels with the tight box of the pixels [h, w] in its window; 0 without any."""
    y, x = np.nonzero(pixels)
    if not y.size:
        return 0.0
    top, left = window[0].start, window[1].start
    tight = np.array([top + y.min(), left + x.min(), top + y.max() + 1, left + x.max() + 1], float)
    both = np.maximum(np.minimum(sides[2:], tight[2:]) - np.maximum(sides[:2], tight[:2]), 0).prod()
    areas = (sides[2:] - sides[:2]).prod() + (tight[2:] - tight[:2]).prod()
    return float(both / (areas - both)) if areas > both else 0.0
