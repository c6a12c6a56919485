import re

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.labeling.grade import Grader, flip_agreement, flip_grade
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import WORLDS
from must_tf.tasks import Depth, Detection, Normals, Segmentation
from must_tf.tasks.detection import UNSEEN
from must_tf.tasks.normals.grade import fit_field_of_view, normals_of_depth

BOXES = Detection("things", ("chair", "table"), max_boxes=6)
MASK = Segmentation("stuff", ("floor", "table", "chair"))


def plane(normal, height, width, field):
    """Returns the metric depth [height, width] of a plane through (0, 0, 3), for a field of view in degrees."""
    focal = max(height, width) / 2 / np.tan(np.radians(field) / 2)
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(x - width / 2) / focal, (y - height / 2) / focal, np.ones((height, width))], -1)
    return 3 * normal[2] / (rays @ normal)


def unit(*vector):
    return np.array(vector) / np.linalg.norm(vector)


@pytest.mark.parametrize("normal", [unit(0, 0, -1), unit(0.3, -0.2, -1), unit(-0.5, 0.4, -1)])
@pytest.mark.parametrize("size", [(24, 32), (40, 20)])
def test_normals_of_a_planes_depth_are_the_planes_normal(normal, size):
    found = normals_of_depth(plane(normal, *size, 60), 60)
    assert not found[0].any() and not found[:, -1].any()
    np.testing.assert_allclose(found[1:-1, 1:-1], np.broadcast_to(normal, (size[0] - 2, size[1] - 2, 3)), atol=1e-6)


def test_edges_and_holes_have_no_normal():
    depth = np.full((9, 9), 2.0)
    depth[:, 5:] = 4.0
    depth[2, 2] = np.nan
    valid = normals_of_depth(depth, 60).any(-1)
    assert not valid[:, 4:6].any() and not valid[1:4, 2].any() and not valid[2, 1:4].any()
    assert valid[6, 1:4].all() and valid[6, 6:8].all()


@pytest.mark.parametrize("field", [40, 60, 90])
def test_fit_field_of_view_recovers_the_field_of_view(field):
    normal = unit(0.5, -0.3, -1)
    found, rebuilt, best = fit_field_of_view(np.tile(normal, (300, 200, 1)), plane(normal, 300, 200, field))
    assert best == field and max(found.shape) <= 128
    np.testing.assert_allclose(rebuilt[5:-5, 5:-5], found[5:-5, 5:-5], atol=1e-3)


def grades(tasks, *labels):
    grader = Grader(tasks)
    for label in labels:
        grader.update(toy.record(np.zeros((8, 8, 3), np.uint8), label))
    return grader.result()


def test_depth_of_rendered_rooms_agrees_with_their_normals_and_not_with_mirrored_ones():
    tasks = (Normals("normals"), Depth("depth"))
    samples = [render(WORLDS["downstream_normals"], 0, i, 64) for i in range(3)]
    (true,) = grades(tasks, *({"normals": s.normals, "depth": s.depth} for s in samples))
    (false,) = grades(tasks, *({"normals": s.normals[:, ::-1], "depth": s.depth} for s in samples))
    assert true.tasks == ("normals", "depth") and true.images == 3
    assert true.scores["within_11.25"] > 0.9 and 30 <= true.scores["field_of_view"] <= 100
    assert false.scores["within_11.25"] < 0.6
    assert 0.5 < true.scores["compared"] < 1
    said = r"within_11.25 [\d.]+, mean_angle [\d.]+ °, compared [\d.]+, field_of_view [\d.]+ °"
    assert re.fullmatch(said, true.words(3))


def test_boxes_that_fit_their_masks_get_perfect_scores():
    mask = np.zeros((10, 20), int)
    mask[2:6, 4:10] = 2
    sides = {"boxes": np.array([[0.2, 0.2, 0.6, 0.5]]), "classes": np.array([0])}
    (grade,) = grades((BOXES, MASK), {"things": sides, "stuff": mask})
    assert grade.scores == pytest.approx({"boxes": 1, "box_iou": 1, "agree": 1, "filled": 1, "covered": 1})


@pytest.mark.parametrize(
    ("box", "cls", "iou", "covered"),
    [
        ([0.0, 0.0, 1.0, 1.0], 0, 24 / 200, 1),  # far too large
        ([0.2, 0.2, 0.6, 0.35], 0, 1, 0.5),  # half of it
        ([0.2, 0.2, 0.6, 0.5], 1, 0, 0),  # another class
        ([0.7, 0.7, 0.9, 0.9], 0, 0, 0),  # elsewhere
    ],
)
def test_boxes_that_do_not_fit_their_masks_get_lower_scores(box, cls, iou, covered):
    mask = np.zeros((10, 20), int)
    mask[2:6, 4:10] = 2
    label = {"things": {"boxes": np.array([box]), "classes": np.array([cls])}, "stuff": mask}
    (grade,) = grades((BOXES, MASK), label)
    assert grade.scores["box_iou"] == pytest.approx(iou) and grade.scores["covered"] == pytest.approx(covered)


def test_ignored_pixels_do_not_count():
    mask = np.full((10, 10), MASK.ignore)
    label = {"boxes": np.array([[0.0, 0.0, 1.0, 1.0]]), "classes": np.array([0])}
    assert grades((BOXES, MASK), {"things": label, "stuff": mask}) == []
    mask[:5] = 2
    (grade,) = grades((BOXES, MASK), {"things": label, "stuff": mask})
    assert grade.scores["filled"] == 1


