"""Our records are read as they were written, with their labels; damaged records are quarantined."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record, open_dataset, serialize
from must_tf.sources import open_source


def test_records_are_read_shard_by_shard_with_their_labels(toy_data):
    source = open_source(toy_data, images_per_shard=3)
    dataset = open_dataset(toy_data)
    assert source.count == 22 and source.tasks == dataset.manifest.tasks and len(source.shards) == 2
    shards = [list(shard()) for shard in pickle.loads(pickle.dumps(source.shards))]
    found = [record for shard in shards for record in shard]
    stored = tf.data.TFRecordDataset(dataset.paths).as_numpy_iterator()
    assert [serialize(record, toy.TASKS) for record in found] == list(stored)
    assert shards[1][0].name == f"{dataset.paths[1]}: record 0"


def test_teachers_of_the_manifest_are_kept(data):
    toy.change_manifest(data, teachers={"a": {"path": "b"}})
    assert open_source(data).teachers == {"a": {"path": "b"}}


def test_listing_changes_with_the_bytes(tmp_path):
    listings = set()
    for seed in (0, 0, 1):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        toy.write_dataset(folder, toy.toy_records(4, seed=seed))
        listings.add(open_source(folder).listing)
    assert len(listings) == 2


def test_copies_of_an_image_are_kept(tmp_path):
    image = toy.random_image(np.random.default_rng(0), 8, 8)
    toy.write_dataset(tmp_path / "data", [toy.record(image, {"scene": 1})] * 4, num_shards=1)
    (shard,) = open_source(tmp_path / "data").shards
    assert [type(entry) for entry in shard()] == [Record] * 4


def test_rest_of_a_damaged_shard_is_quarantined(data):
    path = Path(open_dataset(data).paths[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    whole = open_dataset(data).manifest.shards[0].count
    entries = list(open_source(data).shards[0]())
    bad = [number for number, entry in enumerate(entries) if isinstance(entry, Quarantined)]
    assert len(entries) == whole and bad == list(range(bad[0], whole))
    assert [entries[number].name for number in bad] == [f"{path}: record {number}" for number in bad]


def test_only_records_without_the_keys_are_quarantined(data):
    path = open_dataset(data).paths[0]
    frames = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    frames[1], frames[3] = b"", b"\xff no example"
    frames[4] = frames[4].replace(b"scene/origin", b"scene/\xffrigin")  # TensorFlow takes it for another feature
    with tf.io.TFRecordWriter(path) as writer:
        for frame in frames:
            writer.write(frame)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["shards"][0]["bytes"] = Path(path).stat().st_size
    toy.change_manifest(data, shards=manifest["shards"])
    entries = list(open_source(data).shards[0]())
    assert [number for number, entry in enumerate(entries) if isinstance(entry, Quarantined)] == [1, 3, 4]
    assert len(entries) == len(frames)
    assert all(
        "\n" not in entries[number].reason and "is not a record of these tasks" in entries[number].reason
        for number in (1, 3, 4)
    )


def test_record_whose_image_tensorflow_cannot_decode_is_quarantined(tmp_path):
    records = [toy.record(np.full((8, 8 + i, 3), i, np.uint8), {"scene": 1}) for i in range(3)]
    records[1].encoded = records[1].encoded[:50]
    records[2].height = 9
    toy.write_dataset(tmp_path / "data", records, num_shards=1)
    whole, cut, other = open_source(tmp_path / "data").shards[0]()
    assert whole.seen.shape == (8, 8, 3)
    assert isinstance(cut, Quarantined) and "record 1" in cut.name and cut.reason.startswith("cannot be decoded: ")
    assert other.reason == "is not a record of these tasks: Decode: an image or a map of 8x10; the record says 9x10"


def test_unfinished_dataset_is_refused(data):
    Path(open_dataset(data).paths[1]).unlink()
    with pytest.raises(UserError, match="is missing"):
        open_source(data)


def test_slices_of_records_keep_films_whole(tmp_path):
    records = [toy.record(np.full((8, 8, 3), 10 * film + frame, np.uint8)) for film in range(6) for frame in range(3)]
    for number, record in enumerate(records):
        record.filename = f"{number // 3}.mkv/{number % 3:08}.jpg"
    toy.write_dataset(tmp_path / "data", records, [], 1)
    parts = [open_source(f"{tmp_path / 'data'}{part}") for part in ("[:50%]", "[50%:]")]
    films = [{one.filename[0] for shard in part.shards for one in shard() if isinstance(one, Record)} for part in parts]
    assert films[0] and films[1] and not films[0] & films[1] and len(films[0] | films[1]) == 6
