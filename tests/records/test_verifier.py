import json
import struct

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.records import Plan, Shards, finish, open_dataset, serialize, verify, write_shard
from must_tf.records.schema import to_example
from must_tf.storage import sha256
from must_tf.tasks import Classification


def test_sound_dataset_passes_and_is_counted(toy_data):
    dataset = open_dataset(toy_data)
    findings = verify(dataset)
    assert findings.problems == []
    assert findings.records == 22 == sum(findings.sizes.values())
    assert set(findings.sizes) == {f"{height}x{width}" for height, width in toy.SIZES}
    assert findings.labels == dataset.manifest.counts
    boxes = [len(record.labels["things"]["boxes"]) for record in toy.toy_records(22) if "things" in record.labels]
    assert findings.statistics["things"]["boxes"] == sum(boxes)
    assert sum(findings.statistics["stuff"].values()) == pytest.approx(findings.labels["stuff"]["human"])


def test_copies_of_an_image_are_counted_over_all_shards(tmp_path):
    images = [np.full((8, 8, 3), value, np.uint8) for value in (0, 1, 2, 1, 0, 1)]
    toy.write_dataset(
        tmp_path / "d", [toy.record(image) for image in images], [toy.SCENE], num_shards=2
    )  # 0 2 0, 1 1 1
    findings = verify(open_dataset(tmp_path / "d"))
    assert findings.problems == [] and findings.copies == 3
    assert findings.pair == tuple(f"record {i} of toy-train.tfrecord-00000-of-00002" for i in (0, 2))


def test_place_of_a_copy_is_known_beside_shards_that_are_gone_or_damaged(tmp_path):
    images = [np.full((8, 8, 3), value, np.uint8) for value in (0, 1, 2, 3, 4, 0)]
    toy.write_dataset(tmp_path / "d", [toy.record(image) for image in images], [toy.SCENE], num_shards=6)
    shards = sorted((tmp_path / "d").glob("*.tfrecord-*"))
    shards[1].unlink()
    shards[2].write_bytes(shards[2].read_bytes()[:-9])
    findings = verify(open_dataset(tmp_path / "d", whole=False))
    assert (findings.copies, findings.pair) == (1, (f"record 0 of {shards[0].name}", f"record 0 of {shards[5].name}"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9999])
def test_flipped_byte_is_found(data, share):
    dataset = open_dataset(data)
    shard = data / dataset.manifest.shards[1].name
    content = bytearray(shard.read_bytes())
    content[int(share * len(content))] ^= 0x10
    shard.write_bytes(content)
    problems = verify(dataset).problems
    assert any(shard.name in problem and "SHA-256" in problem for problem in problems)
    assert not any(dataset.manifest.shards[0].name in problem for problem in problems)


def test_wrong_count_is_found(data):
    value = json.loads((data / "manifest.json").read_text())
    value["shards"][0]["count"] += 1
    (data / "manifest.json").write_text(json.dumps(value))
    assert any("11 records, the manifest says 12" in problem for problem in verify(open_dataset(data)).problems)


def test_wrong_label_count_is_found(data):
    value = json.loads((data / "manifest.json").read_text())
    value["shards"][0]["labels"]["depth"]["human"] -= 1
    (data / "manifest.json").write_text(json.dumps(value))
    assert any("labels" in problem and "depth" in problem for problem in verify(open_dataset(data)).problems)


def write_one(folder, change):
    """A dataset with one record that something is wrong with."""
    record = toy.record(np.zeros((8, 6, 3), np.uint8), {"scene": 1})
    change(record)
    toy.write_dataset(folder, [record], [toy.SCENE], num_shards=1)
    return verify(open_dataset(folder)).problems


def test_wrong_size_in_a_record_is_found(tmp_path):
    problems = write_one(tmp_path / "d", lambda record: setattr(record, "height", 9))
    assert len(problems) == 1 and "is 8x6, the record says 9x6" in problems[0]


def test_undecodable_image_is_found(tmp_path):
    problems = write_one(tmp_path / "d", lambda record: setattr(record, "encoded", record.encoded[:40]))
    assert problems and "record 0" in problems[0]


def test_sound_bytes_in_the_middle_of_nowhere_are_no_record(data):
    """A record whose length is right and whose checksum is not."""
    dataset = open_dataset(data)
    shard = data / dataset.manifest.shards[0].name
    payload = serialize(toy.toy_records(1)[0], toy.TASKS)
    fake = struct.pack("<QI", len(payload), 0) + payload + struct.pack("<I", 0)
    shard.write_bytes(fake + shard.read_bytes()[len(fake) :])
    assert any("record 0" in problem for problem in verify(dataset).problems)


def test_problems_of_one_shard_are_capped(tmp_path):
    records = [toy.record(np.zeros((8, 6, 3), np.uint8), {"scene": 1}, "nobody") for _ in range(50)]
    toy.write_dataset(tmp_path / "d", records, [toy.SCENE], num_shards=1)
    problems = verify(open_dataset(tmp_path / "d")).problems
    assert len(problems) < 30 and "more problems" in problems[-1] and "nobody" in problems[0]


def write_damaged(folder, task, label, change):
    """A dataset with one record of one label, whose features were changed under a sound checksum."""
    record = toy.record(np.zeros((8, 6, 3), np.uint8), {task.name: label})
    example = to_example(record, [task])
    change(example.features.feature)
    plan = Plan(folder, "toy", "train", (task,), 1, {})
    write_shard(plan, 0, [record])
    with tf.io.TFRecordWriter(str(plan.shard(0))) as writer:
        writer.write(example.SerializeToString())
    finish(plan)
    dataset = open_dataset(folder, whole=False)
    shard = dataset.manifest.shards[0]
    shard.bytes, shard.sha256 = plan.shard(0).stat().st_size, sha256(plan.shard(0))
    dataset.manifest.shards = Shards([shard])
    return verify(dataset)


