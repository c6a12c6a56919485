"""Narrows a task and its labels to some of the classes, and to labels of a least score."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from must_tf.tasks import Classification, Detection, Instances, Segmentation, Task
from must_tf.tasks.classification.labels import is_soft
from must_tf.tasks.detection import UNSEEN
from must_tf.tasks.task import Label

Narrow = Callable[[Label], Label | None]


def has_scores(task: Task) -> bool:
    """Whether labels of a task have scores that can be compared with a least one."""
    return isinstance(task, Detection | Instances | Classification)


def narrowed(task: Task, classes: Collection[str], min_score: float) -> tuple[Task, Narrow]:
    """Returns a task of some of its classes, and what makes its labels of those of a task.

    A narrowed label is None where the image has none any more. That is so for an image whose one class is another one,
    or less likely than `min_score`; an image without boxes of the classes, or with boxes of smaller scores alone, has
    nothing of them, which is a label. Pixels of other classes become ignored. Probabilities of a single-label image sum
    to 1 over the classes that stay, as those of a teacher whose other classes are dropped.

    Args:
      task: of the labels.
      classes: names of classes, some of them the task's; empty for all.
      min_score: from 0 to 1; 0 keeps all. It does not apply to ignored boxes, which are no labels.
    """
    names: tuple[str, ...] = getattr(task, "class_names", ())
    kept = [i for i, name in enumerate(names) if not classes or name in classes]
    fields: dict[str, Any] = {"class_names": tuple(names[i] for i in kept)} if classes else {}
    if isinstance(task, Detection | Instances):
        if isinstance(task.min_score, Mapping) and classes:
            fields["min_score"] = {name: task.min_score[name] for name in fields["class_names"]}
        return dataclasses.replace(task, **fields), lambda label: _boxes(label, _new_ids(task, kept), min_score)
    if isinstance(task, Classification):
        fields |= {"min_score": min_score} if min_score and task.multi_label else {}
        return dataclasses.replace(task, **fields), lambda label: _classes(label, task, kept, min_score)
    if isinstance(task, Segmentation) and classes:
        new = dataclasses.replace(task, **fields)
        return new, lambda label: _mask(label, _new_ids(task, kept), new.ignore)
    return task, lambda label: label


def _new_ids(task: Detection | Instances | Segmentation, kept: list[int]) -> np.ndarray:
    """Returns the new id of each class, -1 for those that go; one more at the end for ids beyond the classes."""
    ids = np.full(task.num_classes + 1, -1)
    ids[kept] = np.arange(len(kept))
    return ids


def _boxes(label: Mapping[str, np.ndarray], ids: np.ndarray, min_score: float) -> dict[str, np.ndarray]:
    classes, ignore = np.asarray(label["classes"], np.int64), np.asarray(label["ignore"])
    unseen = ignore == UNSEEN  # has no class
    stays = unseen | ((ids[classes] >= 0) & ((ignore > 0) | (np.asarray(label["scores"]) >= min_score)))
    parts = {key: np.asarray(values)[stays] for key, values in label.items()}
    return parts | {"classes": np.where(unseen, 0, ids[classes])[stays]}


def _classes(label: Label, task: Classification, kept: list[int], min_score: float) -> Label | None:
    if task.multi_label:
        return np.asarray(label)[kept]
    best = int(np.argmax(label)) if is_soft(label) else int(label)
    if best not in kept or (is_soft(label) and np.max(label) < min_score):
        return None
    if not is_soft(label):
        return kept.index(best)
    probs = np.asarray(label)[kept]
    return probs if len(kept) == task.num_classes else probs / probs.sum()


def _mask(mask: np.ndarray, ids: np.ndarray, ignore: int) -> np.ndarray | None:
    new = ids[np.minimum(mask, len(ids) - 1)]
    return np.where(new >= 0, new, ignore) if (new >= 0).any() else None
