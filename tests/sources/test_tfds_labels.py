"""Labels of TFDS datasets: in miniatures written with TFDS's own features, and for some with TFDS's mock data.

The mock data cannot serve for the others. It gives a box different numbers of sides, classes and flags, which TFDS's
own encoder refuses, and its masks do not have the sizes of their images.
"""

import json
from pathlib import Path

import layouts
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import toy
from tensorflow_datasets.core import constants

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import Record, serialize
from must_tf.sources import open_source
from must_tf.sources.tfds_labels import ADE20K_THINGS
from must_tf.sources.voc import CLASSES, DETECTION
from must_tf.tasks.detection import CROWD, DIFFICULT

RNG = np.random.default_rng(0)


def prepare(data_dir, name, split, examples, count=None):
    """Writes a split of a dataset as TFDS prepares it, in one shard; the metadata may claim another `count`."""
    builder = tfds.builder(name, data_dir=data_dir)
    folder = builder.data_dir
    tf.io.gfile.makedirs(str(folder))
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=builder.name, split=split, filetype_suffix="tfrecord"
    )
    features = builder.info.features
    if name == "cifar100":  # its builder reads the names from its download, as COCO's does
        features["label"].names = [f"class {i}" for i in range(100)]
    if name.startswith("coco/"):
        features["objects"]["label"].names = [f"class {i}" for i in range(80)]
    with tf.io.TFRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1))) as writer:
        for example in examples:
            writer.write(features.serialize_example(features.encode_example(example)))
    info = tfds.core.SplitInfo(
        name=split, shard_lengths=[count or len(examples)], num_bytes=1, filename_template=template
    )
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=[info], check_data=False)
    if builder.builder_config:  # `write_metadata` does not write it
        path = Path(folder, "dataset_info.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"configName": builder.builder_config.name}))
    return folder


def image(height, width):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    twin = image(32, 32)  # CIFAR has copies of images; they are part of the benchmark
    pictures = [(image(32, 32), 99), (twin, 0), (twin, 7)]
    small = [{"id": str(i), "image": one, "label": label, "coarse_label": 0} for i, (one, label) in enumerate(pictures)]
    prepare(folder, "cifar100", "train", small)
    depth = RNG.uniform(0.5, 9.5, (480, 640)).astype(np.float16)
    depth[:40] = 0
    prepare(folder, "nyu_depth_v2", "validation", [{"image": image(480, 640), "depth": depth}])
    things = [(11 / 50, 6 / 100, 25 / 50, 51 / 100, "train", False), (1 / 50, 1 / 100, 1.0, 1.0, "dog", True)]
    objects = [
        {
            "bbox": tfds.features.BBox(*sides),
            "label": name,
            "is_difficult": hard,
            "is_truncated": False,
            "pose": "left",
        }
        for *sides, name, hard in things
    ]
    voc = {"image": image(50, 100), "image/filename": "000001.jpg", "labels": [18], "labels_no_difficult": [18]}
    prepare(folder, "voc/2007", "test", [voc | {"objects": objects}, voc | {"image": image(50, 100), "objects": []}])
    prepare(folder, "voc/2012", "test", [voc | {"labels": [], "labels_no_difficult": [], "objects": []}])
    things = [(0.1, 0.2, 0.5, 0.6, 3, False), (0.0, 0.0, 1.0, 1.0, 7, True)]
    objects = [
        {"id": 1, "area": 1, "bbox": tfds.features.BBox(*sides), "label": label, "is_crowd": crowd}
        for *sides, label, crowd in things
    ]
    coco = {"image": image(50, 100), "image/filename": "1.jpg", "image/id": 1}
    prepare(folder, "coco/2017", "validation", [coco | {"objects": objects}])
    colors = np.zeros((50, 100, 3), np.uint8)
    colors[:10], colors[10:20] = (1, 9, 0), (100, 10, 0)
    wrong = np.full((50, 100, 3), 101, np.uint8)
    scenes = [{"image": image(50, 100), "annotation": one} for one in (colors, wrong, colors[:, :99])]
    prepare(folder, "scene_parse150", "train", scenes)
    return folder


@pytest.fixture(autouse=True)
def here(data_dir, monkeypatch):
    monkeypatch.setattr(constants, "DATA_DIR", str(data_dir))  # TFDS reads TFDS_DATA_DIR only once per process


def test_cifar100_has_its_class_names_and_every_copy():
    task, records, bad = layouts.entries("tfds:cifar100/train")
    source = open_source("tfds:cifar100/train", 2)
    found = [entry.labels["cifar100"] for shard in source.shards for entry in shard()]
    assert found == [99, 0, 7] and len(source.shards) == 2 and records and not bad
    assert task.num_classes == 100 and task.class_names[99] == "class 99"


def test_nyu_depth_is_in_meters_and_missing_measurements_are_invalid():
    task, records, bad = layouts.entries("tfds:nyu_depth_v2/validation")
    (record,) = records.values()
    depth = record.labels["nyu_depth"]
    assert task.convention == "metric" and not bad and (record.height, record.width) == (480, 640)
    parsed = task.decode(parsed_features(task, depth))
    valid = parsed["valid"].numpy()[..., 0]
    assert not valid[:40].any() and valid[40:].all()
    np.testing.assert_allclose(parsed["depth"].numpy()[40:, :, 0], depth[40:], atol=9.5 / 65000)
    assert depth[40:].min() >= 0.5 and depth.max() < 9.6


def parsed_features(task, depth):
    values = task.encode(depth)
    sizes = {"image/height": tf.constant(depth.shape[0]), "image/width": tf.constant(depth.shape[1])}
    return sizes | {key: tf.constant(value if isinstance(value, bytes) else value[0]) for key, value in values.items()}


def test_boxes_of_voc_equal_those_of_the_devkit():
    task, records, bad = layouts.entries("tfds:voc/2007/test")
    labels = [record.labels["voc_detection"] for record in records.values()]
    full, empty = sorted(labels, key=lambda label: -len(label["boxes"]))
    assert task == DETECTION and not bad and len(empty["boxes"]) == 0
    np.testing.assert_allclose(full["boxes"], [[10 / 50, 5 / 100, 25 / 50, 51 / 100], [0, 0, 1, 1]], atol=1e-6)
    assert full["classes"].tolist() == [CLASSES.index("train"), CLASSES.index("dog")]
    assert full["ignore"].tolist() == [0, DIFFICULT]


def test_boxes_of_coco_are_read_and_crowds_are_ignored():
    task, records, bad = layouts.entries("tfds:coco/2017/validation")
    (record,) = records.values()
    label = record.labels["coco_detection"]
    assert task.num_classes == 80 and task.class_names[7] == "class 7" and not bad
    np.testing.assert_allclose(label["boxes"], [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]], atol=1e-6)
    assert label["classes"].tolist() == [3, 7] and label["ignore"].tolist() == [0, CROWD]


