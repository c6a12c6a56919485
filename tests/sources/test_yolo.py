"""Boxes of YOLO: data.yaml of Ultralytics and Roboflow, folders of labelImg, polygons, keypoints, and wrong rows."""

import layouts
import numpy as np
import pytest
import yaml

from must_tf.errors import UserError
from must_tf.sources import open_source
from must_tf.tasks import Instances
from must_tf.tasks.detection import DIFFICULT
from must_tf.tasks.instances.masks import decode

ROWS = "1 0.5 0.5 0.25 0.5\n0 0.125 0.25 0.25 0.5\n"
BOXES = [[0.25, 0.375, 0.75, 0.625], [0, 0, 0.5, 0.25]]  # ymin, xmin, ymax, xmax of the rows


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def dataset(folder, images="train/images", labels="train/labels", **description):
    """Writes three images: one with two boxes, one with an empty label, and one without a label."""
    for number, name in enumerate("abc"):
        layouts.write_jpeg(folder / images / f"{name}.jpg", 20, 40, number)
    write(folder / labels / "a.txt", ROWS)
    write(folder / labels / "b.txt", "\n")
    if description:
        write(folder / "data.yaml", yaml.safe_dump(description))
    return folder


NAMES = ["cat", "dog"]


@pytest.mark.parametrize(
    ("images", "labels", "description"),
    [
        ("train/images", "train/labels", {"names": NAMES, "nc": 2}),
        ("train/images", "train/labels", {"names": NAMES, "train": "../train/images"}),  # Roboflow
        ("images/train", "labels/train", {"names": {0: "cat", 1: "dog"}, "path": "../x", "train": "images/train"}),
        ("images/train", "labels/train", {"names": NAMES, "path": ".", "train": ["images/train"]}),
        ("train/images", "train/labels", {"names": NAMES, "train": "..\\train\\images"}),  # of Windows
        ("train", "train", {"names": NAMES}),  # labels beside the images
    ],
)  # fmt: skip
def test_images_and_labels_are_found_where_data_yaml_says(tmp_path, images, labels, description):
    dataset(tmp_path / "set", images, labels, **description)
    for where in (f"yolo:{tmp_path}/set/train", f"yolo:{tmp_path}/set/data.yaml/train"):
        task, records, bad = layouts.entries(where)
        assert (task.name, task.class_names) == ("yolo_detection", ("cat", "dog")) and not bad
        found = records["a.jpg"].labels[task.name]
        np.testing.assert_allclose(found["boxes"], BOXES, atol=1e-6)
        assert found["classes"].tolist() == [1, 0]
        assert all(len(records[f"{name}.jpg"].labels[task.name]["boxes"]) == 0 for name in "bc")
        (line,) = open_source(where).warnings
        assert line.endswith("1 of 3 images have no .txt: taken as without objects")


@pytest.mark.parametrize("train", [["a/images", "a/images"], ["a", "a/images"]])
def test_folder_that_is_named_twice_is_refused(tmp_path, train):
    dataset(tmp_path, "a/images", "a/labels", names=NAMES, train=train)
    with pytest.raises(UserError, match=r"a\.jpg is there twice; name each folder of images once in .*data\.yaml"):
        open_source(f"yolo:{tmp_path}/train")


def test_two_images_of_one_label_are_refused(tmp_path):
    layouts.write_jpeg(dataset(tmp_path, names=NAMES) / "train/images/a.png", 20, 40)
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png differ by their suffix alone; rename one"):
        open_source(f"yolo:{tmp_path}/train")


def test_validation_has_several_names(tmp_path):
    dataset(tmp_path, "valid/images", "valid/labels", names=NAMES)
    assert open_source(f"yolo:{tmp_path}/val").count == 3
    with pytest.raises(UserError, match="no images of test in"):
        open_source(f"yolo:{tmp_path}/test")


def test_folder_with_a_list_of_classes_is_one_dataset(tmp_path):
    dataset(tmp_path, "images", "labels")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "labels/orphan.txt", ROWS)
    task, records, bad = layouts.entries(f"yolo:{tmp_path}")
    assert task.class_names == ("cat", "dog") and len(records) == 3 and not bad
    assert any("1 labels without an image, such as" in line for line in open_source(f"yolo:{tmp_path}").warnings)


