import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.records import (
    Audits,
    Plan,
    Quarantined,
    Sample,
    Stratum,
    check_folder,
    finish,
    open_dataset,
    pending,
    read_manifest,
    verify,
    write_shard,
)


def plan(folder, **fields):
    values = {"name": "toy", "split": "train", "tasks": toy.TASKS, "num_shards": 3, "source": {"seed": 0, "size": 64}}
    return Plan(Path(folder), **values | fields)


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def records():
    return toy.toy_records(7)


@pytest.fixture(scope="module")
def whole(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "d"
    toy.write_dataset(folder, records, num_shards=3, source={"seed": 0, "size": 64})
    return folder


def test_same_records_give_the_same_bytes(records, whole, tmp_path):
    toy.write_dataset(tmp_path / "d", records, num_shards=3, source={"seed": 0, "size": 64})
    assert files(tmp_path / "d") == files(whole)


def test_dataset_that_was_killed_half_way_is_finished_with_the_same_bytes(records, whole, tmp_path):
    unfinished = plan(tmp_path / "d")
    assert pending(unfinished) == [0, 1, 2]
    write_shard(unfinished, 1, records[1::3])

    def killed():
        yield records[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(unfinished, 0, killed())
    assert pending(plan(tmp_path / "d")) == [0, 2]
    for index in (2, 0):
        write_shard(unfinished, index, records[index::3])
    assert pending(unfinished) == []
    finish(unfinished)
    assert files(tmp_path / "d") == files(whole)


def test_what_has_its_final_name_is_whole(records, tmp_path):
    unfinished = plan(tmp_path / "d")
    pending(unfinished)

    def watched():
        for record in records:
            assert not unfinished.shard(0).exists()
            yield record

    write_shard(unfinished, 0, watched())
    assert unfinished.shard(0).exists()


def test_finished_dataset_has_nothing_pending_and_no_other_files(whole):
    assert pending(plan(whole)) == []
    shards = {f"toy-train.tfrecord-0000{i}-of-00003" for i in range(3)}
    assert set(files(whole)) == shards | {"manifest.json", ".plan.json", "dataset_info.json", "features.json"}


def test_finished_shard_that_was_deleted_is_pending(whole, tmp_path, records):
    folder = shutil.copytree(whole, tmp_path / "d")
    plan(folder).shard(1).unlink()
    assert pending(plan(folder)) == [1]
    write_shard(plan(folder), 1, records[1::3])
    finish(plan(folder))
    assert files(folder) == files(whole)


def test_audits_stay_when_a_shard_is_made_again(whole, tmp_path, records):
    """Also after a kill once the manifest is gone."""
    folder = shutil.copytree(whole, tmp_path / "d")
    again, manifest = plan(folder), read_manifest(folder)
    manifest.audits = Audits({"scene": Sample("labels", 0, "audit", (Stratum(("a",), 7, (2, 4)),))})
    manifest.write(folder)
    before = files(folder)
    again.shard(1).unlink()
    assert pending(again) == [1] and not (folder / "manifest.json").exists() and pending(again) == [1]
    write_shard(again, 1, records[1::3])
    finish(again)
    assert files(folder) == before


def test_a_sample_of_records_that_are_gone_leaves_the_dataset_readable(whole, tmp_path, records):
    folder = shutil.copytree(whole, tmp_path / "d")
    again, manifest = plan(folder), read_manifest(folder)

    def sampled(number):
        return Audits({"scene": Sample(manifest.fingerprint, 0, "audit", (Stratum(("a",), 7, (number,)),))})

    manifest.audits = sampled(6)
    manifest.write(folder)
    again.shard(0).unlink()
    assert pending(again) == [0]
    write_shard(again, 0, records[0:6:3])  # without the last image, which cannot be read any more
    finish(again)
    assert read_manifest(folder).count == 6 and read_manifest(folder).audits == manifest.audits
    manifest.audits = sampled(7)
    manifest.write(folder)
    with pytest.raises(UserError, match="audits: record 7 of 'scene'; expected 0 to 6; the manifest is damaged"):
        read_manifest(folder, whole=False)


def test_notes_that_a_kill_left_beside_the_manifest_go(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "d")
    (folder / f".{plan(folder).shard(2).name}.json").write_text("{}")
    assert pending(plan(folder)) == [] and files(folder) == files(whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"source": {"seed": 0, "size": 96}}, "(size: 64, now 96)"),
        ({"num_shards": 4}, "(num_shards: 3, now 4)"),
        ({"tasks": toy.TASKS[:4]}, '(tasks.normals: {"kind": "normals", "name": "normals"}, now nothing)'),
        (
            {"split": "test", "num_shards": 4, "source": {}},
            '(split: "train", now "test"; num_shards: 3, now 4 and 2 more)',
        ),
        ({"source": {"seed": 0, "size": 64, "flip": True}}, "(flip: nothing, now true)"),
    ],
)
def test_other_arguments_are_refused_and_the_difference_is_named(whole, change, named):
    with pytest.raises(UserError, match=re.escape(named)):
        pending(plan(whole, **change))


def test_some_arguments_are_compared_before_the_others_are_known(whole, tmp_path):
    for folder in (whole, tmp_path, tmp_path / "none"):
        check_folder(folder, {"size": 64}, some=True)
    with pytest.raises(UserError, match="size: 64, now 96"):
        check_folder(whole, {"size": 96}, some=True)


