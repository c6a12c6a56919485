"""Reads a miniature of ImageNet: one folder per class."""

import layouts
import pytest

from must_tf.errors import UserError
from must_tf.sources import open_source

CLASSES = ("n01440764", "n01443537", "n02084071")


@pytest.fixture
def imagenet(tmp_path):
    for number, name in enumerate(CLASSES):
        for i in range(3):
            layouts.write_jpeg(tmp_path / "train" / name / f"{name}_{i}.JPEG", 20, 30, 10 * number + i)
    (tmp_path / "train" / CLASSES[0] / "notes.txt").write_text("no image")
    return tmp_path


def test_image_has_the_class_of_its_folder(imagenet):
    task, records, bad = layouts.entries(f"imagenet:{imagenet}/train")
    assert task.name == "imagenet" and task.class_names == CLASSES and len(records) == 9 and not bad
    assert all(CLASSES[record.labels["imagenet"]] in name for name, record in records.items())


def test_every_shard_has_images_of_every_class(imagenet):
    source = open_source(f"imagenet:{imagenet}/train", images_per_shard=5)
    assert [len(list(shard())) for shard in source.shards] == [5, 4]
    assert all({entry.labels["imagenet"] for entry in shard()} == {0, 1, 2} for shard in source.shards)


def test_folders_of_your_own_are_the_classes_of_a_task_with_the_datasets_name(imagenet, monkeypatch):
    imagenet.rename(imagenet.parent / "jft")
    monkeypatch.chdir(imagenet.parent)
    for where in (f"classes:{imagenet.parent}/jft/train", "classes:jft/train"):
        task, records, bad = layouts.entries(where)
        assert task.name == "jft" and task.class_names == CLASSES and len(records) == 9 and not bad
    (imagenet.parent / "jft").rename(imagenet.parent / "j-f t")
    for where, message in (
        ("j-f t/train", "'j-f t' cannot be the name of a task"),
        ("nowhere/train", "lay the images out as"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(f"classes:{imagenet.parent}/{where}")


def test_damaged_image_is_quarantined(imagenet):
    (imagenet / "train" / CLASSES[1] / f"{CLASSES[1]}_1.JPEG").write_bytes(b"\xff\xd8\xffrubbish")
    _, records, bad = layouts.entries(f"imagenet:{imagenet}/train")
    assert len(records) == 8 and "damaged JPEG" in bad[0].reason


def test_missing_dataset_says_where_to_get_it(imagenet):
    (imagenet / "empty").mkdir()
    for where in ("val", "empty", "nowhere/train"):
        with pytest.raises(UserError, match="get ILSVRC2012_img_train"):
            open_source(f"imagenet:{imagenet}/{where}")
