"""Tests of the way back: what `must convert` writes, `must label` reads, with the same labels."""

import json

import numpy as np
import pytest
import toy
from labeled import BOXES, HEIGHT, SCENE, STUFF, TAGS, WIDTH, boxes
from pycocotools.coco import COCO
from specimens import extent

from must_tf.convert.yolo import Yolo
from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.records import HUMAN, open_dataset
from must_tf.sources.disk_list import DiskList
from must_tf.sources.opening import _LAYOUTS, open_source
from must_tf.tasks import Instances
from must_tf.tasks.detection import CROWD, DIFFICULT, UNSEEN
from must_tf.tasks.instances.masks import as_array, decode, encode

OBJECTS = Instances("objects", ("cup", "bowl"))
SOURCES = {
    ("coco", "boxes"): "coco:{out}/annotations/instances_boxes.json",
    ("coco", "stuff"): "coco:{out}/annotations/panoptic_stuff.json",
    ("yolo", "boxes"): "yolo:{out}/train",
    ("masks", "stuff"): "masks:{out}",
    ("voc", "stuff"): "voc:{out}/Segmentation/train",
    ("depth", "depth"): "depth:{out}",
}


def back(source, task, tmp_path):
    """Returns the labels of a source as records of a task, by the last part of the file's name."""
    label(source, (), tmp_path / "back", tasks={task: ""})
    found = {}
    for record in open_dataset(tmp_path / "back").records():
        assert record.origins == {task: HUMAN}
        found[record.filename.rpartition("/")[2]] = record.labels[task]
    return found


def by_name(records, task):
    labels = {record.filename: record.labels[task] for record in records.values() if task in record.labels}
    return {name.rpartition("/")[2]: value for name, value in labels.items() if name}


def test_coco_brings_back_boxes_with_what_is_ignored_and_was_not_seen(converted, records, tmp_path):
    out, _ = converted("coco", tasks=("boxes",))
    found = back(SOURCES["coco", "boxes"].format(out=out), "boxes", tmp_path)
    expected = by_name(records, "boxes")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        rows, wanted = (
            sorted(zip(one["ignore"].tolist(), one["boxes"].round(4).tolist(), strict=True))
            for one in (found[name], value)
        )
        np.testing.assert_allclose([box for _, box in rows], [box for _, box in wanted], atol=2e-4)
        assert [ignore for ignore, _ in rows] == [ignore for ignore, _ in wanted]
        plain = [one["classes"][one["ignore"] == 0].tolist() for one in (found[name], value)]
        assert sorted(plain[0]) == sorted(plain[1])


def test_corrected_boxes_come_back_under_the_name_of_their_task(converted, records, tmp_path):
    """A person deletes a box, moves another one and adds a third; images are found by name under the root."""
    out, _ = converted("coco", tasks=("boxes",))
    path = out / "annotations" / "instances_boxes.json"
    content = json.loads(path.read_text())
    image = next(one for one in content["images"] if one["file_name"] == "a.png")
    of_image = [one for one in content["annotations"] if one["image_id"] == image["id"]]
    kept = [one for one in content["annotations"] if one is not of_image[1]]
    of_image[0]["bbox"] = [4, 6, 10, 12]
    kept.append({"id": 99, "image_id": image["id"], "category_id": 2, "bbox": [0, 0, 20, 12], "iscrowd": 0})
    corrected = tmp_path / "corrected.json"
    corrected.write_text(json.dumps(content | {"annotations": kept}))
    label(f"coco:{corrected}", (), tmp_path / "back", root=out / "images", tasks={"boxes": ""})
    dataset = open_dataset(tmp_path / "back")
    assert [(task.name, task.class_names) for task in dataset.manifest.tasks] == [("boxes", BOXES.class_names)]
    found = {record.filename: record.labels["boxes"] for record in dataset.records()}
    assert found.keys() == {"a.png", "night/b.png", "night/c d.png"}
    np.testing.assert_allclose(found["a.png"]["boxes"], [[0.25, 0.1, 0.75, 0.35], [0, 0, 0.5, 0.5]], atol=1e-6)
    assert found["a.png"]["classes"].tolist() == [0, 1] and not found["a.png"]["ignore"].any()


