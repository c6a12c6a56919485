import base64
import io

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.records import open_dataset
from must_tf.report.pictures import SIDE, data_uri, encode, scale, spread


def test_pictures_have_one_size_and_labels_move_with_their_image(sample):
    image, labels = scale(sample.record(1, 24, 32), sample.tasks)
    assert image.shape == (SIDE * 24 // 32, SIDE, 3) and image.dtype == np.uint8
    assert labels["parts"].shape == labels["depth"].shape == image.shape[:2]
    assert labels["normals"].shape == image.shape
    np.testing.assert_allclose(labels["objects"]["boxes"], [[0.1, 0.2, 0.7, 0.9]], atol=1e-6)
    assert labels["scene"] == 1


def test_masks_get_no_new_classes_and_large_photographs_shrink(sample):
    photograph = sample.record(1, 900, 600)
    image, labels = scale(photograph, sample.tasks)
    assert image.shape[:2] == (SIDE, SIDE * 2 // 3)
    assert set(np.unique(labels["parts"])) <= set(np.unique(photograph.labels["parts"]))


@pytest.mark.parametrize("size", [(24, 32), (64, 64), (300, 11)])
def test_every_kind_draws_on_every_size(size, sample):
    image, labels = scale(sample.record(1, *size), sample.tasks)
    for task in sample.tasks:
        drawn = task.draw(image, labels[task.name])
        assert drawn.shape == image.shape and drawn.dtype == np.uint8
        assert task.name == "scene" or (drawn != image).any()


@pytest.mark.parametrize("photograph", [True, False])
def test_data_uri_holds_the_image(photograph):
    image = np.full((20, 30, 3), 128, np.uint8)
    header, data = data_uri(*encode(image, photograph)).split(",")
    opened = Image.open(io.BytesIO(base64.b64decode(data)))
    assert header == f"data:image/{opened.format.lower()};base64"
    assert np.abs(np.asarray(opened, int) - image).max() <= 2


def test_spread_takes_the_first_and_the_last_and_no_record_twice(dataset_folder):
    dataset = open_dataset(dataset_folder)
    ids = [record.id for record in dataset.records()]
    assert [record.id for record in spread(dataset, 2)] == [ids[0], ids[-1]]
    assert [record.id for record in spread(dataset, 100)] == ids
    assert spread(dataset, 0) == []


def test_spread_leaves_out_what_cannot_be_read(tmp_path, sample):
    dataset = open_dataset(sample.write_dataset(tmp_path / "rooms"))
    shard = tmp_path / "rooms" / dataset.manifest.shards[0].name
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 4] ^= 255
    shard.write_bytes(damaged)
    assert [record.id for record in spread(dataset, 4)] == [sample.record(i).id for i in (1, 2, 3)]


def test_spread_leaves_out_images_that_cannot_be_decoded(tmp_path):
    records = toy.toy_records(3, tasks=[toy.SCENE])
    records[1].encoded = records[1].encoded[:40]
    toy.write_dataset(tmp_path / "data", records, [toy.SCENE], 1)
    assert len(spread(open_dataset(tmp_path / "data"), 3)) == 2