def test_pixels_that_the_teacher_of_boxes_did_not_see_do_not_count():
    mask = np.full((10, 20), 2)
    label = {"boxes": np.array([[0, 0.5, 1, 1], [0, 0, 1, 0.5]]), "classes": np.zeros(2, int)}
    (grade,) = grades((BOXES, MASK), {"things": label | {"ignore": np.array([0, UNSEEN])}, "stuff": mask})
    assert grade.scores["covered"] == grade.scores["boxes"] == 1


def test_tasks_with_nothing_in_common_get_no_grade():
    other = Segmentation("stuff", ("floor", "wall"))
    inverse = Depth("depth", convention="affine_inverse")
    label = {"boxes": np.array([[0.0, 0.0, 1.0, 1.0]]), "classes": np.array([0])}
    assert grades((BOXES, other), {"things": label, "stuff": np.zeros((8, 8), int)}) == []
    maps = {"normals": np.tile((0, 0, -1.0), (8, 8, 1)), "depth": np.ones((8, 8))}
    assert grades((Normals("normals"), inverse), maps) == []
    assert grades((Normals("normals"), Depth("depth")), {"depth": np.ones((8, 8))}) == []


# Teachers on mirror images

RNG = np.random.default_rng(0)
IMAGES = [toy.random_image(RNG, *size) for size in toy.SIZES]


def left_is_floor(red):
    """Returns a segmentation that depends on the column alone, so that no mirror image can agree with it."""
    columns = tf.broadcast_to(tf.range(red.shape[2]) < red.shape[2] // 2, tf.shape(red))
    return {"probs": tf.one_hot(tf.cast(columns, tf.int32), 3)}


def vectors(red, odd):
    """Returns normals that lean along the gradient of brightness; if not `odd`, always to the right."""
    padded = tf.pad(red, [[0, 0], [0, 0], [1, 1]], "SYMMETRIC")
    slope = padded[:, :, 2:] - padded[:, :, :-2]
    x = slope if odd else tf.abs(slope) + 1
    return {"normals": tf.math.l2_normalize(tf.stack([x, tf.zeros_like(x), -tf.ones_like(x)], -1), -1)}


@pytest.mark.parametrize("resize", ["fit", "stretch", "crop"])
def test_teacher_that_depends_on_color_alone_agrees_with_itself_on_mirror_images(resize):
    segmenter, classifier = toy.segmenter(), toy.classifier()
    depth = toy.FakeTeacher(toy.DEPTH, lambda red: {"depth": red[..., tf.newaxis] + 1})
    for teacher, metric in ((segmenter, "mIoU"), (classifier, "top1"), (depth, "delta1")):
        teacher.resize = resize
        assert flip_agreement(teacher, IMAGES)[metric] == pytest.approx(1)


def test_scores_of_a_grade_have_their_units():
    depth = toy.FakeTeacher(toy.DEPTH, lambda red: {"depth": red[..., tf.newaxis] + 1})
    assert re.fullmatch(r"delta1 1, AbsRel \S+, RMSE \S+ m", flip_grade(depth, IMAGES[:1]).words(3))


def test_share_of_images_with_outputs_that_are_not_finite_is_reported():
    def rule(red):
        return {"depth": tf.where(red < tf.reduce_max(red[:1]), red, np.nan)[..., tf.newaxis] + 1}

    scores = flip_agreement(toy.FakeTeacher(toy.DEPTH, rule), IMAGES)
    assert scores["not_finite"] == 1
    assert "not_finite" not in flip_agreement(toy.segmenter(), IMAGES)


def test_share_of_images_on_which_a_model_fails_is_reported():
    def rule(red):
        if tf.reduce_max(red) < 0.1:
            raise RuntimeError("k should not be greater than 0")
        return toy.bright_is_floor(red)

    scores = flip_agreement(toy.FakeTeacher(toy.STUFF, rule), [*IMAGES, np.zeros((64, 64, 3), np.uint8)])
    assert scores["failed"] == 1 / (len(IMAGES) + 1) and scores["mIoU"] == pytest.approx(1)


def test_teacher_that_depends_on_the_column_does_not_agree():
    assert flip_agreement(toy.FakeTeacher(toy.STUFF, left_is_floor), IMAGES)["mIoU"] < 0.1


def test_vectors_are_mirrored_with_the_image():
    turning = toy.FakeTeacher(toy.NORMALS, lambda red: vectors(red, odd=True))
    fixed = toy.FakeTeacher(toy.NORMALS, lambda red: vectors(red, odd=False))
    images = [toy.random_image(RNG, 64, 64)]
    assert flip_agreement(turning, images)["within_11.25"] > 0.95
    assert flip_agreement(fixed, images)["within_11.25"] < 0.1


def test_boxes_are_mirrored_with_the_image():
    def bright_column(red):
        column = tf.cast(tf.argmax(tf.reduce_mean(red, 1), 1), tf.float32) / red.shape[2]
        box = tf.stack([tf.zeros_like(column), column, tf.ones_like(column), column + 1 / red.shape[2]], -1)
        ones = tf.ones_like(column)[:, tf.newaxis]
        return {"boxes": box[:, tf.newaxis], "classes": tf.cast(ones, tf.int32), "scores": ones}

    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 9] = 255
    assert flip_agreement(toy.FakeTeacher(toy.THINGS, bright_column), [image])["AP50"] == pytest.approx(1)


def test_student_can_be_the_teacher(classifier_run):

    scores = flip_agreement(toy.load("scene", f"student:{classifier_run}"), IMAGES[:2])
    assert set(scores) == {"top1"} and 0 <= scores["top1"] <= 1
