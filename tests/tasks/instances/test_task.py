import dataclasses
import re

import numpy as np
import pytest
import specimens
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.geometry import Geometry, center_crop
from must_tf.records import deserialize, serialize
from must_tf.tasks import Detection, Segmentation
from must_tf.tasks.detection import CROWD, DIFFICULT, UNSEEN
from must_tf.tasks.instances import masks

SPECIMEN = specimens.SPECIMENS["instances"]
TASK = SPECIMEN.tasks[0]
SIZE = toy.VIEW


def inside(top, left, bottom, right, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def label(*found, ignore=None, classes=None):
    """Returns a label of masks; None is an object without one, over the whole image."""
    boxes = [specimens.extent(mask) if mask is not None else np.array([0, 0, 1, 1]) for mask in found]
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "classes": np.array(classes or [0] * len(found)),
        "scores": np.ones(len(found), np.float32),
        "ignore": np.array(ignore or [0] * len(found)),
        "masks": masks.as_array(None if mask is None else masks.encode(mask) for mask in found),
    }


def stored(made, size=SIZE):
    return deserialize(serialize(toy.record(np.zeros((*size, 3), np.uint8), {TASK.name: made}), [TASK]), [TASK])


def test_a_large_scene_of_many_objects_stays_small():
    y, x = np.mgrid[:1500, :2000]
    found = [(y - 75 * i) ** 2 + (x - 100 * i) ** 2 < 200**2 for i in range(20)]
    record = toy.record(np.zeros((8, 8, 3), np.uint8))
    record.height, record.width = 1500, 2000
    features = TASK.encode(label(*found))
    assert sum(map(len, features[f"{TASK.name}/mask/counts"])) < 60_000 < 20 * 1500 * 2000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"masks": masks.as_array([None])}, "an object without a mask that is not ignored"),
        ({"masks": masks.as_array([masks.encode(np.zeros(SIZE))])}, "an object with an empty mask"),
        ({"masks": masks.as_array([{"size": [9, 9], "counts": b"11"}])}, "2 pixels for a frame of 9x9"),
        ({"masks": masks.as_array(["1"])}, "a mask that is no RLE"),
        ({"masks": masks.as_array([{"size": [9], "counts": b"11"}])}, "a mask that is no RLE"),
        ({"masks": masks.as_array([{"size": ["9", "9"], "counts": b"11"}])}, "a mask that is no RLE"),
        ({"masks": masks.as_array([])}, "masks and boxes of different lengths"),
        ({"classes": np.array([7])}, "classes {7}"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused_by_name(change, said):
    with pytest.raises(UserError, match=f"task 'objects': .*{re.escape(said)}"):
        TASK.encode(label(inside(2, 2, 9, 9)) | change)


def test_a_label_of_boxes_alone_is_refused_by_name():
    boxes = {key: values for key, values in label(inside(2, 2, 9, 9)).items() if key != "masks"}
    with pytest.raises(UserError, match="task 'objects': a label without masks received"):
        TASK.encode(boxes)


def test_masks_of_another_size_than_the_image_are_flaws():
    target = toy.numpy(toy.target(TASK, label(inside(2, 2, 9, 9)), *SIZE))
    assert TASK.flaws(target, *SIZE) == []
    assert TASK.flaws(target, 9, 9) == ["a mask of 4096 pixels for a frame of 9x9"]
    assert "1 masks of 2 objects" in TASK.flaws(target | {"classes": np.array([0, 1])}, *SIZE)[0]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([masks.encode(np.ones((9, 9)))["counts"]], "cannot decode a mask of 81 pixels for a frame of 64x64"),
        ([b"\xff"], "cannot decode a mask whose RLE is damaged"),
        ([], "cannot decode 0 masks of 1 objects"),
    ],
)
def test_damaged_masks_of_records_are_never_drawn_or_converted(counts, said):
    record = toy.record(np.zeros((*SIZE, 3), np.uint8), {TASK.name: label(inside(2, 2, 9, 9))})
    record.features[TASK.name] = TASK.encode(record.labels[TASK.name]) | {f"{TASK.name}/mask/counts": counts}
    with pytest.raises(tf.errors.OpError, match=said):
        deserialize(serialize(record, [TASK]), [TASK])


