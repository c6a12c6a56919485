"""The images of TFRecords in Model Garden's format are read; damaged records are quarantined."""

import io
import pickle

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import Quarantined, Record, open_dataset
from must_tf.sources import open_source, tfrecord
from must_tf.sources.tfrecord_features import read_label_map


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


def test_labels_that_the_first_records_lack_are_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord, "_SAMPLE", 2)
    late = example(jpeg(2), **{"image/segmentation/class/encoded": b"png"})
    write(tmp_path / "a", [example(jpeg(0)), example(jpeg(1)), late])
    (records,) = entries(open_source(f"tfrecord:{tmp_path}/a"))
    said = "has image/segmentation/class/encoded, unlike the first records: not read"
    assert [record.notes for record in records] == [[], [], [said]]


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


def boxed(image, boxes, ids, **lists):
    """Returns an example with boxes (ymin, xmin, ymax, xmax) as the Object Detection API's tools write it."""
    made = tf.train.Example.FromString(example(image))
    for side, values in zip(
        ("ymin", "xmin", "ymax", "xmax"), zip(*boxes, strict=True) if boxes else [[]] * 4, strict=True
    ):
        made.features.feature[f"image/object/bbox/{side}"].float_list.ClearField("value")
        made.features.feature[f"image/object/bbox/{side}"].float_list.value.extend(values)
    made.features.feature["image/object/class/label"].int64_list.ClearField("value")
    for key, values in {"class/label": ids, **lists}.items():
        made.features.feature[f"image/object/{key}"].int64_list.value.extend(values)
    return made.SerializeToString()


LABEL_MAP = """item {
  name: "/m/01"
  id: 7
  display_name: "person"
}
item { id: 3, name: 'the cat' }
"""
BOX, OTHER = (0.25, 0.5, 0.75, 1.0), (0.0, 0.0, 0.5, 0.25)


def test_boxes_are_read_with_the_names_of_the_label_map(tmp_path):
    frames = [
        boxed(jpeg(0), [BOX, OTHER, OTHER], [7, 3, 3], difficult=[0, 1, 0], is_crowd=[0, 0, 1]),
        boxed(jpeg(1), [], []),
        example(jpeg(2)),
    ]
    write(tmp_path / "a.tfrecord", frames)
    source = open_source(f"tfrecord:{tmp_path}/*.tfrecord")
    assert source.tasks == () and "put the .pbtxt beside the files" in source.warnings[0]
    with pytest.raises(UserError, match=r"has no labels, so a teacher must .*; .*put the \.pbtxt beside the files"):
        label(f"tfrecord:{tmp_path}/*.tfrecord", (), tmp_path / "out")
    (tmp_path / "objects_label_map.pbtxt").write_text(LABEL_MAP)
    for pattern in ("*.tfrecord", "*"):
        source = pickle.loads(pickle.dumps(open_source(f"tfrecord:{tmp_path}/{pattern}")))
        (task,) = source.tasks
        assert (task.name, task.class_names) == ("tfrecord_detection", ("the cat", "person"))
        first, empty, without = entries(source)[0]
        found = first.labels[task.name]
        np.testing.assert_allclose(found["boxes"], [BOX, OTHER, OTHER], atol=1e-6)
        assert found["classes"].tolist() == [1, 0, 0] and found["ignore"].tolist() == [0, 1, 2]
        assert len(empty.labels[task.name]["boxes"]) == 0 and empty.origins == {task.name: "human"}
        assert without.labels == {} and "without a label" in without.notes[0]


