import dataclasses

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.quality import compare
from must_tf.tasks import Detection

BOXES = Detection("boxes", ("cat", "dog"))
SWAPPED = Detection("boxes", ("dog", "bird", "cat"))
OTHER = Detection("boxes", ("cat", "cow"))


def label(*rows):
    """Returns a label of boxes of (class, left edge in tenths)."""
    sides = [(0.1, left / 10, 0.5, left / 10 + 0.2) for _, left in rows]
    return {"boxes": np.array(sides, np.float32).reshape(-1, 4), "classes": np.array([c for c, _ in rows], int)}


def records(labels, task=BOXES, prefix=""):
    """Returns records of different images, with these labels."""
    found = []
    for index, one in enumerate(labels):
        image = np.full((20, 30, 3), 10 * index, np.uint8)
        found.append(toy.record(image, {} if one is None else {task.name: one}))
        found[-1].filename = f"{prefix}{index}.png"
    return found


@pytest.fixture
def first(tmp_path):
    labels = [label((0, 1), (1, 4)), label((0, 1)), label(), None, label((1, 2)), label((0, 7))]
    toy.write_dataset(tmp_path / "first", records(labels), [BOXES], 2, {"license": "MIT"})
    return tmp_path / "first"


def test_images_are_matched_by_content_and_labels_by_task(first, tmp_path):
    labels = [label((0, 1), (1, 4)), label((0, 1), (0, 7)), label(), label((0, 1)), None]
    second = records(labels, prefix="renamed/")
    new = toy.record(np.full((9, 9, 3), 255, np.uint8))
    toy.write_dataset(tmp_path / "second", [*second, second[0], new, new], [BOXES, toy.DEPTH], 1, {"license": "CC0"})
    found = compare(first, tmp_path / "second")
    assert (found.shared, found.only_first.count, found.only_first.names) == (5, 1, ("5.png",))
    assert (found.only_second.count, found.only_second.names) == (1, (new.id,))
    boxes = found.tasks["boxes"]
    assert (boxes.same, boxes.different, boxes.only_first, boxes.only_second) == (2, 1, 1, 1)
    assert boxes.classes == {"cat": (2, 3, 2), "dog": (1, 1, 1)}  # in both, in the second, in the first
    assert any(line.startswith('source.license: "MIT", now "CC0"') for line in found.manifest)
    assert any(line.startswith("tasks.") for line in found.manifest) and "boxes" not in "".join(found.manifest)


def test_a_dataset_is_the_same_as_itself(first):
    found = compare(first, first)
    boxes = found.tasks["boxes"]
    assert (found.shared, found.only_first.count, found.only_second.count, found.manifest) == (6, 0, 0, [])
    assert (boxes.same, boxes.different, boxes.only_first, boxes.only_second) == (5, 0, 0, 0)
    assert all(both == one == other for both, one, other in boxes.classes.values())


def test_classes_are_matched_by_name(first, tmp_path):
    labels = [label((2, 1), (0, 4)), label((2, 1)), label(), None, label((1, 2))]
    toy.write_dataset(tmp_path / "second", records(labels, SWAPPED), [SWAPPED])
    for pair in ((first, tmp_path / "second"), (tmp_path / "second", first)):
        boxes = compare(*pair).tasks["boxes"]
        assert (boxes.same, boxes.different) == (3, 1) and boxes.classes["cat"] == (2, 2, 2)


def test_labels_that_cannot_be_compared_say_why(first, tmp_path):
    toy.write_dataset(tmp_path / "other", records([label((1, 1))], OTHER), [OTHER])
    assert compare(first, tmp_path / "other").tasks["boxes"].reason == "each has classes that the other has not"
    depth = dataclasses.replace(toy.DEPTH, name="boxes")
    toy.write_dataset(tmp_path / "depth", toy.toy_records(2, tasks=[depth]), [depth])
    assert compare(first, tmp_path / "depth").tasks["boxes"].reason == "kind differs"


def test_maps_are_compared_value_by_value(tmp_path):
    one, other = toy.toy_records(4, tasks=[toy.DEPTH]), toy.toy_records(4, tasks=[toy.DEPTH])
    other[2].labels["depth"] = other[2].labels["depth"] + 0.5
    toy.write_dataset(tmp_path / "one", one, [toy.DEPTH])
    toy.write_dataset(tmp_path / "other", other, [toy.DEPTH])
    depth = compare(tmp_path / "one", tmp_path / "other").tasks["depth"]
    assert (depth.same, depth.different, depth.classes) == (3, 1, {})


def test_a_folder_that_is_no_dataset_is_a_user_error(first, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        compare(first, tmp_path / "nothing")
