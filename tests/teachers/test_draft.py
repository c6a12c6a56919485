import pytest
import yaml

from must_tf.errors import UserError
from must_tf.teachers import describe_model, load_teacher, read_card

KINDS = ("classification", "segmentation", "depth", "normals", "detection")


@pytest.mark.parametrize("kind", KINDS)
def test_draft_is_a_card_that_guesses_the_kind_and_the_outputs(kind, saved, tmp_path):
    where = saved("savedmodel", kind)
    text = describe_model(where)
    assert "images: float32 [?, 16, 24, 3]" in text and "# guess" in text
    path = tmp_path / "draft.yaml"
    fields = yaml.safe_load(text)
    # three channels may be vectors as well as three classes: a guess like this one is what the comment is for
    assert fields["task"] == {"segmentation": "normals"}.get(kind, kind)
    if kind == "detection":
        (tmp_path / "FILL_IN.txt").write_text("a\nb")
    path.write_text(text)
    assert read_card(path).input_size == (16, 24)
    if kind != "segmentation":
        teacher = load_teacher("t", where, str(path))
        assert teacher.task.kind == kind


def test_unknown_format_is_named():
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        describe_model("onxx:model.onnx")
    with pytest.raises(UserError, match=r"model\.tflite: no format; expected FORMAT:PATH, as litert:model\.tflite"):
        describe_model("model.tflite")


def test_student_is_said_to_need_no_card():
    with pytest.raises(UserError, match="student:runs/a: a student needs no card"):
        describe_model("student:runs/a")
