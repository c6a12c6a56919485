"""`must init`: what it finds in folders, and that its config and commands work."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

import must_tf
from must_tf.cli.__main__ import main
from must_tf.errors import UserError
from must_tf.sources.survey import survey
from must_tf.training import load_config


def picture(path, seed=0, size=(96, 128)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


@pytest.fixture
def animals(tmp_path, monkeypatch):
    """A folder of two classes."""
    monkeypatch.chdir(tmp_path)
    for i in range(20):
        picture(tmp_path / "animals" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    (tmp_path / "animals" / "cat" / "broken.png").write_text("no image")
    return tmp_path / "animals"


def test_config_and_commands_of_a_labeled_folder_train(animals, capsys):
    start = must_tf.init("animals")
    assert (start.found.count, start.found.size, start.found.unread) == (21, (96, 128), 1)
    (labels,) = start.found.labels
    assert labels.train == "classes:animals" and labels.task.class_names == ("cat", "dog")
    assert "2 classes: cat, dog" in repr(start) and repr(start).endswith("--out=exports/animals")
    commands = [shlex.split(command) for command in start.commands[:2]]
    assert [command[2] for command in commands] == ["--images=classes:animals[:90%]", "--images=classes:animals[90%:]"]
    for _, _, images, out in commands:
        must_tf.label(images.removeprefix("--images="), out=out.removeprefix("--out="), max_bad=0.5)
    experiment = load_config("animals.py")
    assert experiment.input_size == (96, 96) and experiment.steps == 500
    assert experiment.validation == "data/animals/validation" and experiment.evaluate_every == 50
    assert [task.name for task in experiment.tasks] == ["animals"]
    capsys.readouterr()
    main([])
    said = capsys.readouterr().out
    assert "data/animals/train: 1" in said
    assert "Next: must train --config=animals.py --workdir=runs/animals" in said
    with pytest.raises(UserError, match=r"animals\.py: is there already"):
        must_tf.init("animals")


def test_folder_without_labels_gets_teachers_and_a_preview(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        picture(tmp_path / "my photos" / f"{i}.jpg", i, (480, 640))
    start = must_tf.init("my photos", "mine.py")
    assert not start.found.labels and "no labels: teachers make them" in repr(start)
    assert all("--teachers=boxes=hf:" in command for command in start.commands[:3])
    assert "--preview=16" in start.commands[0] and "my photos[:90%]" in start.commands[1]
    last = "must export --workdir=runs/my_photos --formats=savedmodel,keras --out=exports/my_photos"
    assert start.commands[-1] == last  # needs no extra, and `must_tf.load_backbone(..., keras=3)` takes it
    assert "INPUT_SIZE = (224, 224)" in (tmp_path / "mine.py").read_text()
    for folder, said in (("nowhere", "no such folder"), (".hidden", "no image")):
        (tmp_path / ".hidden").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=said):
            must_tf.init(folder)


def coco(path, name="a.jpg"):
    image = {"id": 1, "file_name": name, "height": 96, "width": 128}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cup"}]}))


def test_labels_are_found_as_tools_write_them(tmp_path):
    picture(tmp_path / "coco" / "train" / "a.jpg")
    picture(tmp_path / "coco" / "valid" / "a.jpg", 1)
    for split in ("train", "valid"):
        coco(tmp_path / "coco" / split / "_annotations.coco.json")
    (found,) = survey(tmp_path / "coco").labels
    assert found.train == f"coco:{tmp_path}/coco/train/_annotations.coco.json" and "valid" in found.validation

    picture(tmp_path / "one" / "a.jpg")
    coco(tmp_path / "one" / "trainval.json")
    (found,) = survey(tmp_path / "one").labels  # no images to train on are to validate on
    assert (found.train, found.validation) == (f"coco:{tmp_path}/one/trainval.json", "")

    picture(tmp_path / "yolo" / "images" / "train" / "a.jpg")
    (tmp_path / "yolo" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "yolo" / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "yolo" / "data.yaml").write_text("names: [cup]\ntrain: images/train\n")
    (found,) = survey(tmp_path / "yolo").labels
    assert (found.train, found.validation) == (f"yolo:{tmp_path}/yolo/train", "")

    thing = "<object><name>cup</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    for split in ("train", "valid", "test"):  # Roboflow
        picture(tmp_path / "voc" / split / "a.jpg")
        (tmp_path / "voc" / split / "a.xml").write_text(f"<annotation>{thing}</annotation>")
    (found,) = survey(tmp_path / "voc").labels
    assert (found.train, found.validation, found.count) == (f"voc:{tmp_path}/voc/train", f"voc:{tmp_path}/voc/valid", 1)

    picture(tmp_path / "masks" / "images" / "a.png")
    (tmp_path / "masks" / "masks").mkdir()
    Image.fromarray(np.zeros((96, 128), np.uint8)).save(tmp_path / "masks" / "masks" / "a.png")
    found = survey(tmp_path / "masks")
    assert not found.labels and "no classes.txt" in found.problems[0]
    (tmp_path / "masks" / "classes.txt").write_text("floor\n")
    (found,) = survey(tmp_path / "masks").labels
    assert found.train == f"masks:{tmp_path}/masks" and found.task.class_names == ("floor",)


def test_labels_of_several_tasks_of_one_source_are_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        picture(tmp_path / "bdd" / "images" / "100k" / split / "a.jpg")
        path = tmp_path / "bdd" / "labels" / "det_20" / f"det_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('[{"name": "a.jpg", "labels": []}]')
        masks = tmp_path / "bdd" / "labels" / "drivable" / "masks" / split
        masks.mkdir(parents=True)
        Image.fromarray(np.zeros((96, 128), np.uint8)).save(masks / "a.png")
    start = must_tf.init("bdd")
    assert [one.task.name for one in start.found.labels] == ["vehicles", "drivable"] and not start.found.problems
    assert start.commands[0] == "must label --images=bdd100k:bdd/train --out=data/bdd/train"
    assert start.commands[1] == "must label --images=bdd100k:bdd/val --out=data/bdd/validation"
    assert "the first of them is used" not in repr(start)


def test_name_that_the_commands_could_not_give_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cats, dogs", "photos[1]"):
        picture(tmp_path / name / "a.png")
        with pytest.raises(UserError, match="has a comma or a bracket"):
            must_tf.init(name)
    assert not list(tmp_path.glob("*.py"))