def test_a_folder_above_the_dataset_may_be_called_images(tmp_path):
    folder = dataset(tmp_path / "images/pets", "train", "train", names=NAMES)
    task, records, bad = layouts.entries(f"yolo:{folder}/train")
    assert len(records["a.jpg"].labels[task.name]["boxes"]) == 2 and not bad
    write(folder / "train/orphan.txt", ROWS)
    assert any("1 labels without an image, such as" in line for line in open_source(f"yolo:{folder}/train").warnings)
    (folder / "train").rename(tmp_path / "images/photos")
    for name in "ab":
        write(folder / f"train/{name}.txt", ROWS)
    _, records, bad = layouts.entries(f"yolo:{folder}/train", root=tmp_path / "images/photos")
    assert set(records) == {"a.jpg", "b.jpg"} and not bad


def test_list_of_images_is_read(tmp_path):
    dataset(tmp_path, "images/all", "labels/all", names=NAMES, train="train.txt")
    write(tmp_path / "train.txt", "./images/all/a.jpg\n./images/all/b.jpg\n")
    _, records, bad = layouts.entries(f"yolo:{tmp_path}/train")
    assert set(records) == {"a.jpg", "b.jpg"} and not bad


@pytest.mark.parametrize("folder", ["", "data/", "C:\\pets\\"])
def test_labels_of_a_list_find_their_images_under_a_root(tmp_path, folder):
    """CVAT exports labels without images, and a list of the images in the place of a folder."""
    dataset(tmp_path / "photos", "2024", "nowhere")
    write(tmp_path / "cvat/data.yaml", "names: {0: cat, 1: dog}\npath: ./\ntrain: train.txt\n")
    write(tmp_path / "cvat/train.txt", f"{folder}images/train/a.jpg\r\n{folder}images/train/b.jpg\r\n")
    write(tmp_path / "cvat/labels/train/a.txt", ROWS)
    write(tmp_path / "cvat/labels/train/c.txt", ROWS)  # not in the list
    task, records, bad = layouts.entries(f"yolo:{tmp_path}/cvat/train", root=tmp_path / "photos")
    assert set(records) == {"a.jpg"} and not bad
    np.testing.assert_allclose(records["a.jpg"].labels[task.name]["boxes"], BOXES, atol=1e-6)
    (tmp_path / "cvat/labels/train/a.txt").unlink()
    with pytest.raises(UserError, match=r"train\.txt: no label is there, such as .*labels/train/a\.txt"):
        open_source(f"yolo:{tmp_path}/cvat/train", root=tmp_path / "photos")


@pytest.mark.parametrize("description", ["names: [cat]\n", "names: [cat]\ntrain: ../train/images\n"])
def test_labels_without_images_ask_for_the_root(tmp_path, description):
    write(tmp_path / "data.yaml", description)
    write(tmp_path / "train/labels/a.txt", "0 0.5 0.5 0.25 0.5\n")
    with pytest.raises(UserError, match="give the folder with the images as --root, if they lie elsewhere"):
        open_source(f"yolo:{tmp_path}/train")
    layouts.write_jpeg(tmp_path / "photos/a.jpg", 20, 40)
    assert open_source(f"yolo:{tmp_path}/train", root=tmp_path / "photos").count == 1


def test_labels_alone_find_their_images_under_a_root(tmp_path):
    dataset(tmp_path / "photos", "2024", "nowhere")
    layouts.write_jpeg(tmp_path / "corrected/images/a.jpg", 20, 40)  # its labels lie elsewhere
    write(tmp_path / "corrected/obj_train_data/a.txt", ROWS)
    write(tmp_path / "corrected/classes.txt", "cat\ndog\n")
    task, records, bad = layouts.entries(f"yolo:{tmp_path}/corrected", root=tmp_path / "photos")
    assert set(records) == {"a.jpg"} and not bad
    np.testing.assert_allclose(records["a.jpg"].labels[task.name]["boxes"], BOXES, atol=1e-6)


def test_a_list_is_no_label_and_a_label_of_its_name_is_one(tmp_path):
    layouts.write_jpeg(tmp_path / "photos/train.jpg", 20, 40)
    layouts.write_jpeg(tmp_path / "photos/test.jpg", 20, 40, 1)
    write(tmp_path / "corrected/labels/train.txt", ROWS)
    write(tmp_path / "corrected/labels/test.txt", "")  # all boxes were deleted
    write(tmp_path / "corrected/labels/valid.txt", "images/train.jpg\n")
    write(tmp_path / "corrected/labels/classes.txt", "cat\ndog\n")
    _, records, bad = layouts.entries(f"yolo:{tmp_path}/corrected", root=tmp_path / "photos")
    assert set(records) == {"train.jpg", "test.jpg"} and not bad