def window(flip=False):
    """The left upper quarter of an image, twice as large."""
    return Geometry(tf.constant(SIZE), tf.constant([128, 128]), tf.zeros(2, tf.int32), tf.constant(flip), SIZE)


@pytest.mark.parametrize("flip", [False, True])
def test_masks_move_with_their_pixels(flip):
    """The mask is a triangle that the window cuts."""
    triangle = np.tril(np.ones(SIZE, bool))
    moved = TASK.label(toy.numpy(TASK.transform(toy.target(TASK, label(triangle), *SIZE), window(flip))))
    want = np.kron(triangle[:32, :32], np.ones((2, 2), bool))
    found = masks.decode(moved["masks"][0])
    assert (found == (want[:, ::-1] if flip else want)).mean() > 0.97
    assert moved["ignore"].tolist() == [0]


def test_an_object_whose_mask_a_crop_hides_is_ignored_and_not_background():
    corners = inside(0, 40, 20, 64) | inside(40, 0, 64, 20)  # its box covers the window, its mask does not
    assert not corners[:20, :20].any()
    zoom = Geometry(tf.constant(SIZE), tf.constant([192, 192]), tf.zeros(2, tf.int32), tf.constant(False), SIZE)
    task = dataclasses.replace(TASK, min_visible=0.0)
    moved = task.label(toy.numpy(task.transform(toy.target(task, label(corners), *SIZE), zoom)))
    assert moved["ignore"].tolist() == [DIFFICULT]


def test_what_a_teacher_did_not_see_is_marked_and_what_the_view_cut_is_ignored():
    size = (64, 128)
    teacher = toy.FakeTeacher(TASK, None)
    teacher.resize = "crop"
    truth = toy.target(TASK, label(inside(16, 20, 48, 60, size), inside(20, 70, 40, 90, size)), *size)
    view = toy.numpy(TASK.transform(truth, center_crop(size, SIZE)))
    found = teacher.label(SPECIMEN.perfect_outputs(TASK, view), *size)
    assert sorted(found["ignore"].tolist()) == [0, DIFFICULT, UNSEEN, UNSEEN]
    plain = int(np.flatnonzero(found["ignore"] == 0)[0])
    np.testing.assert_array_equal(masks.decode(found["masks"][plain]), inside(20, 70, 40, 90, size))
    back = stored(found, size).labels[TASK.name]
    SPECIMEN.assert_same(TASK, back, found)
    assert [rle is None for rle in back["masks"]] == (back["ignore"] == UNSEEN).tolist()


def test_teacher_keeps_masks_of_a_score_of_one_half_that_have_a_pixel():
    outputs = {
        "boxes": np.tile(np.float32([0.25, 0.25, 0.75, 0.75]), (4, 1)),
        "classes": np.array([0, 1, 1, -1]),
        "scores": np.array([0.5, 0.49, 0.9, 0.9]),
        "masks": np.stack([np.eye(4), np.ones((4, 4)), np.zeros((4, 4)), np.ones((4, 4))]).astype(np.uint8),
        "size": np.array([8, 8]),
    }
    found = TASK.pseudo_label(outputs)
    assert found["classes"].tolist() == [0] and masks.area(found["masks"][0]) == 4


def measured(target, outputs):
    metric = TASK.metrics()
    metric.update(toy.numpy(toy.batch([target])), toy.numpy(toy.batch([outputs])))
    return metric.result()


def test_ap_is_that_of_masks_and_not_of_boxes():
    """Two masks share their box, and nothing else."""
    upper, lower = np.triu(np.ones(SIZE, bool)), np.tril(np.ones(SIZE, bool))
    one, other = (toy.numpy(toy.view_target(TASK, label(mask), *SIZE)) for mask in (upper, lower))
    outputs = SPECIMEN.perfect_outputs(TASK, other)
    assert measured(one, outputs)["AP50"] == 0 and measured(other, outputs)["AP"] == pytest.approx(1)