def set_bytes(key, value):
    return lambda features: features[key].bytes_list.value.__setitem__(0, value)


def set_list(key, kind, values):
    return lambda features: getattr(features[key], kind).value.__setitem__(slice(None), values)


TAGS = Classification("tags", ("a", "b", "c"), multi_label=True)
MASK, FACING = np.zeros((8, 6), int), np.tile((0, 0, -1.0), (8, 6, 1))
BOX = {"boxes": np.array([[0.1, 0.1, 0.5, 0.5]]), "classes": np.array([1])}
SMALL, STRANGE = toy.png(np.zeros((4, 4), np.uint8)), toy.png(np.full((8, 6), 9, np.uint8))


@pytest.mark.parametrize(
    ("task", "label", "change", "words"),
    [
        (toy.SCENE, 1, set_list("scene/label", "int64_list", [7]), "no label in range"),
        (toy.SCENE, np.full(3, 1 / 3), set_bytes("scene/probs", b"1234"), "cannot be decoded"),
        (toy.SCENE, np.full(3, 1 / 3), set_bytes("scene/probs", b"\x00\x7e" * 3), "non-finite"),
        (toy.SCENE, 1, set_bytes("scene/origin", b"nobody"), "origin 'nobody'"),
        (toy.SCENE, 1, lambda features: features.pop("scene/origin"), "without an origin"),
        (toy.SCENE, 1, lambda features: features.pop("image/id"), "image/id"),
        (toy.SCENE, 1, set_bytes("image/format", b"JPEG"), "'JPEG'"),
        (toy.SCENE, 1, set_bytes("image/encoded", b"no image"), "record 0: "),
        (toy.SCENE, 1, set_list("image/height", "int64_list", [2**40]), "the record says 1099511627776x6"),
        (TAGS, np.eye(3)[0], set_bytes("tags/probs", b"\x00\x40" * 3), "outside [0, 1]"),
        (TAGS, np.eye(3)[0] > 0, set_list("tags/label", "int64_list", [3]), "cannot be decoded"),
        (toy.THINGS, BOX, set_list("things/box/class", "int64_list", [2]), "classes {2}"),
        (toy.THINGS, BOX, set_list("things/box/class", "int64_list", [-1]), "classes {-1}"),
        (toy.THINGS, BOX, set_list("things/box/class", "int64_list", [1, 1]), "another length"),
        (toy.THINGS, BOX, set_list("things/box/ymin", "float_list", [0.1, 0.2]), "cannot be decoded"),
        (toy.THINGS, BOX, set_list("things/box/ymin", "float_list", [-1.0]), "outside [0, 1]"),
        (toy.THINGS, BOX, set_list("things/box/score", "float_list", [np.nan]), "not finite"),
        (toy.STUFF, MASK, set_bytes("stuff/mask/encoded", SMALL), "a map of 4x4 on an image of 8x6"),
        (toy.STUFF, MASK, set_bytes("stuff/mask/encoded", STRANGE), "classes [9] in the mask, of 3"),
        (toy.STUFF, MASK, set_bytes("stuff/mask/encoded", b"no mask"), "cannot be decoded"),
        (toy.DEPTH, MASK + 2.0, set_bytes("depth/depth/encoded", SMALL), "a map of 4x4"),
        (toy.DEPTH, MASK + 2.0, set_bytes("depth/depth/kind", b"affine_inverse"), "convention"),
        (toy.DEPTH, MASK + 2.0, set_list("depth/depth/scale", "float_list", [np.nan]), "out of range"),
        (toy.NORMALS, FACING, set_bytes("normals/normals/encoded", SMALL), "a map of 4x4"),
    ],
)
def test_what_is_wrong_under_a_sound_checksum_is_told(tmp_path, task, label, change, words):
    findings = write_damaged(tmp_path / "d", task, label, change)
    assert len(findings.problems) == 1 and words in findings.problems[0], findings.problems
    assert "toy-train.tfrecord-00000-of-00001: record 0: " in findings.problems[0] and findings.records == 1


def test_every_record_is_seen_once_and_as_it_was_written(toy_data):
    seen = {}
    dataset = open_dataset(toy_data)
    findings = verify(dataset, seen.__setitem__)
    assert list(seen) == list(range(22))
    for record, again in zip(seen.values(), dataset.records(), strict=True):
        assert (record.id, record.encoded, record.origins) == (again.id, again.encoded, again.origins)
        assert record.labels.keys() == again.labels.keys()
    assert findings.image_bytes == sum(len(record.encoded) for record in seen.values())


def test_histograms_add_up_and_labels_have_sizes(toy_data):
    findings = verify(open_dataset(toy_data))
    labels = {name: sum(origins.values()) for name, origins in findings.labels.items()}
    boxes = findings.histograms["things"]
    assert sum(boxes["score"].values()) == findings.statistics["things"]["boxes"]
    assert sum(boxes["boxes per image"].values()) == labels["things"]
    for name in ("depth", "normals"):
        for counts in findings.histograms[name].values():
            assert sum(counts.values()) == pytest.approx(labels[name])
    assert all(findings.label_bytes[name] > 0 for name in labels)
    assert findings.image_bytes + sum(findings.label_bytes.values()) < sum(
        path.stat().st_size for path in toy_data.glob("*.tfrecord-*")
    )
