"""The images of TFRecords in Model Garden's format are read; damaged records are quarantined."""

import io
import pickle

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.records import Quarantined, Record
from must_tf.sources import open_source


def jpeg(seed):
    buffer = io.BytesIO()
    Image.fromarray(toy.random_image(np.random.default_rng(seed), 24, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def example(image, **features):
    """Returns an example with the keys of Model Garden's `create_coco_tf_record.py`."""
    values = {"image/encoded": image, "image/format": b"jpeg", "image/source_id": b"139", **features}
    made = tf.train.Example()
    for key, value in values.items():
        made.features.feature[key].bytes_list.value.append(value)
    made.features.feature["image/height"].int64_list.value.append(24)
    made.features.feature["image/object/bbox/ymin"].float_list.value.extend([0.1, 0.2])
    made.features.feature["image/object/class/label"].int64_list.value.extend([1, 7])
    return made.SerializeToString()


def write(path, frames):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for frame in frames:
            writer.write(frame)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with three files of 4, 3 and 5 records."""
    for file, count in enumerate((4, 3, 5)):
        frames = [example(jpeg(10 * file + i)) for i in range(count)]
        write(tmp_path / f"train-{file:05d}-of-00003.tfrecord", frames)
    return tmp_path


def entries(source):
    return [list(shard()) for shard in source.shards]


def test_each_file_is_a_shard_whose_images_keep_their_bytes(folder):
    source = open_source(f"tfrecord:{folder}/train-*")
    shards = entries(pickle.loads(pickle.dumps(source)))
    assert [len(shard) for shard in shards] == [4, 3, 5] and source.tasks == () and source.teachers == {}
    assert abs(source.count - 12) <= 2
    assert [record.encoded for record in shards[0]] == [jpeg(i) for i in range(4)]
    first = shards[0][0]
    assert first.name == f"{folder}/train-00000-of-00003.tfrecord: record 0 (139)" and first.labels == {}
    assert (first.height, first.width, first.format) == (24, 40, "JPEG")


def test_one_file_is_counted_exactly(folder):
    assert open_source(f"tfrecord:{folder}/train-00002*").count == 5


def test_listing_changes_with_names_and_sizes(folder):
    where = f"tfrecord:{folder}/train-*"
    before = open_source(where).listing
    assert before == open_source(where).listing
    write(folder / "train-00001-of-00003.tfrecord", [example(jpeg(1))])
    assert before != open_source(where).listing


@pytest.mark.parametrize("damage", ["flip in the image", "flip in the length", "cut"])
def test_rest_of_a_damaged_file_is_quarantined(folder, damage):
    path = folder / "train-00002-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    lengths = [len(frame) + 16 for frame in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    start = sum(lengths[:2])
    if damage == "cut":
        data = data[: start + 50]
    else:
        data[start + (200 if damage == "flip in the image" else 0)] ^= 1
    path.write_bytes(data)
    shard = entries(open_source(f"tfrecord:{folder}/train-*"))[2]
    assert [type(entry) for entry in shard[:3]] == [Record, Record, Quarantined]
    assert len(shard) == (3 if damage == "cut" else len(lengths)) and isinstance(shard[-1], Quarantined)
    assert shard[2].name == f"{path}: record 2"
    assert shard[2].reason.startswith("is cut short" if damage == "cut" else "corrupted record")
    assert "\n" not in shard[2].reason and "Op:" not in shard[2].reason


def test_number_of_quarantined_records_is_the_number_lost(tmp_path):
    path = tmp_path / "a"
    write(path, [example(jpeg(number)) for number in range(20)])
    whole = path.read_bytes()
    lengths = [len(frame) + 16 for frame in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    source, start = open_source(f"tfrecord:{path}"), sum(lengths[:5])

    def lost(place):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        return sum(isinstance(entry, Quarantined) for shard in source.shards for entry in shard())

    assert lost(start + 300) == 15  # damage in an image: the lengths are intact
    assert lost(start + 7) == pytest.approx(15, abs=2)  # damage in a length: estimated from the remaining bytes


def test_records_without_a_readable_image_are_quarantined_one_by_one(tmp_path):
    frames = [example(jpeg(0)), b"\xff\xff no example", tf.train.Example().SerializeToString(), example(b"")]
    write(tmp_path / "a", [*frames, example(jpeg(0)[:-60]), example(jpeg(0)), example(jpeg(1))])
    (shard,) = entries(open_source(f"tfrecord:{tmp_path}/a"))
    reasons = [getattr(entry, "reason", None) for entry in shard]
    assert reasons[0] is None and reasons[6] is None
    assert reasons[1] == reasons[2] == "is not a tf.train.Example with image/encoded"
    assert reasons[3] == "is empty" and "truncated" in reasons[4].lower()
    assert reasons[5] == f"duplicate of {tmp_path}/a: record 0 (139)"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "without a record"),
        (["other"], r"have no image/encoded \(they have other\)"),
        ([b"\xff\xff"], "no feature of bytes"),
        (None, "is not a TFRecord, or damaged from the start"),
    ],
)
def test_files_of_another_format_are_refused_in_one_line(tmp_path, frames, message):
    if frames == ["other"]:
        made = tf.train.Example()
        made.features.feature["other"].bytes_list.value.append(b"x")
        frames = [made.SerializeToString()]
    path = tmp_path / "a.tfrecord"
    write(path, frames) if frames is not None else path.write_bytes(b"plain text, not a record at all")
    with pytest.raises(UserError, match=message) as caught:
        open_source(f"tfrecord:{path}")
    assert "\n" not in str(caught.value)


def test_empty_file_among_others_is_an_empty_shard(folder):
    write(folder / "train-00000-of-00003.tfrecord", [])
    assert [len(shard) for shard in entries(open_source(f"tfrecord:{folder}/train-*"))] == [0, 3, 5]