def test_stored_masks_are_measured_at_full_size():
    target = toy.numpy(toy.target(TASK, label(inside(3, 5, 200, 150, (300, 400))), 300, 400))
    moved = toy.numpy(toy.view_target(TASK, label(inside(3, 5, 200, 150, (300, 400))), 300, 400, (300, 400)))
    assert measured(target, SPECIMEN.perfect_outputs(TASK, moved))["AP"] == pytest.approx(1)


def test_a_crowd_takes_several_detections_that_are_neither_right_nor_wrong():
    crowd = toy.numpy(
        toy.view_target(TASK, label(inside(0, 0, 64, 32), inside(8, 40, 40, 60), ignore=[CROWD, 0]), *SIZE)
    )
    parts = label(inside(0, 0, 20, 32), inside(30, 0, 64, 20), inside(8, 40, 40, 60))
    outputs = SPECIMEN.perfect_outputs(TASK, toy.numpy(toy.view_target(TASK, parts, *SIZE)))
    assert measured(crowd, outputs)["AP"] == pytest.approx(1)
    plain = crowd | {"ignore": np.zeros_like(crowd["ignore"])}
    assert measured(plain, outputs)["AP"] < 0.6


def test_grades_against_boxes_and_masks_of_the_same_classes():
    boxes = Detection("boxes", ("bowl", "cup"))
    stuff = Segmentation("stuff", ("rest", "cup"))
    cup = inside(8, 8, 24, 40)
    made = label(cup, inside(40, 40, 60, 60), ignore=[0, CROWD])
    pair = TASK.grade_with(boxes)
    same = {"boxes": np.array([[8 / 64, 8 / 64, 24 / 64, 40 / 64], [0.9, 0.9, 1, 1]]), "classes": np.array([1, 1])}
    assert pair.add(made, same)
    assert pair.scores() == pytest.approx({"objects": 1, "box_iou": 1, "agree": 1, "found": 0.5})
    pair = TASK.grade_with(stuff)
    mask = np.where(inside(8, 8, 24, 24), 1, 0)
    mask[0] = stuff.ignore
    assert pair.add(made, mask)
    assert pair.scores() == pytest.approx({"objects": 1, "agree": 0.5, "covered": 1})
    assert TASK.grade_with(Detection("other", ("lamp",))) is None
    assert not TASK.grade_with(boxes).add(label(), {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int)})


def test_pictures_have_an_outline_and_dim_what_was_not_seen():
    image = np.full((*SIZE, 3), 100, np.uint8)
    made = label(inside(20, 8, 60, 40), inside(0, 48, 64, 64), ignore=[0, UNSEEN])
    made["masks"][1] = None
    picture = TASK.draw(image, made).astype(int)
    edge, center, hidden, plain = picture[40, 8], picture[45, 24], picture[40, 60], picture[62, 4]
    assert (edge != center).any() and (center != plain).any() and hidden.max() < 50 and (plain == 100).all()


def test_predictions_of_several_variants_vote_on_each_pixel():
    left, whole = inside(0, 0, 64, 40), inside(0, 0, 64, 44)
    parts = [SPECIMEN.perfect_outputs(TASK, toy.numpy(toy.view_target(TASK, label(m), *SIZE))) for m in (left, whole)]
    seen = [np.array([0.0, 0, 1, 1])] * 2
    merged = TASK.merge(parts, seen)
    assert (merged["classes"] >= 0).sum() == 1 and merged["scores"][0] == 1 and merged["size"].tolist() == [*SIZE]
    found = masks.decode(TASK.pseudo_label(merged)["masks"][0])
    assert (found == inside(0, 0, 64, 42)).mean() > 0.95
    nothing = SPECIMEN.perfect_outputs(TASK, toy.numpy(toy.view_target(TASK, label(), *SIZE)))
    assert (TASK.merge([nothing, None], seen)["classes"] == -1).all()


def test_statistics_and_histograms_leave_ignored_objects_apart():
    made = label(inside(0, 0, 32, 32), None, ignore=[0, CROWD], classes=[1, 0])
    assert TASK.statistics(made) == {"boxes": 1, "ignored boxes": 1, "bowl": 1}
    assert sum(TASK.histograms(made)["share of the box that is mask"].values()) == 1
