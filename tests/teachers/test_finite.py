"""An image for which a model gives a value that is not finite gets no label; other images are unaffected."""

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.teachers.foreign import ForeignTeacher
from must_tf.teachers.model import Model, Slot

VIEW = (4, 6)
BOXES = {"suppressed": True, "box_format": "xyxy", "box_units": "normalized"}
RAW = {"suppressed": False, "activation": "sigmoid"}
ANCHORS = {"strides": [2], "aspect_ratios": [1.0], "interpolated_scale_aspect_ratio": 0}

# Name → fields of a card, and the shapes of an image's outputs by role.
CARDS = {
    "classification": ({"activation": "logits"}, {"probs": (2,)}),
    "classification, sigmoid": ({"activation": "sigmoid"}, {"probs": (2,)}),
    "classification, mapped": ({"activation": "logits", "classes": {"a": "x"}}, {"probs": (2,)}),
    "segmentation": ({"activation": "logits"}, {"probs": (2, 3, 2)}),
    "segmentation, one channel": ({"activation": "sigmoid"}, {"probs": (2, 3, 1)}),
    "segmentation, mask": ({}, {"mask": (2, 3)}),
    "depth": ({"convention": "metric"}, {"depth": (2, 3)}),
    "depth, inverse": ({"convention": "metric", "inverse": True}, {"depth": (*VIEW, 1)}),
    "depth, affine": ({"convention": "affine_inverse"}, {"depth": (2, 3)}),
    "normals": ({}, {"normals": (2, 3, 3)}),
    "detection": (BOXES, {"boxes": (5, 4), "scores": (5,), "classes": (5,)}),
    "detection, packed": (BOXES, {"packed": (200, 6)}),
    "detection, raw": (
        RAW | {"box_format": "cxcywh", "box_units": "normalized"},
        {"boxes": (6, 4), "scores": (6, 2)},
    ),
    "detection, anchors": (RAW | {"box_format": "cxcywh", "anchors": ANCHORS}, {"boxes": (6, 4), "scores": (6, 2)}),
}


def plausible(role, values):
    """Returns values with which a card may be right: corners in order, whole class ids, and logits."""
    if role == "boxes":
        return np.sort(values, -1)
    if role == "classes":
        return np.rint(values)
    if role == "packed":
        return np.concatenate([np.sort(values[:, :4], -1), values[:, 4:5], np.rint(values[:, 5:])], -1)
    return values - 0.5 if (role, values.ndim) in (("scores", 2), ("probs", 3)) else values


class Marked(Model):
    """A model with fixed random outputs; for white images, one value of one output is `bad`."""

    format = "rule"
    packages = ("tensorflow",)
    path = "marked.bin"

    def __init__(self, shapes, batch=None, flat=False):
        rng = np.random.default_rng(0)
        self.inputs, self.flat = (Slot("images", (batch, *VIEW, 3), "float32"),), flat
        values = {role: rng.uniform(0.1, 0.9, shape).astype(np.float32) for role, shape in shapes.items()}
        self.arrays = {role: plausible(role, array) for role, array in values.items()}
        self.role, self.place, self.bad = next(iter(shapes)), 0, np.nan

    def outputs(self):
        return tuple(Slot(role, (None, *array.shape), "float32") for role, array in self.arrays.items())

    def predict(self, images):
        found = {role: np.repeat(array[None], len(images), 0) for role, array in self.arrays.items()}
        found[self.role].reshape(len(images), -1)[images.max((1, 2, 3)) > 0.9, self.place] = self.bad
        return {role: array[0] if self.flat else array for role, array in found.items()}

    def sha256(self):
        return "0" * 64


def teacher(name, model, **fields):
    task = name.partition(",")[0]
    names = None if task in ("depth", "normals") else ("a", "b")
    outputs = {role: role for role in model.arrays}
    return ForeignTeacher(model, toy.card(task, class_names=names, range=(0, 1), outputs=outputs, **fields), "t")


def views(*white):
    images = np.zeros((3, *VIEW, 3), np.uint8)
    images[list(white)] = 255
    return images


def is_finite(outputs):
    """Returns for each image whether all outputs are finite, as labeling checks."""
    return [all(np.isfinite(values[i]).all() for values in outputs.values()) for i in range(3)]


def assert_only_the_bad_one_is_lost(found, good):
    for bad in (np.nan, np.inf, -np.inf):
        for role, array in found.model.arrays.items():
            for place in (0, array.size - 1):
                found.model.role, found.model.place, found.model.bad = role, place, bad
                outputs = found(views(1))
                assert is_finite(outputs) == [True, False, True], (role, place, bad)
                for name, values in outputs.items():
                    np.testing.assert_array_equal(values.numpy()[[0, 2]], good[name].numpy()[[0, 2]])


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("batch", [None, 2])
def test_image_of_which_a_value_is_not_finite_has_no_label(name, batch):
    fields, shapes = CARDS[name]
    found = teacher(name, Marked(shapes, batch), **fields)
    good = found(views())
    assert all(is_finite(good))
    assert_only_the_bad_one_is_lost(found, good)


@pytest.mark.parametrize("name", ["detection", "detection, packed"])
def test_boxes_without_a_batch_that_are_not_finite_have_no_label(name):
    fields, shapes = CARDS[name]
    found = teacher(name, Marked(shapes, 1, flat=True), **fields)
    assert_only_the_bad_one_is_lost(found, found(views()))


@pytest.mark.parametrize("shape", [(), (1,)])
def test_boxes_beyond_the_count_may_be_anything(shape):
    fields, shapes = CARDS["detection"]
    found = teacher("detection", Marked(shapes | {"count": shape}), **fields)
    found.model.arrays["count"] = np.full(shape, 3, np.float32)
    for row, fine in ((2, False), (3, True)):
        found.model.role, found.model.place = "scores", row
        assert is_finite(found(views(0))) == [fine, True, True]
    found.model.role, found.model.place = "count", 0
    assert is_finite(found(views(0))) == [False, True, True]


@pytest.mark.parametrize(("task", "bad"), [("things", np.nan), ("things", -np.inf), ("depth", -np.inf)])
def test_student_predictions_that_are_not_finite_have_no_label(task, bad, toy_run):
    """Outputs for the other images are those of `Student.infer`."""
    import toy

    found = toy.load(task, f"student:{toy_run}")
    student = found.student
    images = np.random.default_rng(0).integers(0, 256, (3, *toy.VIEW, 3), np.uint8)
    expected = student.infer(tf.constant(images))[task]

    def spoilt(images):
        predictions = student(images)
        first, *others = tf.nest.flatten(predictions[task])
        second = tf.reshape([False, True, False], [3] + [1] * (len(first.shape) - 1))
        return {task: tf.nest.pack_sequence_as(predictions[task], [tf.where(second, bad, first), *others])}

    found.student = spoilt
    outputs = found(images)
    assert is_finite(outputs) == [True, False, True]
    for name, values in outputs.items():
        np.testing.assert_allclose(values.numpy()[[0, 2]], expected[name].numpy()[[0, 2]], rtol=1e-4, atol=1e-5)