def test_yolo_brings_back_plain_boxes(converted, records, tmp_path):
    out, _ = converted("yolo", tasks=("boxes",))
    found = back(SOURCES["yolo", "boxes"].format(out=out), "boxes", tmp_path)
    for name, value in found.items():
        expected = by_name(records, "boxes")[name]
        plain = expected["ignore"] == 0
        np.testing.assert_allclose(value["boxes"], expected["boxes"][plain], atol=1e-6)
        assert value["classes"].tolist() == expected["classes"][plain].tolist()
    assert found


@pytest.fixture
def objects(tmp_path):
    """A dataset of objects with several parts and holes, of a crowd, without a mask, and of what was not seen."""
    rng = np.random.default_rng(5)
    found = [np.kron(rng.random((6, 10)) < 0.4, np.ones((4, 4), bool)) for _ in range(4)]
    label = {
        "boxes": np.array([*map(extent, found), [0.25, 0, 0.5, 0.5], [0, 0, 0.5, 1]], np.float32),
        "classes": np.array([0, 1, 1, 0, 0, 0]),
        "scores": np.array([0.5, 0.75, 1, 1, 1, 0]),
        "ignore": np.array([0, 0, 0, CROWD, DIFFICULT, UNSEEN]),
        "masks": as_array([*map(encode, found), None, None]),
    }
    nothing = {key: values[:0] for key, values in label.items()}
    records = [toy.record(toy.random_image(rng, HEIGHT, WIDTH), {"objects": one}) for one in (label, nothing)]
    for record, name in zip(records, ("a.png", "b.png"), strict=True):
        record.filename = name
    toy.write_dataset(tmp_path / "data", records, [OBJECTS], 1)
    return tmp_path / "data", label


