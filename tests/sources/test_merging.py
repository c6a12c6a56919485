"""The loop of labels: a teacher makes them, they go out, people correct them, and they come back as human ones."""

import dataclasses
import json
import shutil

import labeled
import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

import must_tf.labeling.shard
from must_tf.convert import Selection, convert
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import HUMAN, open_dataset

NAMES = ("a.png", "c.png", "day/b.png", "e.tif", "night/b.png")
SIZE = HEIGHT, WIDTH = 40, 60
BOXES = labeled.BOXES


def three_boxes(red):
    count = tf.shape(red)[0]
    boxes = tf.tile(tf.constant([[[0.1, 0.1, 0.3, 0.4], [0.2, 0.3, 0.6, 0.6], [0.5, 0.2, 0.9, 0.5]]]), [count, 1, 1])
    classes = tf.tile(tf.constant([[0, 1, 0]]), [count, 1])
    return {"boxes": boxes, "classes": classes, "scores": tf.fill([count, 3], 0.75)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Images, and records of them that toy teachers labeled, in shards of two."""
    root = tmp_path_factory.mktemp("merging")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(toy.random_image(rng, *SIZE)).save(root / "photos" / name)
    detector = toy.FakeTeacher(BOXES, three_boxes, name="det-1")
    label(root / "photos", [detector, toy.segmenter(name="seg-1"), toy.classifier(name="cls-1")], root / "data", 2, 2)
    return root


def read(folder):
    return {record.filename: record for record in open_dataset(folder).records()}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def exported(base, to, task, tmp_path, images="copy"):
    convert(base / "data", to, tmp_path / "export", Selection((task,)), images)
    return tmp_path / "export"


def same_label(one, other):
    if not isinstance(one, dict):
        return np.array_equal(one, other)
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def unchanged(before, after, but=""):
    """Whether a record has the labels that it had, of all tasks but one."""
    names = before.labels.keys() - {but}
    return names == after.labels.keys() - {but} and all(
        same_label(before.labels[name], after.labels[name]) and before.origins[name] == after.origins[name]
        for name in names
    )


@pytest.fixture
def corrected(base, tmp_path):
    """COCO's file as a person leaves it, without images."""
    path = exported(base, "coco", "boxes", tmp_path, "none") / "annotations/instances_boxes.json"
    content = json.loads(path.read_text())
    number = {one["file_name"]: one["id"] for one in content["images"]}
    of = {name: [one for one in content["annotations"] if one["image_id"] == number[name]] for name in NAMES}
    of["a.png"][0]["bbox"] = [6, 4, 30, 20]  # moved
    of["a.png"].pop(1)  # deleted
    of["day/b.png"].clear()  # all deleted
    of["e.tif"][2]["category_id"] = 3  # another class
    del of["night/b.png"]  # not looked at, and not listed
    content["images"] = [one for one in content["images"] if one["file_name"] in of]
    content["annotations"] = [one for rows in of.values() for one in rows]
    path.write_text(json.dumps(content))
    return path


def test_corrected_coco_comes_back(base, corrected, tmp_path):
    label(base / "data", (), tmp_path / "out", merge=[f"coco:{corrected}"])
    before, after = read(base / "data"), read(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(unchanged(before[name], after[name], "boxes") for name in NAMES)
    assert unchanged(before["night/b.png"], after["night/b.png"])
    assert {name: record.origins["boxes"] for name, record in after.items()} == dict.fromkeys(NAMES, HUMAN) | {
        "night/b.png": "det-1"
    }
    found, was = ({name: record.labels["boxes"] for name, record in of.items()} for of in (after, before))
    np.testing.assert_allclose(found["a.png"]["boxes"][0], [0.1, 0.1, 0.6, 0.6], atol=1e-6)
    np.testing.assert_allclose(found["a.png"]["boxes"][1], was["a.png"]["boxes"][2], atol=1e-6)
    assert len(found["a.png"]["boxes"]) == 2 and len(found["day/b.png"]["boxes"]) == 0
    assert found["e.tif"]["classes"].tolist() == [0, 1, 2] and was["e.tif"]["classes"].tolist() == [0, 1, 0]
    manifest = open_dataset(tmp_path / "out").manifest
    assert manifest.counts["boxes"] == {"det-1": 1, HUMAN: 4} and manifest.empty["boxes"] == {HUMAN: 1}
    assert manifest.source["merge"] == (f"coco:{corrected}",) and {"det-1", "seg-1", "cls-1"} <= set(manifest.teachers)
    # A teacher labels further what people have not.
    label(base / "data", [toy.FakeTeacher(BOXES, three_boxes, name="det-2")], tmp_path / "more",
          merge=[f"coco:{corrected}"])  # fmt: skip
    assert open_dataset(tmp_path / "more").manifest.counts["boxes"] == {"det-2": 1, HUMAN: 4}


def test_labels_by_people_come_from_other_records_with_the_bytes_that_these_store(base, corrected, tmp_path):
    """Those of teachers in the other records correct nothing."""
    label(base / "data", (), tmp_path / "whole", merge=[f"coco:{corrected}"])
    label(base / "data", (), tmp_path / "out", merge=[str(tmp_path / "whole")])
    before, after = read(tmp_path / "whole"), read(tmp_path / "out")
    assert all(unchanged(before[name], after[name]) for name in NAMES)
    assert open_dataset(tmp_path / "out").manifest.counts == open_dataset(tmp_path / "whole").manifest.counts
    others = [
        toy.record(np.full((40, 50, 3), i, np.uint8), {"boxes": before["a.png"].labels["boxes"]})
        for i in range(len(NAMES))
    ]
    for record, name in zip(others, NAMES, strict=True):
        record.filename = name  # that of another image
    toy.write_dataset(tmp_path / "alike", others, (BOXES,))
    with pytest.raises(UserError, match=r"none of its \d images is one of --images: '"):
        label(base / "data", (), tmp_path / "none", merge=[str(tmp_path / "alike")])
    with pytest.raises(UserError, match="has no label by people; the labels of teachers are no corrections"):
        label(base / "data", (), tmp_path / "none", merge=[str(base / "data")])
    with pytest.raises(UserError, match=r"--merge=film:x: expected labels: .*; or a folder of records, which"):
        label(base / "data", (), tmp_path / "none", merge=["film:x"])


def test_killed_merge_resumes_to_the_same_bytes(base, corrected, tmp_path):
    arguments = {"merge": [f"coco:{corrected}"]}
    label(base / "data", (), tmp_path / "whole", **arguments)
    with toy.writing_shards(must_tf.labeling.shard, killed_at=1):
        label(base / "data", (), tmp_path / "out", **arguments)
    label(base / "data", (), tmp_path / "out", **arguments)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("to", "where", "file"),
    [
        ("yolo", "yolo:{}/train", "labels/train/a.txt"),
        ("voc", "voc:{}", "Annotations/a.xml"),
        ("masks", "masks:{}", "masks/a.png"),
        ("coco", "coco:{}/annotations/panoptic_{}.json", "annotations/panoptic_{}/a.png"),
    ],
)
def test_labels_that_were_corrected_further_are_not_taken_for_those_of_before(base, tmp_path, to, where, file):
    """The same command would otherwise say that all is done, or go on with labels of two states."""
    task = "boxes" if to in ("yolo", "voc") else toy.STUFF.name
    out = exported(base, to, task, tmp_path)
    where = where.format(out, task)
    label(base / "data", (), tmp_path / "out", merge=[where])
    path = out / file.format(task)
    if path.suffix == ".png":
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 1, 0)).save(path)
    else:
        path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match="listing"):
        label(base / "data", (), tmp_path / "out", merge=[where])


