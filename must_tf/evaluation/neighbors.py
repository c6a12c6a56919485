"""Classification of images by their nearest neighbors in the features of a backbone: `must evaluate --knn`."""

import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.pipeline import evaluation_batches
from must_tf.records import Dataset
from must_tf.runtime.progress import Progress
from must_tf.student import Student
from must_tf.tasks import Classification
from must_tf.tasks.knn import nearest_classes
from must_tf.tasks.task import POOLED


def neighbor_scores(
    student: Student, known: Dataset, test: Dataset, view_size: Size, batch_size: int = 32
) -> dict[str, float]:
    """Returns the share of test images that are classified right, for each single-label task of both datasets.

    The features are those of C5, averaged over the view; heads are not used. See `nearest_classes` for the rule.

    Args:
      student: any, also without a head of these classes.
      known: records with the classes of the images among which neighbors are looked for.
      test: records with the true classes of other images.
      view_size: height and width to which images are resized, multiples of 32.
      batch_size: images per batch.

    Raises:
      UserError: no single-label classification is in both datasets, or its classes differ; both have an image;
        or the features are not finite.
    """
    if {*known.manifest.shards.digests()} & {*test.manifest.shards.digests()}:
        raise UserError(
            f"--knn={known.folder}: has the images of {test.folder}, which would be their own neighbors; give others"
        )
    tasks = [task for task in test.manifest.tasks if isinstance(task, Classification) and not task.multi_label]
    tasks = [
        task for task in tasks if all(sum(one.manifest.counts.get(task.name, {}).values()) for one in (known, test))
    ]
    if not tasks:
        raise UserError(
            f"--knn={known.folder}: has no classes of a task of {test.folder}; expected the same task in both"
        )
    known.require(tasks)
    pooled = tf.function(lambda images: tf.reduce_mean(student.features(images)[POOLED], [1, 2]), reduce_retracing=True)
    (near, classes, first), (queries, truths, second) = (
        _read(one, tasks, pooled, view_size, batch_size) for one in (known, test)
    )
    if shared := len(first & second):
        raise UserError(
            f"--knn={known.folder}: has {shared} of the images of {test.folder}, which would be their own neighbors; "
            f"give others (must inspect --leaks={known.folder},{test.folder} names them)"
        )
    scores = {}
    for task in tasks:
        (here, labels), (there, truth) = classes[task.name], truths[task.name]
        found = nearest_classes(near[here], labels[here], queries[there], task.num_classes)
        scores[task.name] = float((found == truth[there]).mean())
    return scores


_Classes = dict[str, tuple[np.ndarray, np.ndarray]]  # by task, which images have a class, and the class of each


def _read(
    dataset: Dataset, tasks: list[Classification], pooled: Callable, view_size: Size, batch_size: int
) -> tuple[np.ndarray, _Classes, set[bytes]]:
    """Returns the features of all images, [N, C], their classes, and digests of the images."""
    features: list[np.ndarray] = []
    digests = set[bytes]()
    probs: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
    progress = Progress("features", dataset.manifest.count)
    for images, targets in progress.waiting(evaluation_batches(dataset, tasks, view_size, batch_size)):
        features.append(pooled(images).numpy())
        if not np.isfinite(features[-1]).all():  # votes would be for the first class
            raise UserError(f"{dataset.folder}: the student's features of its images are not finite; train it again")
        digests |= {hashlib.sha256(image.tobytes()).digest() for image in images.numpy()}
        for name, rows in probs.items():
            rows.append(targets[name]["probs"].numpy())
        progress.update(len(images))
    joined = {name: np.concatenate(rows) for name, rows in probs.items()}
    found = {name: (rows.any(-1), rows.argmax(-1)) for name, rows in joined.items()}
    return np.concatenate(features), found, digests