def test_classes_of_ade20k_are_read_from_red_and_other_pixels_are_ignored():
    task, records, bad = layouts.entries("tfds:scene_parse150/train", 10)
    (record,) = records.values()
    mask = record.labels["ade20k_things"]
    assert task.class_names == ADE20K_THINGS and len(set(ADE20K_THINGS)) == 100
    assert (mask[:10] == 0).all() and (mask[10:20] == 99).all() and (mask[20:] == -1).all()
    assert "class 101 found, expected 0 to 100" in bad[0].reason and "50x99, this one has 50x100" in bad[1].reason


def test_split_whose_labels_were_never_published_has_images_alone():
    source = open_source("tfds:voc/2012/test")
    (record,) = [entry for shard in source.shards for entry in shard()]
    assert source.tasks == () and record.labels == {}  # no label, which is not the same as a label without boxes


def test_added_splits_have_their_labels():
    task, records, _ = layouts.entries("tfds:voc/2007/test[:1]+test[1:]")
    assert task == DETECTION and sorted(len(record.labels[task.name]["boxes"]) for record in records.values()) == [0, 2]


def test_adding_splits_with_and_without_labels_is_refused(tmp_path, monkeypatch):
    path = Path(prepare(tmp_path, "voc/2012", "test", [], count=2), "dataset_info.json")
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"splits": [*info["splits"], info["splits"][0] | {"name": "train"}]}))
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    assert open_source("tfds:voc/2012/train").tasks == (DETECTION,)
    with pytest.raises(UserError, match=r"voc/2012/train\+test\[:50%\]: test has no labels, unlike the other splits"):
        open_source("tfds:voc/2012/train+test[:50%]")


@pytest.mark.parametrize("name", ["cifar100", "imagenet2012", "nyu_depth_v2"])
def test_mock_data_of_tfds_becomes_records(name, tmp_path, monkeypatch):
    folder = prepare(tmp_path, name, "train", [], count=6)
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
    source = open_source(f"tfds:{name}/train", 3)
    (task,) = source.tasks
    # The mock replaces the folder of every dataset by its own; here it is the same folder.
    with tfds.testing.mock_data(num_examples=3, data_dir=str(folder)):
        entries = [entry for shard in source.shards for entry in shard()]
    assert len(entries) == 6 and all(isinstance(entry, Record) for entry in entries), entries
    assert all(serialize(entry, [task]) and entry.labels[task.name] is not None for entry in entries)


def test_dataset_that_is_not_prepared_says_how_to_get_it():
    with pytest.raises(UserError, match="tfds build imagenet2012"):
        open_source("tfds:imagenet2012/train")


def test_labels_are_merged_by_way_of_records(tmp_path):
    where = "tfds:voc/2007/test"
    for number, entry in enumerate(open_source(where).shards[0]()):
        (tmp_path / f"{number}.png").write_bytes(entry.encoded)
    label(tmp_path / "*.png", [toy.classifier()], tmp_path / "data")
    with pytest.raises(UserError, match=f"must label --images={where} --out=DIR, and give --merge=DIR"):
        open_source(tmp_path / "data", merge=[where])
    label(where, (), tmp_path / "others")
    source = open_source(tmp_path / "data", merge=[str(tmp_path / "others")])
    assert [entry.origins for entry in source.shards[0]()] == [{"scene": "fake-1", DETECTION.name: "human"}] * 2
