"""Renders the splits of the rooms dataset as records: the world, the tasks and the number of images of each split."""

import dataclasses
import functools
import hashlib
import io
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from must_tf.errors import UserError, nearest
from must_tf.records import HUMAN, Manifest, Plan, Record, finish, pending, read_manifest, write_shard
from must_tf.records.manifest import FILE
from must_tf.runtime.progress import Progress
from must_tf.sources.rooms.catalog import PARTS
from must_tf.sources.rooms.render import Sample, render
from must_tf.sources.rooms.worlds import DOWNSTREAM_CATEGORIES, TEACHER_CATEGORIES, WORLDS
from must_tf.storage import locked
from must_tf.tasks import Classification, Depth, Detection, Instances, Normals, Segmentation, Task
from must_tf.tasks.depth import METRIC
from must_tf.tasks.instances.masks import as_array, encode

LICENSE = "CC0-1.0"  # license of the images, which are our own work

# For images of 64 to 96 pixels: small anchors and a short head.
_BOXES: dict[str, Any] = {"anchor_size": 3.0, "anchor_scales": 1, "num_convs": 1, "max_boxes": 20, "max_outputs": 50}

_KINDS = ("classification", "detection", "instances", "segmentation", "depth", "normals")
_TEACHER, _DOWNSTREAM = tuple(TEACHER_CATEGORIES), tuple(DOWNSTREAM_CATEGORIES)

TEACHER_TASKS: dict[str, Task] = {
    "classification": Classification("classification", _TEACHER),
    "detection": Detection("detection", _TEACHER, **_BOXES),
    "segmentation": Segmentation("segmentation", ("background", *_TEACHER)),
    "depth": Depth("depth"),
}
TWO_STAGES: dict[str, Any] = {"num_proposals": 100, "num_rois": 32, "fc_units": 128}  # sizes of the second stage
INSTANCES = Instances("instances", _TEACHER, **_BOXES, **TWO_STAGES)
DOWNSTREAM_TASKS: dict[str, Task] = {
    "classification": Classification("classification", _DOWNSTREAM),
    "detection": Detection("detection", _DOWNSTREAM, **_BOXES),
    "segmentation_a": Segmentation("segmentation_a", ("background", *_DOWNSTREAM)),
    "segmentation_b": Segmentation("segmentation_b", PARTS),
    "depth": Depth("depth"),
    "normals": Normals("normals"),
    "instances": Instances("instances", _DOWNSTREAM, **_BOXES, **TWO_STAGES),
}


@dataclasses.dataclass(frozen=True)
class Split:
    """One dataset of rooms.

    Attributes:
      world: a key of `WORLDS`.
      tasks: tasks whose labels the records have; none for the unlabeled set.
      count: number of images at scale 1.
      seed: added to the seed of the command, so that train and test sets differ.
    """

    world: str
    tasks: tuple[Task, ...]
    count: int
    seed: int = 0


SPLITS: dict[str, Split] = {
    "classification/train": Split("classification", (TEACHER_TASKS["classification"],), 2500),
    "detection/train": Split("detection", (TEACHER_TASKS["detection"],), 1500),
    "segmentation/train": Split("segmentation", (TEACHER_TASKS["segmentation"],), 1500),
    "depth/train": Split("depth", (TEACHER_TASKS["depth"],), 1200),
    "instances/train": Split("detection", (INSTANCES,), 1500),
    "instances/test": Split("detection", (INSTANCES,), 400, 1),
    "unlabeled/train": Split("unlabeled", (), 1500),
    "shared/train": Split("unlabeled", (TEACHER_TASKS["classification"],), 4000, 3),
    "shared/test": Split("unlabeled", (TEACHER_TASKS["classification"],), 400, 4),
    **{f"{name}/test": Split(name, (task,), 400, 1) for name, task in TEACHER_TASKS.items()},
    **{f"downstream_{n}/train": Split(f"downstream_{n}", (task,), 250) for n, task in DOWNSTREAM_TASKS.items()},
    **{f"downstream_{n}/validation": Split(f"downstream_{n}", (task,), 300, 2) for n, task in DOWNSTREAM_TASKS.items()},
    **{f"downstream_{n}/test": Split(f"downstream_{n}", (task,), 300, 1) for n, task in DOWNSTREAM_TASKS.items()},
}