@pytest.mark.parametrize(
    ("boxes", "ids", "said"),
    [
        ([BOX], [5], "image/object/class/label: 5, which the label map does not have"),
        ([BOX], [7, 7], "sides of boxes, and 2 values"),
        ([(6, 20, 18, 40)], [7], "expected fractions from 0 to 1"),
        ([(0.5, 0.5, 0.2, 1)], [7], "a minimum above its maximum"),
        ([BOX], [7], "image/object/class/text: 'the cat', where the label map has 'person' for the id beside it"),
        ([BOX, BOX], [3, 3], "image/object/difficult: 1 values, expected 2, one per object, or none"),
    ],
)
def test_wrong_boxes_are_quarantined(tmp_path, boxes, ids, said):
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    texts = {"image/object/class/text": [b"the cat"] * len(ids)}
    frames = [
        with_bytes(boxed(jpeg(0), [OTHER], [3]), "image/object/class/text", [b"a name of other makers"]),
        with_bytes(boxed(jpeg(1), boxes, ids, difficult=[0]), *texts.popitem()),
    ]
    write(tmp_path / "a.tfrecord", frames)
    ((good, bad),) = entries(open_source(f"tfrecord:{tmp_path}/a.tfrecord"))
    assert isinstance(good, Record) and isinstance(bad, Quarantined) and said in bad.reason


def test_names_in_a_label_map_may_have_quotes(tmp_path):
    text = """item { id: 1 name: "bird's nest" }  item { id: 2 name: 'a "b"' }  item { id: 3 name: 'it\\'s' }"""
    (tmp_path / "map.pbtxt").write_text(text)
    assert read_label_map(tmp_path / "map.pbtxt") == {1: "bird's nest", 2: 'a "b"', 3: "it's"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no item"),
        ("item { id: 1 }", "expected an id and a name"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "is there twice"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'a' }", "is there twice"),
    ],
)
def test_wrong_label_map_is_refused(tmp_path, text, said):
    (tmp_path / "map.pbtxt").write_text(text)
    write(tmp_path / "a.tfrecord", [boxed(jpeg(0), [BOX], [7])])
    with pytest.raises(UserError, match=rf"map\.pbtxt: .*{said}"):
        open_source(f"tfrecord:{tmp_path}/a.tfrecord")
    for name in ("map", "other"):
        (tmp_path / f"{name}.pbtxt").write_text(f"{LABEL_MAP}# {name}")
    with pytest.raises(UserError, match="2 label maps beside it"):
        open_source(f"tfrecord:{tmp_path}/a.tfrecord")


def mask_png(*squares):
    """Returns a mask [24, 40] with 1 inside of (ymin, xmin, ymax, xmax), as the bytes of a PNG."""
    mask = np.zeros((24, 40), np.uint8)
    for ymin, xmin, ymax, xmax in squares:
        mask[ymin:ymax, xmin:xmax] = 1
    return toy.png(mask)


def with_bytes(serialized, key, values):
    made = tf.train.Example.FromString(serialized)
    made.features.feature[key].bytes_list.value.extend(values)
    return made.SerializeToString()


def test_masks_of_objects_become_a_map_of_classes(tmp_path):
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    masks = [mask_png((0, 0, 12, 20)), mask_png((6, 10, 24, 40)), mask_png((0, 30, 4, 40))]
    boxes = boxed(jpeg(0), [BOX, OTHER, OTHER], [7, 3, 3], is_crowd=[0, 0, 1])
    frames = [
        with_bytes(boxes, "image/object/mask", masks),
        boxed(jpeg(1), [], []),
        boxed(jpeg(2), [BOX], [7]),
        with_bytes(boxed(jpeg(3), [BOX], [7]), "image/object/mask", masks[:2]),
        with_bytes(boxed(jpeg(4), [BOX], [7]), "image/object/mask", [toy.png(np.zeros((4, 4), np.uint8))]),
    ]
    write(tmp_path / "a.tfrecord", frames)
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord")
    assert [task.name for task in source.tasks] == ["tfrecord_detection", "tfrecord_segmentation"]
    task = source.tasks[1]
    assert task.class_names == ("the cat", "person", "background")
    first, empty, without, few, small = entries(source)[0]
    expected = np.full((24, 40), 2)
    expected[:12, :20], expected[6:, 10:], expected[6:12, 10:20], expected[:4, 30:] = 1, 0, -1, -1
    assert (first.labels[task.name] == expected).all() and len(first.labels["tfrecord_detection"]["boxes"]) == 3
    assert (empty.labels[task.name] == 2).all()
    assert set(without.labels) == {"tfrecord_detection"} and "without image/object/mask" in without.notes[0]
    assert "2 values of image/object/mask, and 1 of" in few.reason and "a picture of 4x4" in small.reason


