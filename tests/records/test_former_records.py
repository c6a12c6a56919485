"""Records and runs of version 0.1.0, whose bytes are stored, are read as what was written."""

import numpy as np
import specimens
import toy

from must_tf.records import open_dataset, verify
from must_tf.saving import load_student


def test_records_hold_the_labels_that_were_written(former):
    dataset = open_dataset(former / "records")
    assert dataset.manifest.tasks == toy.TASKS and dataset.manifest.source["license"] == "CC0-1.0"
    for read, written in zip(dataset.records(), toy.toy_records(6), strict=True):
        assert (read.encoded, read.id, read.origins) == (written.encoded, written.id, written.origins)
        for task in toy.TASKS:
            if task.name in written.labels:
                specimens.of(task).assert_same(task, read.labels[task.name], written.labels[task.name])


def test_records_are_sound(former):
    assert verify(open_dataset(former / "records")).problems == []


def test_finished_run_is_a_student_and_a_teacher(former):
    student = load_student(former / "run")
    assert tuple(student.tasks.values()) == toy.TASKS
    teacher = toy.load("depth", f"student:{former / 'run'}")
    depth = teacher(np.zeros([1, *toy.VIEW, 3], np.uint8))["depth"]
    assert np.isfinite(depth).all()