def test_arguments_that_hold_a_task_of_a_former_version_are_the_same_twice(tmp_path):
    task = {"kind": "detection", "name": "things", "class_names": ["chair"]}  # of a manifest that is selected from
    made = plan(tmp_path / "d", source={"from": {"a": {"teachers": {"t": {"task": task}}}}})
    assert pending(made) == pending(made) == [0, 1, 2]


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="other files"):
        pending(plan(tmp_path))


def test_unfinished_dataset_cannot_be_opened(records, tmp_path):
    pending(plan(tmp_path / "d"))
    write_shard(plan(tmp_path / "d"), 0, records)
    with pytest.raises(UserError, match="not finished"):
        open_dataset(tmp_path / "d")


def test_manifest_counts_what_is_there(records, whole):
    manifest = open_dataset(whole).manifest
    assert manifest.count == len(records) == sum(shard.count for shard in manifest.shards)
    for task in toy.TASKS:
        have = sum(task.name in record.labels for record in records)
        assert sum(manifest.counts[task.name].values()) == have < len(records)


def test_quarantined_and_reencoded_inputs_are_counted(records, tmp_path):
    unfinished = plan(tmp_path / "d", num_shards=1)
    pending(unfinished)
    changed = toy.record(np.zeros((4, 4, 3), np.uint8))
    changed.reencoded = True
    shard = write_shard(unfinished, 0, [records[0], Quarantined("a.jpg", "broken"), changed])
    assert (shard.count, shard.reencoded, shard.quarantined) == (2, 1, [{"name": "a.jpg", "reason": "broken"}])
    assert finish(unfinished).quarantined == [{"name": "a.jpg", "reason": "broken"}]


@pytest.mark.parametrize("task", [toy.STUFF, toy.DEPTH, toy.NORMALS], ids=lambda task: task.name)
def test_map_without_a_valid_pixel_counts_as_no_label(task, tmp_path):
    nothing = {"stuff": np.full((8, 8), 255), "depth": np.full((8, 8), np.nan), "normals": np.zeros((8, 8, 3))}
    image = np.zeros((8, 8, 3), np.uint8)
    manifest = toy.write_dataset(
        tmp_path / "d", [toy.record(image, {task.name: nothing[task.name]})], [task], num_shards=1
    )
    assert manifest.counts == {task.name: {}}
    assert manifest.warnings == [f"1 image: {task.name}: a label without a valid pixel, which is none"]
    assert verify(open_dataset(tmp_path / "d")).problems == []


def boxes(*rows):
    return {"boxes": np.reshape(rows, (-1, 4)).astype(np.float32), "classes": np.zeros(len(rows), int)}


@pytest.mark.parametrize("answer", [bool, np.bool_])  # as a kind of others may give it
def test_labels_that_say_that_nothing_is_there_are_counted(tmp_path, monkeypatch, answer):
    own = type(toy.THINGS).is_empty
    monkeypatch.setattr(type(toy.THINGS), "is_empty", lambda task, label: answer(own(task, label)))
    image = np.zeros((8, 8, 3), np.uint8)
    labels = [{"things": boxes()}, {"things": boxes((0, 0, 1, 1)), "scene": 0}, {}]
    records = [toy.record(image + number, label) for number, label in enumerate(labels)]
    manifest = toy.write_dataset(tmp_path / "d", records, [toy.THINGS, toy.SCENE], num_shards=2)
    assert manifest.counts == {"things": {"human": 2}, "scene": {"human": 1}}
    assert manifest.empty == open_dataset(tmp_path / "d").manifest.empty == {"things": {"human": 1}, "scene": {}}


def test_manifest_of_a_version_that_did_not_count_them_opens(whole, tmp_path):
    import shutil

    folder = shutil.copytree(whole, tmp_path / "d")
    value = json.loads((folder / "manifest.json").read_text())
    for shard in value["shards"]:
        del shard["empty"]
    (folder / "manifest.json").write_text(json.dumps(value))
    old, new = (open_dataset(where).manifest for where in (folder, whole))
    assert old == dataclasses.replace(new, shards=[dataclasses.replace(shard, empty={}) for shard in new.shards])


def test_label_that_was_encoded_before_is_stored_as_it_is(records, whole, tmp_path, monkeypatch):
    known = [dataclasses.replace(record, features={}) for record in records]
    for record in known:
        record.features = {
            task.name: task.encode(record.labels[task.name]) for task in toy.TASKS if task.name in record.labels
        }
    for task in toy.TASKS:
        monkeypatch.setattr(type(task), "encode", None)  # a call of it would fail
    toy.write_dataset(tmp_path / "d", known, num_shards=3, source={"seed": 0, "size": 64})
    assert files(tmp_path / "d") == files(whole)


def test_tensorflow_datasets_reads_the_folder(records, whole):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(whole)
    assert builder.info.splits["train"].num_examples == len(records)
    found = {e["image"]["id"]: e for e in tfds.as_numpy(builder.as_dataset(split="train"))}
    assert len(found) == len(records)
    for record in records:
        example = found[record.id.encode()]
        assert example["image"]["encoded"].shape == (record.height, record.width, 3)
        boxes = record.labels.get("things", {"classes": []})["classes"]
        assert list(example["things"]["box"]["class"]) == list(boxes)
