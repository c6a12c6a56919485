"""Labels a run of records: a pure function of the records and the teachers."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.geometry import Geometry, Size, fit, move_image
from must_tf.records import HUMAN, Quarantined, Record
from must_tf.teachers import Teacher


def label_records(
    records: Iterable[Record | Quarantined], teachers: Sequence[Teacher], batch_size: int
) -> Iterator[Record | Quarantined]:
    """Adds the teachers' labels to records, in order; what cannot be labelled is quarantined.

    A human label of a teacher's task stays; a pseudo label is replaced.
    """
    for batch in _batches(records, batch_size):
        images = [_decode(record) for record in batch]
        good = [i for i, image in enumerate(images) if not isinstance(image, Quarantined)]
        labelled = [batch[i] if i in good else images[i] for i in range(len(batch))]
        for teacher in teachers:
            todo = [i for i in good if batch[i].origins.get(teacher.task.name) != HUMAN]
            for i, outputs in zip(todo, _run(teacher, [images[i] for i in todo], batch_size), strict=True):
                record = batch[i]
                if all(np.isfinite(values).all() for values in outputs.values()):
                    record.labels[teacher.task.name] = teacher.task.from_teacher(outputs)
                    record.origins[teacher.task.name] = teacher.id
                else:
                    labelled[i] = Quarantined(
                        record.name or record.id, f"teacher {teacher.id} gave values that are not finite"
                    )
        yield from labelled


def _run(teacher: Teacher, images: list[np.ndarray], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields each image's outputs in the image's own frame."""
    if not images:
        return
    views, geometries = zip(*(_view(image, teacher.input_size) for image in images), strict=True)
    # One shape for every batch, the last one too: a teacher is traced once.
    padded = tf.stack([*views, *[tf.zeros_like(views[0])] * (batch_size - len(views))])
    outputs = {name: np.asarray(values) for name, values in teacher(padded).items()}
    for i, geometry in enumerate(geometries):
        one = {name: values[i] for name, values in outputs.items()}
        if geometry is not None:
            one = {name: np.asarray(values) for name, values in teacher.task.restore(one, geometry).items()}
        yield one


def _view(image: np.ndarray, size: Size) -> tuple[tf.Tensor, Geometry | None]:
    """The view that a teacher wants, and how it lies in the image; None where it is the image itself."""
    if image.shape[:2] == size:
        return tf.constant(image), None
    geometry = fit(image.shape[:2], size)
    return tf.saturate_cast(tf.round(move_image(image, geometry)), tf.uint8), geometry


def _decode(record: Record | Quarantined) -> Any:
    """Returns the image, uint8 [H, W, 3], or why there is none."""
    if isinstance(record, Quarantined):
        return record
    try:
        return tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        return Quarantined(record.name or record.id, f"cannot be decoded: {str(error.message).splitlines()[0]}")


def _batches(records: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(records)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
