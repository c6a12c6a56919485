"""Tests of draft cards."""

import pytest
import toy
import yaml

from must_tf.errors import UserError
from must_tf.teachers import read_card

KINDS = ("classification", "segmentation", "depth", "normals", "detection")


@pytest.mark.parametrize("kind", KINDS)
def test_draft_is_a_card_that_guesses_the_kind_and_the_outputs(kind, saved, tmp_path):
    where = saved("savedmodel", kind)
    text = toy.describe(where)
    assert "images: float32 [?, 16, 24, 3]" in text and "# guess" in text
    path = tmp_path / "draft.yaml"
    fields = yaml.safe_load(text)
    assert fields["task"] == kind  # of three channels: by the name of the output
    if kind == "detection":
        (tmp_path / "FILL_IN.txt").write_text("a\nb")
        text = text.replace("box_format: yxyx", "box_format: cxcywh")  # its boxes contradict the guess
    path.write_text(text)
    assert read_card(path).input_size == (16, 24)
    assert toy.load("t", where, card=str(path)).task.kind == kind


def test_unknown_format_is_named():
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        toy.describe("onxx:model.onnx")
    with pytest.raises(UserError, match=r"model\.tflite: no format; expected FORMAT:PATH, as litert:model\.tflite"):
        toy.describe("model.tflite")


def test_student_is_said_to_need_no_card():
    with pytest.raises(UserError, match="student:runs/a: a student needs no card"):
        toy.describe("student:runs/a")


def test_draft_saved_where_it_says_is_found(saved, tmp_path):
    """With a slash after the folder, too."""
    where = saved("savedmodel", "depth") + "/"
    card = tmp_path / "savedmodel-depth.card.json"
    card.unlink()
    with pytest.raises(UserError, match=f"must label --describe={where}"):
        toy.load("t", where)
    text = toy.describe(where)
    (place,) = [line.rpartition(" ")[2] for line in text.splitlines() if "save it as" in line]
    with open(place, "w") as file:
        file.write(text)
    assert toy.load("t", where).task.kind == "depth"