def edit_yolo(out):
    path = out / "labels/train/a.txt"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    for name in ("c", "day/b", "night/b"):
        (out / f"labels/train/{name}.txt").unlink()
    (out / "labels/train/e.txt").write_text("")


def edit_voc(out):
    path = out / "Annotations/a.xml"
    head, *rest = path.read_text().split("<object>")
    path.write_text(f"{head}<object>{rest[0]}</annotation>")
    for name in ("c", "day/b", "night/b"):
        (out / f"Annotations/{name}.xml").unlink()
    path = out / "Annotations/e.xml"
    path.write_text(path.read_text().split("<object>")[0] + "</annotation>")


def edit_labelstudio(out):
    """Submits two of the tasks: one box is kept of the first, none of the other."""
    content = json.loads((out / "tasks.json").read_text())
    for one in content:
        name = one["data"]["image"].rpartition("/")[2]
        (prediction,) = one["predictions"]
        if name in ("a.png", "e.tif"):
            one["annotations"] = [{"result": prediction["result"][: name == "a.png"], "was_cancelled": False}]
    (out / "tasks.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("to", "images", "where", "edit"),
    [
        ("yolo", "none", "yolo:{}/train", edit_yolo),
        ("voc", "none", "voc:{}", edit_voc),
        ("labelstudio", "none", "labelstudio:{}/tasks.json", edit_labelstudio),
    ],
)
def test_corrected_boxes_of_other_formats_come_back(base, to, images, where, edit, tmp_path):
    out = exported(base, to, "boxes", tmp_path, images)
    edit(out)
    label(base / "data", (), tmp_path / "out", merge=[where.format(out)])
    before, after = read(base / "data"), read(tmp_path / "out")
    assert [name for name in NAMES if not unchanged(before[name], after[name])] == ["a.png", "e.tif"]
    assert len(after["a.png"].labels["boxes"]["boxes"]) == 1 and len(after["e.tif"].labels["boxes"]["boxes"]) == 0
    shift = (after["a.png"].labels["boxes"]["boxes"] - before["a.png"].labels["boxes"]["boxes"][:1]) * (*SIZE, *SIZE)
    assert np.abs(shift).max() <= (0.51 if to == "voc" else 1e-3)
    assert all(after[name].origins["boxes"] == HUMAN for name in ("a.png", "e.tif"))


