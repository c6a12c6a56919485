import json
import struct

import numpy as np
import pytest
import toy

from must_tf.records import open_dataset, serialize, verify


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