def test_classes_and_maps_of_images_are_read(tmp_path):
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    classes = np.array([[7] * 40] * 12 + [[3] * 40] * 10 + [[0] * 40] + [[255] * 40], np.uint8)
    frames = []
    for seed, number in enumerate((7, 3, -1, 9)):
        made = tf.train.Example.FromString(example(jpeg(seed)))
        made.features.feature["image/class/label"].int64_list.value.append(number)
        frames.append(with_bytes(made.SerializeToString(), "image/segmentation/class/encoded", [toy.png(classes)]))
    write(tmp_path / "a.tfrecord", frames)
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord")
    assert [task.name for task in source.tasks] == ["tfrecord_segmentation", "tfrecord_classification"]
    person, cat, without, bad = entries(source)[0]
    rows = person.labels["tfrecord_segmentation"][:, 0].tolist()
    assert rows == [1] * 12 + [0] * 10 + [-1] * 2
    assert [one.labels["tfrecord_classification"] for one in (person, cat)] == [1, 0]
    assert set(without.labels) == {"tfrecord_segmentation"}
    assert "image/class/label: 9, which the label map does not have" in bad.reason


def test_boxes_without_classes_beside_other_labels_are_said_to_be_left_out(tmp_path):
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    made = tf.train.Example.FromString(boxed(jpeg(0), [BOX], []))
    made.features.feature["image/class/label"].int64_list.value.append(7)
    write(tmp_path / "a.tfrecord", [made.SerializeToString()])
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord")
    assert [task.name for task in source.tasks] == ["tfrecord_classification"]
    assert "has boxes without image/object/class/label, which are left out" in source.warnings[0]


def test_corrected_labels_come_back_to_images_by_content_or_name(tmp_path):
    (tmp_path / "photos").mkdir()
    for number, name in enumerate("abc"):
        (tmp_path / f"photos/{name}.jpg").write_bytes(jpeg(number))
    label(tmp_path / "photos", [toy.classifier()], tmp_path / "data")
    (tmp_path / "map.pbtxt").write_text(LABEL_MAP)
    frames = [
        boxed(jpeg(0), [BOX], [7]),
        with_bytes(boxed(jpeg(8), [OTHER], [3]), "image/filename", [b"b.jpg"]),  # saved again
        with_bytes(boxed(jpeg(9), [BOX], [7]), "image/filename", [b"strange.jpg"]),
    ]
    path = write(tmp_path / "corrected.tfrecord", frames)
    manifest = label(tmp_path / "data", (), tmp_path / "out", merge=[f"tfrecord:{path}"], tasks={"boxes": ""})
    assert manifest.counts["boxes"] == {"human": 2} and "'strange.jpg'" in " ".join(manifest.warnings)
    found = {record.filename: record.labels.get("boxes") for record in open_dataset(tmp_path / "out").records()}
    np.testing.assert_allclose(found["a.jpg"]["boxes"], [BOX], atol=1e-6)
    np.testing.assert_allclose(found["b.jpg"]["boxes"], [OTHER], atol=1e-6)
    assert found["b.jpg"]["classes"].tolist() == [0] and found["c.jpg"] is None
    with pytest.raises(UserError, match=r"has no label to merge; .* put the \.pbtxt beside the files"):
        (tmp_path / "map.pbtxt").unlink()
        label(tmp_path / "data", (), tmp_path / "none", merge=[f"tfrecord:{path}"])
