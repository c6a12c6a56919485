"""The datasets of TFDS that come with labels, in miniature: written with TFDS's own features of them."""

import layouts
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from must_tf.errors import UserError
from must_tf.sources import open_source
from must_tf.sources.voc import CLASSES, DETECTION

RNG = np.random.default_rng(0)


def prepare(data_dir, name, split, examples):
    """Writes a split of a dataset as TFDS prepares it, in one shard."""
    builder = tfds.builder(name, data_dir=data_dir)
    folder = builder.data_dir
    tf.io.gfile.makedirs(str(folder))
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=builder.name, split=split, filetype_suffix="tfrecord"
    )
    features = builder.info.features
    if name == "cifar100":  # whose builder reads the names from what it downloads
        features["label"].names = [f"class {i}" for i in range(100)]
    with tf.io.TFRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1))) as writer:
        for example in examples:
            writer.write(features.serialize_example(features.encode_example(example)))
    info = tfds.core.SplitInfo(name=split, shard_lengths=[len(examples)], num_bytes=1, filename_template=template)
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=[info])


def image(height, width):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    twin = image(32, 32)  # CIFAR has copies: they are part of the benchmark
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
    return folder


@pytest.fixture(autouse=True)
def here(data_dir, monkeypatch):
    monkeypatch.setattr(constants, "DATA_DIR", str(data_dir))  # what TFDS_DATA_DIR sets, once a process


def test_classes_of_cifar100_with_their_names_and_every_copy():
    task, records, bad = layouts.entries("tfds:cifar100/train")
    source = open_source("tfds:cifar100/train", 2)
    found = [entry.labels["cifar100"] for shard in source.shards for entry in shard()]
    assert found == [99, 0, 7] and len(source.shards) == 2 and records and not bad
    assert task.num_classes == 100 and task.class_names[99] == "class 99"


def test_nyu_is_in_metres_and_what_the_sensor_missed_is_invalid():
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


def test_boxes_of_voc_are_those_of_the_devkit():
    task, records, bad = layouts.entries("tfds:voc/2007/test")
    labels = [record.labels["voc_detection"] for record in records.values()]
    full, empty = sorted(labels, key=lambda label: -len(label["boxes"]))
    assert task == DETECTION and not bad and len(empty["boxes"]) == 0
    np.testing.assert_allclose(full["boxes"], [[10 / 50, 5 / 100, 25 / 50, 51 / 100]], atol=1e-6)
    assert full["classes"].tolist() == [CLASSES.index("train")]


def test_set_that_is_not_prepared_says_how_to_get_it():
    with pytest.raises(UserError, match="tfds build imagenet2012"):
        open_source("tfds:imagenet2012/train")