@pytest.mark.parametrize(
    ("row", "box"),
    [
        ("0 0.25 0.5 0.5 0.5 0.5 1", [0.5, 0.25, 1, 0.5]),  # a triangle
        ("0 0.25 0.5 0.5 0.5 0.5 1 0.25 1", [0.5, 0.25, 1, 0.5]),  # an oriented box
    ],
)
def test_polygons_become_boxes_and_a_note_says_so(tmp_path, row, box):
    write(dataset(tmp_path, names=NAMES) / "train/labels/a.txt", row)
    task, records, _ = layouts.entries(f"yolo:{tmp_path}/train")
    np.testing.assert_allclose(records["a.jpg"].labels[task.name]["boxes"], [box], atol=1e-6)
    assert "polygons become the boxes around them" in records["a.jpg"].notes


@pytest.mark.parametrize(
    ("rows", "corners"),
    [
        ("0 0.1 0.1 0.9 0.9\n1 0.2 0.2 0.7 0.8\n", True),
        ("0 0.1 0.1 0.9 0.9\n1 0.5 0.5 0.25 0.5\n", False),  # the second one is no box of corners
        ("0 0.2 0.2 0.4 0.4\n", False),  # both are possible, and the box lies in the image
    ],
)
def test_corners_are_told_of_where_they_reach_beyond_the_image(tmp_path, rows, corners):
    write(dataset(tmp_path, names=NAMES) / "train/labels/a.txt", rows)
    _, records, _ = layouts.entries(f"yolo:{tmp_path}/train")
    assert any("would all fit as corners (x1 y1 x2 y2)" in note for note in records["a.jpg"].notes) == corners


def test_box_that_is_there_twice_is_noted(tmp_path):
    write(dataset(tmp_path, names=NAMES) / "train/labels/a.txt", ROWS + ROWS.splitlines()[0])
    task, records, _ = layouts.entries(f"yolo:{tmp_path}/train")
    assert records["a.jpg"].notes == ["a box that is there twice, with one class, counts twice"]
    assert len(records["a.jpg"].labels[task.name]["boxes"]) == 3


def test_empty_line_between_names_of_classes_is_refused(tmp_path):
    """Dropped in silence, it gives all later ids the name of the class before."""
    dataset(tmp_path, "images", "labels")
    write(tmp_path / "classes.txt", "cat\n\ndog\n")
    with pytest.raises(UserError, match=r"classes\.txt: line 2 is empty; expected the name of class 1"):
        open_source(f"yolo:{tmp_path}")


def test_polygons_are_masks_and_boxes_are_ignored(tmp_path):
    rows = "0 0.25 0.5 0.5 0.5 0.5 1 0.25 1\n1 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.1001 0.1 0.1001 0.1001\n"
    write(dataset(tmp_path, names=NAMES) / "train/labels/a.txt", rows)
    task, records, bad = layouts.entries(f"yolo_masks:{tmp_path}/train")
    assert task == Instances("yolo_instances", ("cat", "dog")) and not bad
    found = records["a.jpg"].labels[task.name]
    np.testing.assert_allclose(found["boxes"][0], [0.5, 0.25, 1, 0.5], atol=1e-6)
    inside = np.zeros((20, 40), bool)
    inside[10:, 10:20] = True
    np.testing.assert_array_equal(decode(found["masks"][0]), inside)
    assert found["ignore"].tolist() == [0, DIFFICULT, DIFFICULT] and list(found["masks"][1:]) == [None, None]
    assert records["a.jpg"].notes == ["objects without a mask, or with one that holds no pixel, are ignored"]
    assert len(records["b.jpg"].labels[task.name]["masks"]) == 0


def test_boxes_alone_are_no_masks_and_no_object_at_all_is_a_label(tmp_path):
    dataset(tmp_path, names=NAMES)
    with pytest.raises(UserError, match=r"yolo_masks:.*/train: none of its labels has a polygon; .* with yolo:"):
        open_source(f"yolo_masks:{tmp_path}/train")
    write(tmp_path / "train/labels/a.txt", "\n")
    task, records, _ = layouts.entries(f"yolo_masks:{tmp_path}/train")
    assert len(records["a.jpg"].labels[task.name]["masks"]) == 0


def test_oriented_boxes_are_told_of_where_masks_are_read(tmp_path):
    row = "0 0.25 0.5 0.5 0.5 0.5 1 0.25 1\n"
    write(dataset(tmp_path, names=NAMES) / "train/labels/a.txt", row * 2)
    assert any("four corners: oriented boxes?" in line for line in open_source(f"yolo_masks:{tmp_path}/train").warnings)
    write(tmp_path / "train/labels/b.txt", row.strip() + " 0.2 0.7\n")
    assert not any("four corners" in line for line in open_source(f"yolo_masks:{tmp_path}/train").warnings)


