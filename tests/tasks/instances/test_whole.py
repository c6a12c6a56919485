"""Masks of objects go from a teacher through labeling, records, pages and grades, and a student learns them."""

import numpy as np
import pytest
import specimens
import toy

from must_tf.experiments.rooms.trunk import TRUNK
from must_tf.export import export
from must_tf.inference import evaluate
from must_tf.labeling import label
from must_tf.labeling.grade import flip_agreement
from must_tf.pipeline import Augment
from must_tf.records import open_dataset
from must_tf.report import inspect, summary
from must_tf.sources.rooms.dataset import INSTANCES, make_rooms
from must_tf.tasks import Segmentation
from must_tf.tasks.detection import UNSEEN
from must_tf.tasks.instances import masks
from must_tf.teachers.foreign import ForeignTeacher
from must_tf.teachers.model import Model, Slot
from must_tf.training import Experiment, Optimizer, load_student, read_metrics, train

TASK = specimens.SPECIMENS["instances"].tasks[0]
SIDE = 28  # of masks, as of Mask R-CNN


class Bright(Model):
    """A Mask R-CNN without weights: its object is what is bright; it takes one image, and may find nothing."""

    format = "rule"
    packages = ("tensorflow",)
    path = "bright.bin"
    inputs = (Slot("images", (1, 64, 64, 3), "float32"),)

    def sha256(self):
        return "0" * 64

    def outputs(self):
        shapes = {"boxes": (None, 4), "labels": (None,), "scores": (None,), "masks": (None, 1, SIDE, SIDE)}
        return tuple(Slot(name, shape, "float32") for name, shape in shapes.items())

    def predict(self, images):
        inside = images[0, ..., 0] > 0.5
        y, x = np.nonzero(inside)
        if not len(y):
            empty = {"boxes": (0, 4), "labels": (0,), "scores": (0,), "masks": (0, 1, SIDE, SIDE)}
            return {name: np.zeros(shape, np.float32) for name, shape in empty.items()}
        top, left, bottom, right = y.min(), x.min(), y.max() + 1, x.max() + 1
        rows = (top + (np.arange(SIDE) + 0.5) / SIDE * (bottom - top)).astype(int)
        columns = (left + (np.arange(SIDE) + 0.5) / SIDE * (right - left)).astype(int)
        grid = inside[np.ix_(rows, columns)].astype(np.float32)
        box = np.float32([[left, top, right, bottom]])
        return {
            "boxes": box,
            "labels": np.float32([2]),
            "scores": np.float32([0.75]),
            "masks": grid[np.newaxis, np.newaxis],
        }


def teacher(resize="stretch"):
    card = toy.card(
        "instances",
        class_names=["cup", "bowl"],
        input_size=[64, 64],
        resize=resize,
        range=[0, 1],
        suppressed=True,
        background_first=True,
        box_format="xyxy",
        box_units="pixels",
        mask_frame="box",
        outputs={"boxes": "boxes", "scores": "scores", "classes": "labels", "masks": "masks"},
    )
    return ForeignTeacher(Bright(), card, TASK.name)