def make_rooms(
    split: str, out: str | os.PathLike, size: int = 96, count: int | None = None, seed: int = 0, processes: int = 1
) -> Manifest:
    """Renders one split into `OUT/SPLIT`; a second call resumes where the first one stopped.

    Args:
      split: a key of `SPLITS`.
      out: folder of all splits.
      size: height and width of the images in pixels.
      count: number of images; the split's count at scale 1 where None.
      seed: the same seed gives the same bytes, whatever the number of processes.
      processes: number of processes that render in parallel.

    Raises:
      UserError: an unknown split, or a size or count that is too small.
    """
    if split not in SPLITS:
        raise UserError(f"rooms: no split {split!r}; {nearest(split, SPLITS)}")
    if size < 32:
        raise UserError(f"rooms: size {size} received, expected 32 or more pixels")
    known = SPLITS[split]
    count = known.count if count is None else count
    if count < 1:
        raise UserError(f"rooms: count {count} received, expected 1 or more images")
    name, _, part = split.partition("/")
    source = {"rooms": known.world, "size": size, "count": count, "seed": seed + known.seed}
    plan = Plan(Path(out, split), f"rooms_{name}", part, known.tasks, max(1, round(count / 250)), source)
    with locked(plan.folder):
        return _written(plan, processes)


def _written(plan: Plan, processes: int) -> Manifest:
    """Writes the missing shards and returns the manifest."""
    todo, count = pending(plan), plan.source["count"]
    if not todo and (plan.folder / FILE).exists():
        return read_manifest(plan.folder)
    progress = Progress(
        f"{plan.name}/{plan.split}", count, done=count * (plan.num_shards - len(todo)) // plan.num_shards
    )
    make = functools.partial(_make_shard, plan)
    if processes == 1:
        for index in todo:
            progress.update(make(index))
    else:
        with multiprocessing.get_context("spawn").Pool(min(processes, len(todo) or 1)) as pool:
            for written in pool.imap_unordered(make, todo):
                progress.update(written)
    return finish(dataclasses.replace(plan, source=plan.source | {"license": LICENSE}))


def _make_shard(plan: Plan, index: int) -> int:
    """Renders and writes one shard; returns its number of images."""
    return write_shard(plan, index, _records(plan, index)).count


def _records(plan: Plan, index: int) -> Iterator[Record]:
    source = plan.source
    low, high = (source["count"] * i // plan.num_shards for i in (index, index + 1))
    for i in range(low, high):
        yield to_record(render(WORLDS[source["rooms"]], source["seed"], i, source["size"]), plan.tasks)


def to_record(sample: Sample, tasks: tuple[Task, ...]) -> Record:
    """Returns a record of a rendered sample: the image as a JPEG of quality 95, and the exact labels of the tasks."""
    buffer = io.BytesIO()
    Image.fromarray(sample.image).save(buffer, "JPEG", quality=95)
    height, width = sample.image.shape[:2]
    record = Record(buffer.getvalue(), "JPEG", height, width, _identity(buffer.getvalue()))
    for task in tasks:
        record.labels[task.name] = _label(sample, task)
        record.origins[task.name] = HUMAN
    return record


def _identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _label(sample: Sample, task: Task) -> Any:
    if isinstance(task, Classification):
        if task.multi_label:
            return np.isin(task.class_names, sample.objects)
        return task.class_names.index(sample.objects[sample.main - 1])
    if isinstance(task, Detection):
        label = _boxes(sample, task.class_names)
        return {key: label[key] for key in ("boxes", "classes")}
    if isinstance(task, Instances):
        label = _boxes(sample, task.class_names)
        visible = (sample.instances == number for number in label.pop("numbers"))
        return label | {"masks": as_array(map(encode, visible)), "ignore": np.zeros(len(label["classes"]), np.int64)}
    if isinstance(task, Segmentation):
        if task.class_names == PARTS:
            return sample.parts.astype(np.int64)
        classes = np.array([0, *(task.class_names.index(name) for name in sample.objects)])
        return classes[sample.instances]
    if isinstance(task, Normals):
        return sample.normals
    if isinstance(task, Depth):
        return sample.depth if task.convention == METRIC else 1 / np.where(sample.depth > 0, sample.depth, np.nan)
    raise UserError(f"rooms: no labels for task {task.name!r} of kind {task.kind}; expected one of {', '.join(_KINDS)}")


def _boxes(sample: Sample, names: tuple[str, ...], min_pixels: int = 12) -> dict[str, np.ndarray]:
    """Returns the tight boxes of objects with at least `min_pixels` visible pixels, as a label of detection.

    `numbers` [N] are those of the objects in `Sample.instances`.
    """
    height, width = sample.instances.shape
    boxes, classes, numbers = [], [], []
    for i, name in enumerate(sample.objects, start=1):
        y, x = np.nonzero(sample.instances == i)
        if len(y) >= min_pixels:
            boxes.append([y.min() / height, x.min() / width, (y.max() + 1) / height, (x.max() + 1) / width])
            classes.append(names.index(name))
            numbers.append(i)
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "classes": np.array(classes, np.int64),
        "numbers": np.array(numbers, np.int64),
    }