def test_corrected_masks_and_classes_come_back(base, tmp_path):
    """Masks of one file and classes of another, in one command: masks are found by their images, classes by name."""
    masks = exported(base, "masks", toy.STUFF.name, tmp_path)
    mask = np.asarray(Image.open(masks / "masks/night/b.png")).copy()
    mask[:5] = 2
    Image.fromarray(mask).save(masks / "masks/night/b.png")
    for name in ("a", "c", "day/b", "e"):
        (masks / f"masks/{name}.png").unlink()
    convert(base / "data", "csv", tmp_path / "csv", Selection((toy.SCENE.name,)), "none")
    table = tmp_path / "csv" / f"{toy.SCENE.name}.csv"
    head, *rows = table.read_text().splitlines()
    row = next(one for one in rows if one.startswith("c.png"))
    other = next(name for name in toy.SCENE.class_names if name not in row)
    table.write_text(f"{head}\nc.png,{other},,\n")
    label(base / "data", (), tmp_path / "out", merge=[f"masks:{masks}", f"csv:{table}"])
    before, after = read(base / "data"), read(tmp_path / "out")
    assert [name for name in NAMES if not unchanged(before[name], after[name])] == ["c.png", "night/b.png"]
    found = after["night/b.png"].labels[toy.STUFF.name]
    assert (found[:5] == 2).all() and np.array_equal(found[5:], before["night/b.png"].labels[toy.STUFF.name][5:])
    assert toy.SCENE.class_names[int(after["c.png"].labels[toy.SCENE.name])] == other
    assert after["c.png"].origins == before["c.png"].origins | {toy.SCENE.name: HUMAN}


def test_two_files_are_merged_unless_both_label_an_image(base, corrected, tmp_path):
    content = json.loads(corrected.read_text())
    (tmp_path / "halves").mkdir()
    halves = [tmp_path / "halves" / f"{number}.json" for number in range(3)]
    for path, images in zip(
        halves, (content["images"][:2], content["images"][2:], content["images"][1:3]), strict=True
    ):
        ids = {one["id"] for one in images}
        annotations = [one for one in content["annotations"] if one["image_id"] in ids]
        path.write_text(json.dumps(content | {"images": images, "annotations": annotations}))
    manifest = label(base / "data", (), tmp_path / "out", merge=[f"coco:{path}" for path in halves[:2]])
    assert manifest.counts["boxes"] == {"det-1": 1, HUMAN: 4}
    with pytest.raises(UserError, match=r"/2\.json: .* are the same image, .*; expected one label for it, of 'boxes'"):
        label(base / "data", (), tmp_path / "again", merge=[f"coco:{path}" for path in (halves[0], halves[2])])


