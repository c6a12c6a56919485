"""Several sources are one dataset: labels of one task mean the same, and shared images are named."""

import shutil

import layouts
import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import open_dataset
from must_tf.sources import open_source


@pytest.fixture
def two(tmp_path):
    """Two CSVs of boxes, whose classes have another order, and which share an image."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    for number in range(4):
        layouts.write_jpeg(tmp_path / ("first", "second")[number // 2] / f"{number}.jpg", 20, 40, number)
    shutil.copy(tmp_path / "first/0.jpg", tmp_path / "second/again.jpg")
    (tmp_path / "first/pets.csv").write_text("file,class,x,y,w,h\n0.jpg,dog,0,0,10,10\n1.jpg,cat,4,4,9,9\n")
    (tmp_path / "first/classes.txt").write_text("dog\ncat\n")
    (tmp_path / "second/pets.csv").write_text(
        "file,class,x,y,w,h\n2.jpg,cat,0,0,10,10\n3.jpg,dog,1,2,3,4\nagain.jpg,,,,,\n"
    )
    return [f"csv:{tmp_path}/{name}/pets.csv" for name in ("first", "second")]


def test_labels_have_the_classes_of_the_first_source(two, tmp_path):
    manifest = label(",".join(two), (), tmp_path / "out", images_per_shard=2)
    assert [(task.name, task.class_names) for task in manifest.tasks] == [("pets", ("dog", "cat"))]
    found = {record.filename: record.labels["pets"] for record in open_dataset(tmp_path / "out").records()}
    assert {name: label["classes"].tolist() for name, label in found.items()} == {
        "0.jpg": [0], "1.jpg": [1], "2.jpg": [1], "3.jpg": [0], "again.jpg": [],
    }  # fmt: skip
    assert manifest.warnings == [f"1 image of {two[1]} is in {two[0]}, too: again.jpg"]
    assert manifest.count == 5 and len(manifest.shards) == 3


def test_labels_of_sources_go_side_by_side(two, tmp_path):
    """Another task, plain images, and a slice of one of them: a teacher labels all of them."""
    (tmp_path / "second/scene.csv").write_text("file,class\n2.jpg,indoor\n3.jpg,outdoor\n")
    images = f"{two[0]},csv:{tmp_path}/second/scene.csv[:50%],{tmp_path}/second[50%:]"
    manifest = label(images, [toy.segmenter()], tmp_path / "out")
    assert {task.name for task in manifest.tasks} == {"pets", "scene", toy.STUFF.name}
    assert manifest.counts[toy.STUFF.name] == {"fake-1": manifest.count}
    whole = len(list((tmp_path / "second").glob("*.jpg")))
    scenes = manifest.counts["scene"].get("human", 0)
    assert 2 + scenes <= manifest.count <= 2 + scenes + whole
    assert sum(manifest.left_out.values()) + manifest.count == 2 + 2 + whole


def test_tasks_get_their_names_in_each_source(two):
    source = open_source(f"{two[0]},{two[1]}", tasks={"boxes": "pets"})
    assert [task.name for task in source.tasks] == ["boxes"]
    for names, said in (({"boxes": "pest"}, "did you mean 'pets'"), ({"boxes": ""}, "--tasks=boxes: received with")):
        with pytest.raises(UserError, match=said):
            open_source(f"{two[0]},{two[1]}", tasks=names)


def test_labels_that_differ_are_refused(two, tmp_path):
    (tmp_path / "second/pets.csv").write_text("file,class,x,y,w,h\n2.jpg,emu,0,0,10,10\n")
    with pytest.raises(UserError, match=r"task 'pets' has class 'emu', which csv:.*first/pets.csv does not have"):
        open_source(",".join(two))


def test_a_name_twice_and_no_name_are_refused(two, tmp_path):
    for wrong, said in ((f"{two[0]},{two[0]}", "is there twice"), (f"{two[0]},", "no name given")):
        with pytest.raises(UserError, match=said):
            open_source(wrong)


def test_what_records_say_of_themselves_is_joined(tmp_path):
    for name, license in (("a", "CC0-1.0"), ("b", "")):
        record = toy.record(toy.random_image(np.random.default_rng(ord(name)), 8, 8))
        toy.write_dataset(tmp_path / name, [record], num_shards=1, source={"license": license})
    source = open_source(f"{tmp_path}/a,{tmp_path}/b")
    assert source.license == "CC0-1.0; unknown" and source.count == 2 and len(source.quarantined) == 2