def test_coco_brings_back_masks_and_pycocotools_reads_them(converted, objects, tmp_path):
    data, label = objects
    out, done = converted("coco", data=data)
    assert done.labels == {"objects": 2}
    found = back(f"coco_masks:{out}/annotations/instances_objects.json", "objects", tmp_path)
    box = np.zeros((HEIGHT, WIDTH), bool)
    box[HEIGHT // 4 : HEIGHT // 2, : WIDTH // 2] = True  # of the object without a mask
    masks = [*label["masks"][:4], encode(box), None]
    assert list(found["a.png"]["masks"]) == masks
    assert found["a.png"]["ignore"].tolist() == label["ignore"].tolist()
    assert found["a.png"]["classes"].tolist() == label["classes"].tolist()
    np.testing.assert_allclose(found["a.png"]["boxes"], label["boxes"], atol=1e-5)
    assert len(found["b.png"]["masks"]) == 0
    coco = COCO(str(out / "annotations/instances_objects.json"))
    for one, rle in zip(coco.loadAnns(coco.getAnnIds()), masks[:-1], strict=True):
        np.testing.assert_array_equal(coco.annToMask(one), decode(rle))
        assert one["area"] == decode(rle).sum()


def test_yolo_brings_back_masks_pixel_by_pixel(converted, objects, tmp_path):
    """Also those of several parts and with holes: an object is one line."""
    data, label = objects
    out, done = converted("yolo", data=data)
    assert {"left out: boxes of crowds: 1", "left out: regions that the teacher did not see: 1"} <= set(done.lines)
    found = back(f"yolo_masks:{out}/train", "objects", tmp_path)
    assert found["a.png"]["classes"].tolist() == [0, 1, 1] and len(found["b.png"]["masks"]) == 0
    for rle, wanted in zip(found["a.png"]["masks"], label["masks"][:3], strict=True):
        np.testing.assert_array_equal(decode(rle), decode(wanted))
    assert Yolo.comes_back(OBJECTS) and not Yolo.comes_back(STUFF)  # so that an audit takes it


@pytest.mark.parametrize(("to", "prefix"), [("coco", "coco"), ("yolo", "yolo")])
def test_files_of_masks_do_not_come_back_as_boxes_alone_unless_a_task_for_them_is_named(
    to, prefix, converted, objects, tmp_path
):
    data, _ = objects
    out, _ = converted(to, data=data)
    place = f"{out}/annotations/instances_objects.json" if to == "coco" else f"{out}/train"
    where, masks = f"{prefix}:{place}", f"{prefix}_masks:{place}"
    with pytest.raises(
        UserError, match=rf"--merge={where}: reads boxes alone, .* \(objects\); give --merge={masks}, or"
    ):
        open_source(str(data), merge=[where])
    assert {task.name for task in open_source(str(data), merge=[masks]).tasks} == {"objects"}
    named = open_source(str(data), merge=[where], tasks={"boxes": ""})
    assert {task.name: task.kind for task in named.tasks} == {"objects": "instances", "boxes": "detection"}


def test_instances_of_some_classes_and_scores_are_converted(converted, objects):
    out, _ = converted("coco", data=objects[0], classes=("bowl",), min_score=0.8)
    coco = COCO(str(out / "annotations/instances_objects.json"))
    assert [one["score"] for one in coco.loadAnns(coco.getAnnIds())] == [1.0]


@pytest.mark.parametrize("where", ["Annotations", "Main/train"])
def test_voc_brings_back_boxes_within_half_a_pixel(where, converted, records, tmp_path):
    out, _ = converted("voc", tasks=("boxes",))
    found = back(f"voc:{out}/{where}", "boxes", tmp_path)
    expected = {name.replace(" ", "_"): value for name, value in by_name(records, "boxes").items()}
    for name, value in expected.items():
        seen = value["ignore"] != UNSEEN
        shift = (found[name]["boxes"] - value["boxes"][seen]) * (HEIGHT, WIDTH, HEIGHT, WIDTH)
        assert np.abs(shift).max(initial=0) <= 0.5 + 1e-4
        assert (found[name]["ignore"] > 0).tolist() == (value["ignore"][seen] > 0).tolist()
    assert any(len(value["boxes"]) for value in found.values())


@pytest.mark.parametrize("images", ["copy", "none"])
@pytest.mark.parametrize("where", ["yolo:{}/train", "voc:{}/Annotations", "voc:{}/Main/train"])
def test_names_with_two_suffixes_or_spaces_find_their_images(converted, tmp_path, where, images):
    """`a.jpg.txt` is the label of `a.jpg.png`, and of no `a.png`; a line `c d` of a list is not the name `c`."""
    rng, names = np.random.default_rng(0), ("a.jpg.png", "a.png", "c.png", "c d.png")
    made = [toy.record(toy.random_image(rng, HEIGHT, WIDTH)) for _ in names]
    for number, (record, name) in enumerate(zip(made, names, strict=True)):
        record.filename, record.origins = name, {"boxes": "det-1"}
        record.labels["boxes"] = boxes([(1, 2, 10, 12 + number, 0, 1, 0)])
    toy.write_dataset(tmp_path / "data", made, [BOXES])
    out, _ = converted(where.partition(":")[0], data=tmp_path / "data", images=images)
    label(tmp_path / "data", (), tmp_path / "back", merge=[where.format(out)])
    found = list(open_dataset(tmp_path / "back").records())
    assert [record.origins for record in found] == [{"boxes": HUMAN}] * 4
    for record, stored in zip(found, open_dataset(tmp_path / "data").records(), strict=True):
        assert np.abs(record.labels["boxes"]["boxes"] - stored.labels["boxes"]["boxes"]).max() < 0.5 / WIDTH


@pytest.mark.parametrize(("to", "task"), [key for key in SOURCES if key[1] in ("stuff", "depth")])
def test_maps_come_back(to, task, converted, records, tmp_path):
    out, _ = converted(to, tasks=(task,))
    found = back(SOURCES[to, task].format(out=out), task, tmp_path)
    expected = by_name(records, task)
    assert found
    for name, value in expected.items():
        name = name.replace(" ", "_") if to == "voc" else name
        if task == "stuff":
            known = (value >= 0) & (value < STUFF.num_classes)
            np.testing.assert_array_equal(found[name][known], value[known])
            assert (found[name][~known] >= STUFF.num_classes).all() or not (~known).any()
        else:
            np.testing.assert_allclose(found[name], value, atol=1e-3)


def test_normals_come_back(converted, tmp_path):
    rng = np.random.default_rng(0)
    normals = rng.normal(0, 1, (24, 40, 3))
    normals[..., 2] = -1 - np.abs(normals[..., 2])  # towards the camera
    normals[:5] = 0  # no label
    record = toy.record(toy.random_image(rng, 24, 40), {"normals": normals})
    record.filename = "a.png"
    toy.write_dataset(tmp_path / "data", [record], [toy.NORMALS], 1)
    out, _ = converted("normals", data=tmp_path / "data")
    (stored,) = (one.labels["normals"] for one in open_dataset(tmp_path / "data").records())
    (found,) = back(f"normals:{out}", "normals", tmp_path).values()
    assert (np.any(found, -1) == np.any(stored, -1)).all() and not np.any(found[:5])
    assert (found * stored).sum(-1)[5:].min() > np.cos(np.radians(1.2))  # each was rounded to 8 bits


def test_folders_bring_back_classes(converted, records, tmp_path):
    out, _ = converted("folders", tasks=("scene",))
    found = back(f"classes:{out}", "scene", tmp_path)
    expected = by_name(records, "scene")
    names = {name: SCENE.class_names[np.argmax(value) if np.ndim(value) else value] for name, value in expected.items()}
    told = next(iter(open_dataset(tmp_path / "back").manifest.tasks)).class_names
    assert {name: told[value] for name, value in found.items() if name in names} == names


@pytest.mark.parametrize("task", [BOXES, STUFF, SCENE, TAGS], ids=lambda task: task.name)
def test_label_studio_brings_back_what_was_submitted_unchanged(converted, records, tmp_path, task):
    """Boxes to 1e-6 of the image, masks and classes exactly. Ignored boxes and scores are not brought back."""
    out, _ = converted("labelstudio", tasks=(task.name,))
    path = out / "tasks.json"
    content = json.loads(path.read_text())
    for one in content:
        one["annotations"] = one["annotations"] or one["predictions"]
    path.write_text(json.dumps(content))
    found = back(f"labelstudio:{path}", task.name, tmp_path)
    expected = by_name(records, task.name)
    assert found.keys() >= expected.keys()
    for name, value in expected.items():
        if task is BOXES:
            plain = value["ignore"] == 0
            np.testing.assert_allclose(found[name]["boxes"], value["boxes"][plain], atol=1e-6)
            assert found[name]["classes"].tolist() == value["classes"][plain].tolist()
        elif task is SCENE:
            assert found[name] == (np.argmax(value) if np.ndim(value) else value)
        else:
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(("to", "task", "where"), [
    ("yolo", "boxes", "yolo:{}/train"), ("voc", "boxes", "voc:{}/Annotations"), ("csv", "scene", "csv:{}/scene.csv"),
    ("coco", "boxes", "coco:{}/annotations/instances_boxes.json"),
    ("coco", "stuff", "coco:{}/annotations/panoptic_stuff.json"),
])  # fmt: skip
def test_paths_of_images_stay_on_the_disk(converted, to, task, where):
    """A million of them, and their labels, would take more than a gigabyte of memory."""
    out, _ = converted(to, tasks=(task,))
    prefix, _, spec = where.format(out).partition(":")
    items = _LAYOUTS[f"{prefix}:"](spec).items
    assert isinstance(items, DiskList) and len(items) > 1
