"""Test helper: rendered rooms, whose boxes are known exactly, with the labels of a detector that errs."""

import numpy as np

from must_tf.sources.rooms.dataset import TEACHER_TASKS, to_record
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import WORLDS

TASK = TEACHER_TASKS["detection"]


def rooms(count, size=48):
    """Returns records with the labels of the detector, and {id of a record: its true boxes}."""
    rng, records, truths = np.random.default_rng(0), [], {}
    for index in range(count):
        record = to_record(render(WORLDS["detection"], 0, index, size), (TASK,))
        record.filename = f"{index}.jpg"
        truths[record.id] = record.labels[TASK.name]
        record.labels[TASK.name], record.origins[TASK.name] = degraded(record.labels[TASK.name], rng), "detector"
        records.append(record)
    return records, truths


def degraded(truth, rng):
    """Returns true boxes as a detector might find them: a tenth is missed, and some are elsewhere or of another class.

    It errs more in some images, and its scores are lower where it does.
    """
    kept = rng.random(len(truth["classes"])) > 0.1
    boxes, classes = truth["boxes"][kept].astype(float), truth["classes"][kept].copy()
    right = rng.random(len(boxes)) < (0.6 if rng.random() < 0.15 else 0.97)
    moved = ~right & (rng.random(len(boxes)) < 0.5)
    boxes[moved] = (boxes[moved] + 0.5) % 1  # has no area, or another place
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    classes[~right & ~moved] = (classes[~right & ~moved] + 1) % TASK.num_classes
    scores = 0.5 + np.where(right, rng.beta(6, 1.5, len(boxes)), rng.beta(2, 2, len(boxes))) / 2
    return {"boxes": boxes.astype(np.float32), "classes": classes, "scores": scores.astype(np.float32)}