def triangle(size):
    """Returns a picture of a bright triangle, and its pixels."""
    inside = np.zeros(size, bool)
    height, width = size
    part = inside[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    part[:] = np.tri(*part.shape) > 0
    return np.where(inside[..., np.newaxis], np.uint8(255), np.uint8(0)).repeat(3, -1), inside


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Records of triangles that a teacher has labeled, beside the same pixels as a segmentation by people."""
    root = tmp_path_factory.mktemp("instances")
    stuff = Segmentation("stuff", ("rest", "bowl"))
    sizes = [(64, 64), (90, 64), (64, 120), (128, 128), (100, 100), (64, 64)]
    records = []
    for number, size in enumerate(sizes):
        image, inside = triangle(size)
        image = image if number < 5 else np.zeros_like(image)
        image[0, 0, 2] = number  # no two are the same
        records.append(toy.record(image, {"stuff": inside.astype(int) * (number < 5)}))
    toy.write_dataset(root / "truth", records, [stuff], 1)
    label(str(root / "truth"), [teacher()], root / "data")
    return root / "data"


def test_labels_are_the_pixels_that_the_teacher_found(data):
    found = list(open_dataset(data).records())
    assert len(found) == 6
    for record in found:
        labeled, inside = record.labels[TASK.name], record.labels["stuff"] == 1
        assert len(labeled["masks"]) == inside.any()
        if inside.any():
            mask = masks.decode(labeled["masks"][0])
            assert (mask & inside).sum() / (mask | inside).sum() > 0.9
            assert labeled["classes"].tolist() == [1] and labeled["scores"].tolist() == [0.75]


def test_they_are_inspected_graded_and_shown(data, tmp_path):
    dataset, findings, grades = inspect(data, tmp_path / "page.html")
    assert not findings.problems and "bowl" in summary(dataset, findings, grades)
    (grade,) = grades
    assert grade.tasks == (TASK.name, "stuff") and grade.images == 5
    assert grade.scores["objects"] == 5 and min(grade.scores["agree"], grade.scores["covered"]) > 0.9


def test_a_teacher_is_compared_with_itself_on_mirror_images():
    found = flip_agreement(teacher("fit"), [triangle((80, 64))[0], triangle((64, 64))[0]])
    assert found["AP50"] == pytest.approx(1)


def test_what_a_crop_hides_is_a_region_that_was_not_seen():
    image, _ = triangle((64, 128))
    cropping = teacher("crop")
    (outputs,) = cropping.predict([cropping.view(image)], 1)
    assert cropping.label(outputs, 64, 128)["ignore"].tolist().count(UNSEEN) == 2


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Eight rendered rooms, and the run of a student that has seen them again and again."""
    root = tmp_path_factory.mktemp("rooms")
    make_rooms("instances/train", root, 64, 8)
    experiment = Experiment(
        (INSTANCES,),
        (str(root / "instances/train"),),
        steps=120,
        input_size=(64, 64),
        batch_size=8,
        trunk=TRUNK,
        optimizer=Optimizer("adamw", 0.004, warmup_steps=20, clip_norm=5.0),
        augment=Augment(scale=(1.0, 1.0)),
        log_every=10,
    )
    train(experiment, root / "run")
    return root


@pytest.mark.slow
def test_a_student_learns_them(rooms):
    losses = [line["loss"] for line in read_metrics(rooms / "run")]
    assert losses[-1] < 0.4 * losses[0]
    scores = evaluate(load_student(rooms / "run"), open_dataset(rooms / "instances/train"), (64, 64))
    assert scores[INSTANCES.name]["AP50"] > 0.3


@pytest.mark.slow
def test_a_student_labels_with_them(rooms, tmp_path):
    student = toy.load("found", f"student:{rooms / 'run'}")  # under another name, because labels by people win
    label(str(rooms / "instances/train"), [student], tmp_path / "out")
    found = [record.labels["found"] for record in open_dataset(tmp_path / "out").records()]
    assert len(found) == 8 and sum(len(one["masks"]) for one in found) > 8
    assert all(masks.area(rle) > 0 and rle["size"] == [64, 64] for one in found for rle in one["masks"])


@pytest.mark.slow
def test_a_student_of_them_is_exported(rooms, tmp_path):
    """Each file is loaded in a process of its own and compared with the student, before it is kept."""
    found = export(rooms / "run", tmp_path / "out", formats=["savedmodel", "onnx", "litert"], litert_images=2)
    compared = {(parity.file.partition("/")[0], parity.output) for parity in found if parity.compared}
    assert {(name, f"instances/{key}") for name in ("savedmodel", "onnx") for key in ("boxes", "masks")} <= compared
    assert "the second stage needs operations that LiteRT lacks" in (tmp_path / "out/README.md").read_text()
    assert not (tmp_path / "out/onnx/heads.onnx").exists()
