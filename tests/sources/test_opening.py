"""The name decides how a source is opened; a wrong name is an error of one line."""

import numpy as np
import pytest
import toy
from tensorflow_datasets.core import constants

from must_tf.errors import UserError
from must_tf.records import Record
from must_tf.sources import may_have_labels, open_source
from must_tf.sources.opening import split_names


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        image = toy.random_image(np.random.default_rng(number), 8, 8)
        (tmp_path / f"{number}.png").write_bytes(toy.png(image))
    (tmp_path / "list.txt").write_text("\n".join(str(tmp_path / f"{number}.png") for number in range(3)))
    return tmp_path


@pytest.mark.parametrize("where", ["", "/*.png", "/**", "/list.txt", "/[01].png", "/2.png"])
def test_folders_globs_lists_and_files_open_as_images(folder, where):
    source = open_source(f"{folder}{where}", images_per_shard=2)
    entries = [entry for shard in source.shards for entry in shard()]
    assert sum(isinstance(entry, Record) for entry in entries) == {"/[01].png": 2, "/2.png": 1}.get(where, 3)
    assert source.count == len(entries)


def test_folder_with_a_manifest_of_another_program_opens_as_images(folder):
    (folder / "manifest.json").write_text('{"name": "my site", "icons": []}')
    assert open_source(folder).count == 3 and not may_have_labels(folder)
    (folder / "manifest.json").write_text('{"schema": 1, "sha')
    with pytest.raises(UserError, match=r"manifest.json: not valid JSON"):
        open_source(folder)


def test_limit_of_pixels_holds_for_each_image(folder):
    (shard,) = open_source(folder, max_pixels=63).shards
    assert [entry.reason for entry in shard()] == ["8x8 = 64 pixels, more than the limit of 63"] * 3


def test_existing_folder_is_opened_even_if_its_name_looks_like_a_prefix(folder, monkeypatch):
    (folder / "tfds:x").mkdir()
    (folder / "0.png").rename(folder / "tfds:x/0.png")
    monkeypatch.chdir(folder)
    assert open_source("tfds:x").count == 1


@pytest.mark.parametrize(
    ("where", "message"),
    {
        "": "no name given",
        "tfrecords:x": "unknown prefix 'tfrecords:'; did you mean 'tfrecord:'",
        "ftp://bucket/x": "unknown prefix 'ftp:'",
        "yolov5:x": "unknown prefix 'yolov5:'; did you mean 'yolo:'",
        "nowhere": "no such folder",
        "tfrecord:nowhere/*": "no such file",
    }.items(),
)
def test_unknown_name_is_refused_in_one_line(tmp_path, monkeypatch, where, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        open_source(where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "get", "layout"),
    [
        ("voc:x/VOC2007/Main/trainval", "host.robots.ox.ac.uk/pascal/VOC", "voc:VOCdevkit/VOC2007/Main/trainval"),
        ("ade20k:x/training", "data.csail.mit.edu/places/ADEchallenge", "ade20k:ADEChallengeData2016/training"),
        ("coco:x/corrected.json", "no such file", "coco:FILE.json"),
        ("yolo:x/train", "no data.yaml", "FOLDER/data.yaml"),
        ("csv:x.csv", "no such file", "csv:FILE.csv"),
        ("labelstudio:x.json", "no such file", "labelstudio:FILE.json"),
        ("masks:x/train", "no folders of images and masks", "FOLDER/SPLIT/masks"),
        ("depth:x/train", "no folders of images and depth", "FOLDER/SPLIT/depth"),
        ("normals:x/train", "no folders of images and normals", "FOLDER/SPLIT/normals"),
        ("bdd100k:x/train", "dl.cv.ethz.ch/bdd100k/data", "images/100k/SPLIT"),
        ("diode:x/train/outdoor", "diode-dataset.org", "NAME_normal.npy"),
        ("coco:x/instances_train2017", "cocodataset.org", "coco:COCO/instances_train2017"),
        ("objects365:x/train", "objects365.org", "annotations/objects365_SPLIT.json"),
        ("imagenet:x/train", "image-net.org", "n01440764/"),
        ("classes:x/train", "lay the images out", "NAME/SPLIT/CLASS/*.jpg"),
        ("multilabel:x/train", "lay the images out", "multilabel:NAME/SPLIT"),
        ("tfds:cifar100/train", "`tfds build cifar100`", "TFDS_DATA_DIR"),
        ("tfds:nyu_depth_v2/train", "`tfds build nyu_depth_v2`", "TFDS_DATA_DIR"),
        ("tfds:voc/2007/train", "`tfds build voc/2007`", "TFDS_DATA_DIR"),
        ("tfds:coco/2017/train", "`tfds build coco/2017`", "TFDS_DATA_DIR"),
        ("tfds:scene_parse150/train", "`tfds build scene_parse150`", "TFDS_DATA_DIR"),
        ("tfds:imagenet2012/train", "image-net.org", "downloads/manual"),
    ],
)
def test_missing_dataset_says_where_to_get_it_and_how_to_lay_it_out(tmp_path, monkeypatch, where, get, layout):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))  # TFDS reads TFDS_DATA_DIR only once per process
    with pytest.raises(UserError) as caught:
        open_source(where)
    message = str(caught.value)
    assert message.startswith(where.rpartition("/")[0] if where.startswith("tfds:") else where)
    assert get in message and layout in message and "\n" not in message


@pytest.mark.parametrize("arguments", [{"images_per_shard": 0}, {"max_pixels": 0}], ids=str)
def test_numbers_below_one_are_refused(folder, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(UserError, match=f"{name}: {value} received, expected 1 or more"):
        open_source(folder, **arguments)


@pytest.mark.parametrize(
    ("where", "names"),
    {
        "a,b": ["a,b"],
        "a,b[:90%]": ["a,b[:90%]"],
        "a,b[:90%],c": ["a,b[:90%]", "c"],
        "c,a,b": ["c", "a,b"],
        "c[:50%],tfds:x/train[:5],c[50%:]": ["c[:50%]", "tfds:x/train[:5]", "c[50%:]"],
        "a,b/*.png": ["a,b/*.png"],
        "csv:a,b/x.csv,c": ["csv:a,b/x.csv", "c"],
        "yolo:a,b/train,yolo:a,b/val": ["yolo:a,b/train", "yolo:a,b/val"],  # which need be no folders
        "a,b/train,x,c": ["a,b/train", "x", "c"],
        "a,x": ["a", "x"],
    }.items(),
)
def test_a_comma_in_the_name_of_a_folder_divides_nothing(tmp_path, monkeypatch, where, names):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    (tmp_path / "c").mkdir()
    assert split_names(where) == names


def test_may_have_labels_decides_by_the_name(folder, toy_data, tmp_path):
    without = (folder, folder / "list.txt", f"{folder}/*.png", "photos/**/*.jpg")
    assert not any(may_have_labels(where) for where in without)
    assert all(
        may_have_labels(where)
        for where in (toy_data, "voc:VOC/Main/train", "ade20k:A/training[:9%]", "tfrecord:x/*", "mispelled")
    )


@pytest.mark.parametrize("where", ["", "classes:{}/train", "masks:{}/train", "tfds:cifar10/train"])
def test_root_is_refused_where_no_label_names_images(folder, where):
    known = "coco:, coco_masks:, yolo:, yolo_masks:, voc:, csv:, labelstudio:"
    with pytest.raises(UserError, match=rf"--root=.*: received with .*; expected with {known} only"):
        open_source(where.format(folder) or folder, root=folder)
