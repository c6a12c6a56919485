"""Tests of teacher specs."""

import uuid
from pathlib import Path

import pytest

from must_tf import storage
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.teachers.spec import TeacherSpec, with_sources


@pytest.mark.parametrize(
    ("where", "format"),
    [
        ("owlvit:google/owlvit-base-patch32", "hf"),
        ("owlv2:google/owlv2-base-patch16", "hf"),
        ("huggingface:facebook/detr-resnet-50", "hf"),
        ("transformers:x", "hf"),
        ("yolo:yolov8n.pt", "onnx"),
        ("yolov8:yolov8n.pt", "onnx"),
        ("pytorch:model.pt", "torch"),
        ("tflite:model.tflite", "litert"),
        ("tensorflow:folder", "savedmodel"),
        ("h5:model.h5", "keras"),
    ],
)
def test_names_of_models_and_libraries_lead_to_the_format_that_serves(where, format):
    name = where.partition(":")[0]
    with pytest.raises(UserError, match=f"'{name}' is no format; give {format}:"):
        TeacherSpec.of("t", where)


def test_a_file_that_has_been_exported_is_named_with_its_format():
    for where, given in (("yolo:a/v8.onnx", "onnx:a/v8.onnx"), ("yolov8:v8.tflite", "litert:v8.tflite")):
        with pytest.raises(UserError, match=f"is no format; give {given}$"):
            TeacherSpec.of("t", where)


def test_misspelled_formats_lead_to_the_nearest():
    for where, nearest in (("onx:x", "onnx"), ("kears:x", "keras"), ("savedmodl:x", "savedmodel")):
        with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
            TeacherSpec.of("t", where)


def test_a_path_without_a_format_is_guessed():
    for path, format in (("google/vit-base", "hf"), ("yolo.onnx", "onnx"), (str(Path(__file__).parent), "student")):
        with pytest.raises(UserError, match=f"no format; expected FORMAT:PATH, as {format}:"):
            TeacherSpec.of("t", path)


def test_sources_of_derived_labels_are_other_teachers_by_their_task(tmp_path):
    (tmp_path / "depth.onnx").touch()
    depth = TeacherSpec.of("depth", f"onnx:{tmp_path}/depth.onnx")
    normals = TeacherSpec.of("normals", "derive:depth", fields={"field_of_view": 60})
    for specs in ([depth, normals], [normals, depth]):
        (found,) = (spec for spec in with_sources(specs) if spec.task == "normals")
        assert found.source == depth
    hidden = TeacherSpec.of("normals", f"derive:onnx:{tmp_path}/depth.onnx")
    (found,) = with_sources([hidden])
    assert found.source.where == depth.where and with_sources([found]) == [found]
    with pytest.raises(UserError, match="derive:dept: no teacher of task 'dept'; did you mean 'depth'"):
        with_sources([depth, TeacherSpec.of("normals", "derive:dept")])
    with pytest.raises(UserError, match="derive:depth: no teacher of task 'depth'; there is none"):
        with_sources([normals])


def test_card_beside_a_folder_in_a_bucket_comes_with_it(s3):
    model = Remote(f"s3://tests/{uuid.uuid4().hex}")
    storage.write_bytes(model / "config.json", b"{}")
    plain = TeacherSpec.of("t", f"hf:{model}").fetched()
    assert plain.card is None
    storage.write_bytes(f"{model}.card.json", b'{"license": "MIT"}')
    found = TeacherSpec.of("t", f"hf:{model}/").fetched()
    assert storage.read_json(found.card) == {"license": "MIT"} and found.path == plain.path
    given = TeacherSpec.of("t", f"hf:{model}", card=f"{model}/config.json").fetched()
    assert storage.read_json(given.card) == {}
