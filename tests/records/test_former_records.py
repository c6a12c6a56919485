"""Records and runs of version 0.1.0, whose bytes are stored, are read as what was written."""

import dataclasses
import shutil

import numpy as np
import pytest
import specimens
import toy

from must_tf.errors import UserError
from must_tf.records import Plan, finish, open_dataset, pending, verify, write_shard
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


def test_a_dataset_goes_on_whose_plan_knew_fewer_fields_of_tasks(former, tmp_path):
    folder = shutil.copytree(former / "records", tmp_path / "records")
    made = Plan(folder, "toy", "train", toy.TASKS, 1, {"seed": 0, "license": "CC0-1.0"})
    assert pending(made) == []
    made.shard(0).unlink()
    assert pending(made) == [0]
    write_shard(made, 0, toy.toy_records(6))
    assert finish(made).shards.counts.tolist() == [6] and open_dataset(folder).manifest.tasks == toy.TASKS
    two_stages = tuple(dataclasses.replace(task, stages=2) if task is toy.THINGS else task for task in toy.TASKS)
    with pytest.raises(UserError, match=r"\(tasks.things.stages: 1, now 2\)"):
        pending(dataclasses.replace(made, tasks=two_stages))


def test_finished_run_is_a_student_and_a_teacher(former):
    student = load_student(former / "run")
    assert tuple(student.tasks.values()) == toy.TASKS
    teacher = toy.load("depth", f"student:{former / 'run'}")
    depth = teacher(np.zeros([1, *toy.VIEW, 3], np.uint8))["depth"]
    assert np.isfinite(depth).all()
