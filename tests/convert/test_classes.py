import csv

import labeled
import numpy as np
import pytest
import tf_keras
import toy
from labeled import SCENE

from must_tf.convert import convert
from must_tf.errors import UserError
from must_tf.sources import open_source
from must_tf.tasks import Classification


def rows(path):
    with path.open(newline="") as file:
        return sorted(csv.reader(file))


def test_csv_has_a_row_per_class_and_none_for_unlabeled_images(converted):
    out, done = converted("csv")
    header = ["file", "class", "score", "origin"]
    assert rows(out / "scene.csv") == [
        ["a.png", "outdoor", "", "human"], header, ["night/b.png", "indoor", "0.899902", "human"],
        ["night/c d.png", "indoor", "", "human"],
    ]  # fmt: skip
    assert rows(out / "tags.csv") == [
        ["a.png", "blue", "", "human"], ["a.png", "red", "", "human"], header, ["night/b.png", "", "", "human"],
        ["night/c d.png", "green", "", "human"],
    ]  # fmt: skip
    assert done.labels == {"scene": 3, "tags": 3}


def test_our_own_source_reads_the_folders_back(converted, records):
    out, _ = converted("folders", tasks=("scene",))
    assert labeled.files(out) == ["indoor/night/b.png", "indoor/night/c d.png", "outdoor/a.png"]
    assert (out / "outdoor/a.png").read_bytes() == records["a.png"].encoded


def test_keras_reads_the_folders(converted, records):
    out, _ = converted("folders", tasks=("scene",))
    found = tf_keras.utils.image_dataset_from_directory(str(out), shuffle=False, image_size=(4, 4))
    assert found.class_names == list(SCENE.class_names)
    classes = np.concatenate([classes.numpy() for _, classes in found]).tolist()
    for path, cls in zip(found.file_paths, classes, strict=True):
        value = records[path.removeprefix(f"{out}/").partition("/")[2]].labels["scene"]
        assert cls == (np.argmax(value) if np.ndim(value) else value)
    assert len(classes) == 3


def test_classes_of_folders_come_back(tmp_path):
    task = Classification("scene", ("indoor", "outdoor", "never"))
    images = [toy.random_image(np.random.default_rng(i), 8, 8) for i in range(3)]
    toy.write_dataset(tmp_path / "data", [toy.record(one, {"scene": i % 2}) for i, one in enumerate(images)], (task,))
    convert(tmp_path / "data", "folders", tmp_path / "sets/train")
    assert (tmp_path / "sets/train/never").is_dir()
    (tmp_path / "sets/train/never").rmdir()
    source = open_source(f"classes:{tmp_path}/sets/train", 10)
    found = [record.labels[source.tasks[0].name] for shard in source.shards for record in shard()]
    assert source.tasks[0].class_names == ("indoor", "outdoor") and sorted(found) == [0, 0, 1]


def test_several_classes_per_image_have_no_folder(converted):
    with pytest.raises(UserError, match="--to=csv"):
        converted("folders", tasks=("tags",))
    _, done = converted("folders")
    assert done.labels == {"scene": 3} and any("'tags'" in line for line in done.lines)


def test_a_class_that_is_a_path_has_no_folder(tmp_path):
    task = Classification("scene", ("../up", "b"))
    toy.write_dataset(tmp_path / "data", [toy.record(np.zeros((8, 8, 3), np.uint8), {"scene": 0})], (task,), 1)
    with pytest.raises(UserError, match=r"\.\./up"):
        convert(tmp_path / "data", "folders", tmp_path / "out")