def test_keypoints_are_no_polygon(tmp_path):
    dataset(tmp_path, names=NAMES, kpt_shape=[2, 3])
    write(tmp_path / "train/labels/a.txt", "1 0.5 0.5 0.25 0.5 0.1 0.1 2 0.9 0.9 2\n")
    task, records, _ = layouts.entries(f"yolo:{tmp_path}/train")
    np.testing.assert_allclose(records["a.jpg"].labels[task.name]["boxes"], BOXES[:1], atol=1e-6)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2, expected 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5, expected 0 to 1"),
        ("cat 0.5 0.5 0.1 0.1", "expected numbers"),
        ("0 20 10 8 8", "expected fractions from 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "expected fractions from 0 to 1"),
        ("nan 0.5 0.5 0.1 0.1", "class nan"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers (a confidence? expected labels of people)"),
        ("0 0.5 0.5", "3 numbers, expected a class and 4, or a polygon"),
    ],
)
def test_wrong_row_quarantines_the_image_and_is_not_taken_as_nothing_here(tmp_path, row, said):
    write(dataset(tmp_path, names=NAMES) / "train/labels/a.txt", f"{ROWS}{row}\n")
    _, records, bad = layouts.entries(f"yolo:{tmp_path}/train")
    assert set(records) == {"b.jpg", "c.jpg"}
    assert "a.txt: line 3: " in bad[0].reason and said in bad[0].reason


def test_label_that_cannot_be_read_is_not_taken_as_nothing_here(tmp_path):
    dataset(tmp_path, names=NAMES)
    (tmp_path / "train/labels/a.txt").write_bytes(b"\xff\xfe0 \x80")
    (tmp_path / "train/labels/c.txt").symlink_to("gone")
    _, records, bad = layouts.entries(f"yolo:{tmp_path}/train")
    assert set(records) == {"b.jpg"} and len(bad) == 2


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"nc": 2}, "has no names of classes"),
        ({"names": ["cat", "cat"]}, "'cat' is there twice"),
        ({"names": ["cat", False]}, "False received; expected text: put it in quotes"),
        ({"names": {0: "cat", 2: "dog"}}, "expected the ids 0 to 1"),
        ({"names": NAMES, "nc": 3}, "nc: 3 received; expected 2"),
        ({"names": NAMES, "train": "nowhere"}, "names 'nowhere', which is not there"),
        ({"names": NAMES, "train": 3}, "train: 3 received"),
    ],
)
def test_wrong_data_yaml_is_refused_in_one_line(tmp_path, description, said):
    dataset(tmp_path, **description)
    with pytest.raises(UserError, match=said) as caught:
        open_source(f"yolo:{tmp_path}/train")
    assert "\n" not in str(caught.value)


def test_dataset_without_a_label_or_a_split_is_refused(tmp_path):
    dataset(tmp_path, names=NAMES)
    with pytest.raises(UserError, match=r"names no split; expected .*/train"):
        open_source(f"yolo:{tmp_path}")
    for name in "ab":
        (tmp_path / f"train/labels/{name}.txt").unlink()
    with pytest.raises(UserError, match="none of 3 images has a label"):
        open_source(f"yolo:{tmp_path}/train")


def test_boxes_agree_with_supervision(tmp_path):
    supervision = pytest.importorskip("supervision")
    dataset(tmp_path, names=NAMES)
    write(tmp_path / "train/labels/c.txt", "0 0.5 0.5 0.3 0.2\n1 0.4 0.6 0.1 0.3\n")
    places = {"images": "images_directory_path", "labels": "annotations_directory_path"}
    theirs = supervision.DetectionDataset.from_yolo(
        **{key: str(tmp_path / "train" / name) for name, key in places.items()},
        data_yaml_path=str(tmp_path / "data.yaml"),
    )
    task, records, _ = layouts.entries(f"yolo:{tmp_path}/train")
    assert tuple(theirs.classes) == task.class_names and len(theirs) == len(records)
    for path, _, found in theirs:
        label = records[path.rpartition("/")[2]].labels[task.name]
        ymin, xmin, ymax, xmax = label["boxes"].T * [[20], [40], [20], [40]]
        np.testing.assert_allclose(np.stack([xmin, ymin, xmax, ymax], 1), found.xyxy.reshape(-1, 4), atol=1e-4)
        np.testing.assert_array_equal(label["classes"], found.class_id)
