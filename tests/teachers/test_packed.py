"""Detectors that give boxes, scores and classes in one packed array after suppression."""

import numpy as np
import pytest
import toy

from must_tf.errors import UserError
from must_tf.tasks.detection.boxes import keep_best
from must_tf.tasks.detection.layouts import unpack
from must_tf.teachers.foreign import ForeignTeacher
from must_tf.teachers.model import Model, Slot

VIEW = (48, 64)


class BrightBox(Model):
    """Finds the bright pixels of each image: one row x1, y1, x2, y2, score, class in pixels; then rows of nothing."""

    format = "rule"
    packages = ("tensorflow",)
    path = "bright.bin"

    def __init__(self, batch, flat=False, width=6):
        self.inputs, self.flat, self.width = (Slot("images", (batch, *VIEW, 3), "float32"),), flat, width

    def outputs(self):
        return (Slot("output0", (None, None, self.width), "float32"),)

    def predict(self, images):
        rows = [self._row(image) for image in images]
        found = np.stack([np.stack([np.zeros(6), row]) for row in rows])[..., : self.width]
        return {"output0": found[0][-1 if images.max() > 0.9 else 0 :] if self.flat else found}

    def _row(self, image):
        y, x = np.nonzero(image[..., 0] > 0.5)
        corners = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(y) else (0, 0, 0, 0)
        return np.array([*corners, 0.9, 1], np.float32)

    def sha256(self):
        return "0" * 64


def teacher(model, **fields):
    defaults = {
        "task": "detection",
        "class_names": ("a", "b"),
        "range": (0, 1),
        "outputs": {"packed": "output0"},
        "suppressed": True,
        "box_format": "xyxy",
        "box_units": "pixels",
    }
    return ForeignTeacher(model, toy.card(**defaults | fields), "boxes")


@pytest.mark.parametrize("resize", ["fit", "stretch", "crop"])
@pytest.mark.parametrize("batch, flat", [(None, False), (1, False), (1, True)])
def test_packed_boxes_are_in_the_frame_of_the_image(resize, batch, flat):
    found = teacher(BrightBox(batch, flat), resize=resize)
    image = np.zeros((120, 100, 3), np.uint8)
    image[50:80, 30:70] = 255
    views = np.stack([found.view(image), np.zeros((*VIEW, 3), np.uint8)])
    outputs = {name: values.numpy()[0] for name, values in found(views).items()}
    label = found.label(outputs, 120, 100)
    real = label["ignore"] == 0
    assert label["classes"][real].tolist() == [1] and label["scores"][real].tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(label["boxes"][0] * [120, 100, 120, 100], [50, 30, 80, 70], atol=2.6)


@pytest.mark.parametrize("order", [("box", "score", "class"), ("class", "score", "box"), ("score", "box", "class")])
def test_parts_are_taken_by_the_order_of_the_card(order):
    parts = {"box": [1, 2, 3, 4], "score": [0.5], "class": [7]}
    row = np.array([[value for part in order for value in parts[part]]])
    found = keep_best(**unpack(row, order, 8, 1), max_outputs=3)
    assert found["boxes"][0].tolist() == [[1, 2, 3, 4], [0] * 4, [0] * 4]
    assert found["scores"][0].tolist() == [0.5, 0, 0] and found["classes"][0].tolist() == [7, -1, -1]


def test_the_best_rows_are_kept_and_none_is_no_error():
    rows = np.zeros((1, 4, 6))
    rows[0, :, 4] = [0.1, 0.9, 0.3, 0.8]
    order = ("box", "score", "class")
    np.testing.assert_allclose(keep_best(**unpack(rows, order, 2, 1), max_outputs=2)["scores"], [[0.9, 0.8]])
    assert (keep_best(**unpack(np.zeros((0, 6)), order, 2, 1), max_outputs=2)["classes"] == -1).all()


def test_what_is_not_packed_so_is_one_line():
    with pytest.raises(UserError, match=r"packed: shape \[2, 2, 5\]; expected \[batch, N, 6\]"):
        teacher(BrightBox(None, width=5))
    with pytest.raises(UserError, match=r"packed_order: .* expected box, score and class"):
        teacher(BrightBox(None), packed_order=("box", "score"))
