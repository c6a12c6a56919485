import dataclasses
import json
from pathlib import Path

import pytest
import toy

from must_tf.errors import UserError
from must_tf.records import open_dataset, read_manifest
from must_tf.tasks import Depth, Segmentation


def first_shard(folder):
    return sorted(Path(folder).glob("*.tfrecord-*"))[0]


def test_records_come_in_order(toy_data):
    ids = [record.id for record in open_dataset(toy_data).records()]
    written = [record.id for record in toy.toy_records(22)]
    assert ids == written[0::2] + written[1::2]


def test_records_of_some_shards(toy_data):
    dataset = open_dataset(toy_data)
    ids = [record.id for record in dataset.records()]
    assert [record.id for record in dataset.records([1])] == ids[11:]


def test_a_damaged_record_is_not_read_at_its_place(data):
    dataset = open_dataset(data)
    first, second = list(dataset.places())[:2]
    path = first_shard(data)
    content = bytearray(path.read_bytes())
    content[second.offset + 40] ^= 1
    path.write_bytes(content)
    assert dataset.read(first).id == next(iter(toy.toy_records(1))).id
    with pytest.raises(UserError, match=f"{path.name}: corrupted record at"):
        dataset.read(second)


def test_manifest_comes_back(toy_data):
    manifest = read_manifest(toy_data)
    assert manifest.tasks == toy.TASKS and manifest.name == "toy" and manifest.source == {"seed": 0}
    assert len(manifest.shards) == 2


def test_manifest_has_the_sums_for_readers_without_the_package(toy_data):
    value = json.loads((toy_data / "manifest.json").read_text())
    manifest = read_manifest(toy_data)
    assert (value["count"], value["counts"], value["reencoded"]) == (22, manifest.counts, 0)


@pytest.mark.parametrize("keep", [0, 100])
def test_truncated_shard_is_refused_by_name(data, keep):
    shard = first_shard(data)
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"{shard.name}: has {keep} bytes of"):
        open_dataset(data)


def test_missing_shard_is_refused_by_name(data):
    first_shard(data).unlink()
    with pytest.raises(UserError, match=f"{first_shard(data).name[:-14]}.* is missing"):
        open_dataset(data)


@pytest.mark.parametrize("schema", [0, 2, None])
def test_record_of_another_schema_is_refused(data, schema):
    toy.change_manifest(data, schema=schema)
    with pytest.raises(UserError, match=f"schema {schema}.*this version reads 1"):
        open_dataset(data)


def test_missing_folder_and_folder_without_manifest_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no manifest\.json"):
        open_dataset(tmp_path)


def test_broken_manifest_is_refused(data):
    (data / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        open_dataset(data)


def test_task_without_labels_is_refused_with_the_nearest(toy_data):
    with pytest.raises(UserError, match="no label of task 'dept'; did you mean 'depth'"):
        open_dataset(toy_data).require([Depth("dept")])


def test_some_of_the_tasks_are_enough_where_that_is_asked_for(toy_data):
    dataset = open_dataset(toy_data)
    dataset.require([toy.STUFF, Depth("other")], some=True)
    with pytest.raises(UserError, match="other"):
        dataset.require([toy.STUFF, Depth("other")])
    with pytest.raises(UserError, match="other"):
        dataset.require([Depth("other")], some=True)


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (Segmentation("stuff", ("wall", "rest", "floor")), "class_names"),
        (Depth("depth", "affine_inverse"), "convention"),
        (Depth("stuff"), "kind"),
    ],
)
def test_labels_of_another_meaning_are_refused_naming_the_field(toy_data, task, field):
    with pytest.raises(UserError, match=f"'{task.name}' has {field}"):
        open_dataset(toy_data).require([task])


def test_other_thresholds_are_no_other_labels(toy_data):
    open_dataset(toy_data).require([dataclasses.replace(toy.THINGS, min_score=0.9, max_boxes=3)])