def test_a_mistyped_task_is_told_to_be_new(base, corrected, tmp_path):
    manifest = label(base / "data", (), tmp_path / "out", merge=[f"coco:{corrected}"], tasks={"boxs": ""})
    assert f"--merge=coco:{corrected}: 'boxs' is a new task, beside boxes" in manifest.warnings
    assert manifest.counts["boxes"] == {"det-1": 5} and manifest.counts["boxs"] == {HUMAN: 4}


def test_labels_of_no_image_are_named_and_counted(base, corrected, tmp_path):
    content = json.loads(corrected.read_text())
    content["images"].append({"id": 99, "file_name": "stranger.png"})
    corrected.write_text(json.dumps(content))
    manifest = label(base / "data", (), tmp_path / "out", merge=[f"coco:{corrected}"])
    said = f"--merge=coco:{corrected}: 1 of 5 labeled images are none of --images, and left out: 'stranger.png'"
    assert said in manifest.warnings


def test_a_label_that_does_not_fit_its_image_quarantines_it(base, corrected, tmp_path):
    content = json.loads(corrected.read_text())
    content["images"][0] |= {"width": 999}
    corrected.write_text(json.dumps(content))
    manifest = label(base / "data", (), tmp_path / "out", merge=[f"coco:{corrected}"], max_bad=0.5)
    (bad,) = manifest.quarantined
    assert f"{corrected}: image 1: size is for a picture of 40x999, this one has 40x60" in bad["reason"]


def rewrite(change):
    def edit(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def of_nobody(content):
    for number, one in enumerate(content["images"]):
        one |= {"file_name": f"strange-{number}.png", "image_id": ""}


def ambiguous(content):
    for one in content["images"]:
        one["image_id"] = ""
    content["images"][2]["file_name"] = "b"


def fewer_classes(content):
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] != 2]
    content["categories"] = [one for one in content["categories"] if one["name"] != "dog"]


def another_class(content):
    content["categories"].append({"id": 4, "name": "zebra"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_nobody, "none of its 4 images is one of --images: 'strange-0.png', 'strange-1.png'"),
        (ambiguous, "'b' is the name of several images: day/b.png, night/b.png"),
        (fewer_classes, "its label of 'boxes' has class 'dog', which the corrected labels do not name"),
        (another_class, "has class 'zebra', which the task of the images does not have"),
    ],
)
def test_what_would_go_wrong_is_refused(base, corrected, tmp_path, change, said):
    rewrite(change)(corrected)
    with pytest.raises(UserError, match=said):
        label(base / "data", (), tmp_path / "out", merge=[f"coco:{corrected}"])
    assert not (tmp_path / "out").exists()


def test_several_tasks_of_a_kind_ask_which(base, corrected, tmp_path):
    twice = tmp_path / "twice"
    other = toy.FakeTeacher(dataclasses.replace(BOXES, name="others"), three_boxes, name="det-3")
    label(base / "data", [other], twice)
    with pytest.raises(UserError, match=r"labels of which task\? give --tasks=TASK=coco_detection, of .*boxes"):
        label(twice, (), tmp_path / "out", merge=[f"coco:{corrected}"])
    with pytest.raises(UserError, match="no labels of --merge have such a task; did you mean 'coco_detection'"):
        label(twice, (), tmp_path / "out", merge=[f"coco:{corrected}"], tasks={"others": "coco_detektion"})
    manifest = label(twice, (), tmp_path / "out", merge=[f"coco:{corrected}"], tasks={"others": "coco_detection"})
    assert manifest.counts["others"] == {"det-3": 1, HUMAN: 4} and manifest.counts["boxes"] == {"det-1": 5}


def test_images_are_found_by_their_content_under_the_root(base, corrected, tmp_path):
    """A tool gave the images names of its own, and sends them back, without ids."""
    content = json.loads(corrected.read_text())
    for number, one in enumerate(content["images"]):
        place = tmp_path / "back" / f"frame_{number}.png"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(base / "photos" / one["file_name"], place)
        one |= {"file_name": place.name, "image_id": ""}
    corrected.write_text(json.dumps(content))
    manifest = label(base / "data", (), tmp_path / "out", merge=[f"coco:{corrected}"], root=tmp_path / "back")
    assert manifest.counts["boxes"] == {"det-1": 1, HUMAN: 4}
