"""Prepared TFDS datasets are read with their encoded bytes; others are refused and never downloaded."""

import io
import itertools
import pickle

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import toy
from tensorflow_datasets.core import constants

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources import open_source

COUNT = 11


def image(number):
    return toy.png(toy.random_image(np.random.default_rng(number), 8 + number, 16))


def prepare(data_dir, name, feature, make, splits):
    """Writes a dataset as TFDS prepares it: two shards per split, and the metadata."""
    folder = data_dir / name / "1.2.3"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict({"image": feature, "label": tfds.features.ClassLabel(num_classes=2)})
    infos = []
    for split, count in splits.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=name, split=split, filetype_suffix="tfrecord"
        )
        lengths = [count // 2, count - count // 2]
        numbers = iter(range(count))
        for shard, length in enumerate(lengths):
            with tf.io.TFRecordWriter(str(template.sharded_filepath(shard_index=shard, num_shards=2))) as writer:
                for number in itertools.islice(numbers, length):
                    writer.write(features.serialize_example({"image": make(number), "label": number % 2}))
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=1, filename_template=template))
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=infos)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    photos, splits = tfds.features.Image(shape=(None, None, 3)), {"train": COUNT, "test": 2}
    for name in ("tiny_photos", "mnist"):
        prepare(folder, name, photos, lambda number: io.BytesIO(image(number)), splits)
    prepare(folder, "tiny_sounds", tfds.features.Text(), str, splits)
    floats = tfds.features.Image(shape=(4, 4, 1), dtype=np.float32)
    prepare(folder, "tiny_depths", floats, lambda number: np.full((4, 4, 1), number, np.float32), splits)
    prepare(folder, "tiny_arrays", photos, lambda number: io.BytesIO(image(number)), splits)
    info = folder / "tiny_arrays/1.2.3/dataset_info.json"
    info.write_text(info.read_text().replace('"fileFormat": "tfrecord"', '"fileFormat": "array_record"'))
    return folder


@pytest.fixture(autouse=True)
def here(data_dir, monkeypatch):
    monkeypatch.setattr(constants, "DATA_DIR", str(data_dir))  # TFDS reads TFDS_DATA_DIR only once per process


@pytest.mark.parametrize("name", ["tiny_photos", "tiny_photos:1.2.3", "tiny_photos:1.*.*", "mnist"])
def test_split_is_read_evenly_and_byte_for_byte(name):
    source = open_source(f"tfds:{name}/train", images_per_shard=4)
    assert source.count == COUNT and source.tasks == () and source.teachers == {}
    shards = [list(shard()) for shard in pickle.loads(pickle.dumps(source)).shards]
    assert [len(shard) for shard in shards] == [4, 4, 3]
    records = [record for shard in shards for record in shard]
    assert all(isinstance(record, Record) and not record.reencoded for record in records)
    assert [record.encoded for record in records] == [image(number) for number in range(COUNT)]
    plain = name.partition(":")[0]
    assert records[5].name == f"{plain}: {plain}-train.tfrecord-00001-of-00002__0"
    again = [record for shard in source.shards for record in shard()]
    assert again == records


def test_slice_of_a_split_has_the_same_images_as_the_whole():
    records = [record for shard in open_source("tfds:tiny_photos/train[2:7]", 3).shards for record in shard()]
    whole = [record for shard in open_source("tfds:tiny_photos/train").shards for record in shard()]
    assert [record.id for record in records] == [record.id for record in whole[2:7]]


def test_splits_can_be_added():
    def ids(spec):
        return {record.id for shard in open_source(f"tfds:{spec}", 4).shards for record in shard()}

    assert ids("tiny_photos/train[3:6]+test") == ids("tiny_photos/train[3:6]") | ids("tiny_photos/test")
    assert open_source("tfds:tiny_photos/train[3:6]+test").count == 5
    with pytest.raises(UserError, match="no split 'tset'; did you mean 'test'"):
        open_source("tfds:tiny_photos/train+tset[:2]")


def test_listing_depends_on_the_split():
    listings = [open_source(f"tfds:tiny_photos/{split}").listing for split in ("train", "test", "train[:5]", "train")]
    assert len(set(listings)) == 3 and listings[0] == listings[3]


@pytest.mark.parametrize(
    ("spec", "message"),
    {
        "tiny_photos": "expected tfds:NAME",
        "": "expected tfds:NAME",
        "tiny_photos/": "expected tfds:NAME",
        "tiny_photos/trian": "no split 'trian'; did you mean 'train'",
        "tiny_photos/train[a:b]": "slice",
        "tiny_photos/train[3:3]": "has no image",
        "tiny_photos:9.9.9/train": "not prepared in .*tfds",
        "tiny_sounds/train": "no image feature 'image'; its features: image, label",
        "tiny_depths/train": "its images are float32; expected uint8 or uint16",
        "tiny_arrays/train": "stored as array_record; prepare it with `tfds build tiny_arrays --file_format=tfrecord`",
        "cifar10/train": "not prepared in .*; run `tfds build cifar10`, or set TFDS_DATA_DIR",
        "cifra10/train": "not prepared in .*; did you mean 'cifar10'",
        "no name at all/train": "tfds:no name at all: ",
    }.items(),
)
def test_dataset_that_cannot_be_read_is_refused_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(f"tfds:{spec}")
    assert "\n" not in str(caught.value)
