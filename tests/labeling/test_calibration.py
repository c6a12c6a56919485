"""Tests of the search of a teacher's thresholds on labeled images."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import calibrated, label
from must_tf.records import HUMAN, Record, open_dataset
from must_tf.tasks import Depth, Detection
from must_tf.teachers import TeacherSpec, load_teachers
from must_tf.teachers.foreign import ForeignTeacher

SIZE = 16


class Model(tf.Module):
    """Finds a box in each quarter of the image; scores are the mean red, green and blue of the image, and 0.05."""

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")])
    def serve(self, images):
        batch = tf.shape(images)[0]
        boxes = tf.constant([[0.0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]])
        scores = tf.concat([tf.reduce_mean(images, [1, 2]), tf.fill([batch, 1], 0.05)], 1)
        classes = tf.tile(tf.constant([[0.0, 1, 0, 1]]), [batch, 1])
        return {"boxes": tf.tile(boxes[tf.newaxis], [batch, 1, 1]), "scores": scores, "classes": classes}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    model = Model()
    tf.saved_model.save(model, str(path), {"serving_default": model.serve})
    return TeacherSpec.of(
        "things",
        f"savedmodel:{path}",
        fields={
            "task": "detection",
            "range": [0, 1],
            "resize": "stretch",
            "class_names": ["cup", "box"],
            "suppressed": True,
            "box_format": "yxyx",
            "box_units": "normalized",
            "outputs": {"boxes": "boxes", "scores": "scores", "classes": "classes"},
        },
    )


def records_of(folder, task, labels, origin=HUMAN):
    """Writes a dataset of images whose mean red is the number of the image in hundredths; green is a constant."""
    entries = []
    for number, value in enumerate(labels):
        pixels = np.full((SIZE, SIZE, 3), [round(2.55 * number), 100, 0], np.uint8)
        entries.append(Record(toy.png(pixels), "PNG", SIZE, SIZE, f"{number}", {task.name: value}, {task.name: origin}))
    toy.write_dataset(folder, entries, [task])
    return folder


TASK = Detection("labels", ("cup", "box"))


def cups(right):
    """Returns the label of an image in which the first box is right or not."""
    boxes = [[0.0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1]]
    return {"boxes": np.array(boxes if right else boxes[1:]), "classes": np.array([0, 1] if right else [1])}


def test_threshold_of_each_class_is_the_one_with_the_best_f1(teacher, tmp_path, capsys):
    """A cup is right from a red of 0.4 on; boxes of the other class are right with 0.39 and wrong with 0.05."""
    records = records_of(tmp_path / "records", TASK, [cups(number >= 40) for number in range(80)])
    spec = calibrated(teacher, records)
    best = spec.thresholds["min_score"]
    assert best["cup"] == pytest.approx(0.4, abs=0.005) and best["box"] == pytest.approx(100 / 255, abs=1e-3)
    assert f"things: min_score cup 0.4, box 0.392, the best on 80 images of {records}" in capsys.readouterr().out
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (30, 50):
        Image.fromarray(np.full((SIZE, SIZE, 3), [round(2.55 * number), 100, 0], np.uint8)).save(
            folder / f"{number}.png"
        )
    label(folder, load_teachers([spec]), tmp_path / "out")
    found = [record.labels["things"]["classes"].tolist() for record in open_dataset(tmp_path / "out").records()]
    assert sorted(found) == [[0, 1], [1]]


def test_image_on_which_the_model_fails_is_left_out_and_counted(teacher, tmp_path, monkeypatch, capsys):
    records = records_of(tmp_path / "records", TASK, [cups(number >= 40) for number in range(80)])
    predict = ForeignTeacher.predict

    def fails(self, views, batch_size):
        if any(view[0, 0, 0] == 0 for view in views):
            raise RuntimeError("no box")
        return predict(self, views, batch_size)

    monkeypatch.setattr(ForeignTeacher, "predict", fails)
    best = calibrated(teacher, records).thresholds["min_score"]
    assert best["cup"] == pytest.approx(0.4, abs=0.005)
    assert f"the best on 79 images of {records} (1 more could not be read or labeled)" in capsys.readouterr().out


def test_threshold_that_is_given_is_not_searched(teacher, tmp_path):
    records = records_of(tmp_path / "records", TASK, [cups(True)])
    with pytest.raises(UserError, match=r"received together with things\.min_score; give one of them"):
        calibrated(dataclasses.replace(teacher, thresholds={"min_score": 0.3}), records)


def test_class_with_few_labels_takes_the_best_over_all(teacher, tmp_path):
    labels = [cups(number >= 40) for number in range(49)]
    best = calibrated(teacher, records_of(tmp_path / "records", TASK, labels)).thresholds["min_score"]
    pooled = calibrated(teacher, records_of(tmp_path / "again", TASK, labels)).thresholds["min_score"]
    assert best == pooled and best["cup"] == pytest.approx(best["box"])


@pytest.mark.parametrize(
    ("task", "labels", "origin", "message"),
    [
        (TASK, [cups(True)], "a-teacher", "no image has a human label of task 'labels'"),
        (Depth("labels"), [np.ones((SIZE, SIZE))], HUMAN, "it has no labels of detection"),
        (
            Detection("labels", ("box", "cup")),
            [cups(True)],
            HUMAN,
            r"\(--classes changes labels\): .* has class_names \('box', 'cup'\), not",
        ),
        (TASK, [{"boxes": np.array([[0.2, 0.2, 0.3, 0.3]]), "classes": [0]}], HUMAN, "found nothing right in 1 images"),
    ],
)
def test_images_that_cannot_calibrate_are_refused(task, labels, origin, message, teacher, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        calibrated(teacher, records_of(tmp_path / "records", task, labels, origin))
    assert "\n" not in str(error.value)


def test_kind_without_a_search_is_refused(saved_depth, tmp_path):
    with pytest.raises(UserError, match="depth has no threshold that can be searched; leave it out"):
        calibrated(saved_depth, records_of(tmp_path / "records", TASK, [cups(True)]))


@pytest.fixture
def saved_depth(tmp_path):
    class Ramp(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")])
        def serve(self, images):
            return {"depth": 1 + images[..., 0]}

    model = Ramp()
    tf.saved_model.save(model, str(tmp_path / "depth"), {"serving_default": model.serve})
    fields = {"task": "depth", "convention": "metric", "range": [0, 1], "resize": "stretch"}
    return TeacherSpec.of("depth", f"savedmodel:{tmp_path / 'depth'}", fields=fields)
