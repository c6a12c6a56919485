import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from must_tf.cli.teacher_flags import (
    parse_cards,
    parse_classes,
    parse_fields,
    parse_teachers,
    parse_thresholds,
    parse_tta,
    with_classes,
)
from must_tf.errors import UserError
from must_tf.teachers.model import Model
from must_tf.teachers.spec import FORMATS, TeacherSpec
from must_tf.teachers.teacher import Teacher


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model of each kind of path, and a card."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "m.onnx").touch()
    (tmp_path / "card.yaml").touch()


def test_flags_are_read_without_tensorflow():
    heavy = "[name for name in ('tensorflow', 'numpy') if name in sys.modules]"
    code = f"import sys, must_tf.cli.teacher_flags; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_every_format_has_a_class():
    for name, known in FORMATS.items():
        loader = getattr(importlib.import_module(f"must_tf.teachers.{name}"), known.loader)
        assert issubclass(loader, Teacher if name in ("student", "hf", "derive", "ensemble") else Model)


def test_teachers_come_by_task(place):
    texts = ["a=onnx:m.onnx", "b=student:run", "c=savedmodel:run/", "d=kerashub:any_name", "e=kerascv:any_name"]
    found = parse_teachers(texts, {"a": "card.yaml"}, {"b": {"min_score": 0.5}})
    assert [f"{spec.task}={spec.where}" for spec in found] == texts
    assert (found[0].card, found[1].thresholds) == ("card.yaml", {"min_score": 0.5})
    assert parse_teachers([]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b", r"--teachers: 'b' received, expected TASK=FORMAT:PATH"),
        ("=onnx:m.onnx", "expected TASK=FORMAT:PATH"),
        ("b=m.onnx", "of task 'b': no format; expected FORMAT:PATH, as onnx:m.onnx"),
        ("b=onx:m.onnx", "did you mean 'onnx'"),
        ("b=onnx:", "no path; expected onnx:PATH"),
        ("b=onnx:n.onnx", "onnx:n.onnx: no such file"),
        ("b=onnx:run", "onnx:run: no such file"),
        ("b=savedmodel:m.onnx", "savedmodel:m.onnx: no such folder"),
        ("b=student:runs", "student:runs: no such folder"),
    ],
)
def test_slip_in_the_second_teacher_is_told_without_the_first_ones_model(text, message, place):
    with pytest.raises(UserError, match=message) as error:
        parse_teachers(["a=onnx:m.onnx", text])
    assert "\n" not in str(error.value)


def test_fields_of_a_card_are_yaml():
    found = parse_fields({"a.range": "[0, 1]", "a.convention": "metric", "b.c.suppressed": "true"})
    assert found == {"a": {"range": [0, 1], "convention": "metric"}, "b.c": {"suppressed": True}}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("range", "[0, 1]", r"--cards\.range: expected --cards\.TASK\.FIELD=VALUE"),
        ("a.range", "[0, 1", r"--cards\.a\.range: '\[0, 1' received, expected YAML"),
    ],
)
def test_fields_that_are_none_are_refused(place, value, message):
    with pytest.raises(UserError, match=message):
        parse_fields({place: value})


def test_fields_go_with_teachers_that_need_a_card(place):
    parse_teachers(["a=onnx:m.onnx"], fields={"a": {"range": [0, 1]}})
    with pytest.raises(UserError, match="--cards: no teacher for task 'b'"):
        parse_teachers(["a=onnx:m.onnx"], fields={"b": {"range": [0, 1]}})
    with pytest.raises(UserError, match=r"--cards\.a: a card or classes for task 'a', whose teacher is a student"):
        parse_teachers(["a=student:run"], fields={"a": {"range": [0, 1]}})


def test_cards_and_thresholds_go_with_teachers(place):
    teachers = ["first=onnx:m.onnx", "own=student:run"]
    for cards, thresholds, message in (
        ({"frst": "card.yaml"}, {}, "--cards: no teacher for task 'frst'; did you mean 'first'"),
        ({}, {"owm": {}}, "--thresholds: no teacher for task 'owm'; did you mean 'own'"),
        ({"first": "crd.yaml"}, {}, "crd.yaml: no such file"),
        ({"own": "card.yaml"}, {}, "card.yaml: a card or classes for task 'own', whose teacher is a student"),
    ):
        with pytest.raises(UserError, match=message):
            parse_teachers(teachers, cards, thresholds)
    with pytest.raises(UserError, match="--cards: no teacher for task 'a'; there is none at all"):
        parse_teachers([], {"a": "card.yaml"})


def test_model_to_describe(place):
    found = TeacherSpec.of_model("onnx:m.onnx")
    assert (found.task, found.format, found.path) == ("", "onnx", "m.onnx")
    assert TeacherSpec.of_model("kerashub:any_name").path == "any_name"
    for where, message in (
        ("student:run", "a student needs no card"),
        ("m.onnx", "as onnx:m.onnx"),
        ("litert:m.tflite", "litert:m.tflite: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            TeacherSpec.of_model(where)


def test_thresholds_are_read_by_task_and_by_name():
    numbers, calibrations = parse_thresholds(["a.b.min_score=0.5", "c.doubtful_score=1", "d=best:coco:folder/val"])
    assert numbers == {"a.b": {"min_score": 0.5}, "c": {"doubtful_score": 1.0}}
    assert calibrations == {"d": "coco:folder/val"}
    for text in (
        "d=best:",
        "min_score=0.5",
        "a.min_score",
        "a.min_score=high",
        "a.min_score=2",
        "a.min_score=nan",
        "a.=1",
    ):
        with pytest.raises(UserError, match=r"expected TASK\.min_score=VALUE"):
            parse_thresholds([text])


def test_best_threshold_is_that_of_the_students_evaluation(place, capsys):
    thresholds, _ = parse_thresholds(["things.min_score=best", "things.doubtful_score=0.15"])
    assert thresholds == {"things": {"min_score": "best", "doubtful_score": 0.15}}
    with pytest.raises(UserError, match=r"needs run/evaluation\.json; run `must evaluate --workdir=run --data=FOLDER`"):
        parse_teachers(["things=student:run"], thresholds=thresholds)
    weights = Path("run", "student", "weights.data-00000-of-00001")
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(b"w")
    digest = hashlib.sha256(b"w").hexdigest()
    result = {"sha256": digest, "data": "data/test", "scores": {"boxes": {"AP": 0.4, "best_min_score": 0.295}}}
    Path("run", "evaluation.json").write_text(json.dumps(result))
    (spec,) = parse_teachers(["things=student:run"], thresholds=thresholds)
    assert spec.thresholds == {"min_score": 0.295, "doubtful_score": 0.15}
    assert "things: min_score 0.295, the best on data/test" in capsys.readouterr().out
    result["scores"]["things"] = {"best_min_score": None}  # nothing was found
    Path("run", "evaluation.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"no score best_min_score of task 'things'; give a number"):
        parse_teachers(["things=student:run"], thresholds=thresholds)
    weights.write_bytes(b"trained again")
    with pytest.raises(UserError, match=r"not of the weights that are in run; run `must evaluate` again"):
        parse_teachers(["things=student:run"], thresholds=thresholds)
    weights.unlink()  # it goes on for more steps
    with pytest.raises(UserError, match=r"needs a finished run; run `must train --workdir=run` to its end"):
        parse_teachers(["things=student:run"], thresholds=thresholds)
    with pytest.raises(
        UserError, match=r"needs a student as teacher, received onnx:m\.onnx; give a number, or things=best:RECORDS"
    ):
        parse_teachers(["things=onnx:m.onnx"], thresholds=thresholds)


def test_several_teachers_of_a_task_are_an_ensemble(place):
    texts = ["a=onnx:m.onnx", "b=student:run", "a=hf:name", "n=derive:a", "a=derive:onnx:m.onnx"]
    fields = {"a": {"range": [0, 1]}, "a.2": {"range": [0, 2]}}
    a, b, n = parse_teachers(
        texts, {"a.1": "card.yaml"}, {"a": {"min_score": 0.5}}, fields, augmentation={"": ["flip"]}
    )
    assert (a.format, a.task, a.thresholds, a.augmentation) == ("ensemble", "a", {"min_score": 0.5}, ("flip",))
    assert [member.where for member in a.members] == ["onnx:m.onnx", "hf:name", "derive:onnx:m.onnx"]
    assert [member.fields["range"] for member in a.members] == [(0, 1), (0, 2), (0, 1)]
    assert [member.card for member in a.members] == ["card.yaml", None, None]
    assert not any(member.thresholds for member in a.members) and a.members[2].source.where == "onnx:m.onnx"
    assert (b.format, b.members[0].where) == ("ensemble", "student:run")
    assert (n.format, n.source) == ("derive", a)
    with pytest.raises(UserError, match="derive:b: labels of 'b' would be computed from themselves"):
        parse_teachers(["b=onnx:m.onnx", "b=derive:n", "n=onnx:m.onnx", "n=derive:b"])
    with pytest.raises(UserError, match=r"--cards: no teacher for task 'a\.4'"):
        parse_teachers(texts, {"a.4": "card.yaml"})
    with pytest.raises(UserError, match=r"'ensemble' is .*|expected FORMAT:PATH"):
        parse_teachers(["a=ensemble:x"])


def test_augmentation_is_of_all_tasks_or_of_one(place):
    assert parse_tta(["flip", "a=flip,0.8"]) == {"": ("flip",), "a": ("flip", "0.8")}
    found = parse_teachers(["a=onnx:m.onnx", "b=student:run"], augmentation=parse_tta(["b=flip"]))
    assert [spec.augmentation for spec in found] == [(), ("flip",)]
    for texts, message in (
        (["flop"], "--tta=flop: 'flop' received; expected flip, scales, or a scale"),
        (["flip", "scales"], "--tta: 'scales' received, expected .* each task once"),
        (["=flip"], "--tta: '=flip' received"),
    ):
        with pytest.raises(UserError, match=message):
            parse_tta(texts)
    with pytest.raises(UserError, match="--tta: no teacher for task 'c'"):
        parse_teachers(["a=onnx:m.onnx"], augmentation={"c": ("flip",)})


def test_classes_map_several_of_a_model_to_one_label(place):
    classes = parse_classes(["a={car: [car, truck], person: person}", "b={x: y}"])
    assert classes == {"a": {"car": "car", "truck": "car", "person": "person"}, "b": {"y": "x"}}
    assert with_classes({"a": {"range": [0, 1]}}, classes)["a"] == {"range": [0, 1], "classes": classes["a"]}
    for texts, message in (
        (["a=car"], "expected TASK={LABEL"),
        (["a={}"], "expected TASK={LABEL"),
        (["{car: car}"], "expected TASK={LABEL"),
        (["a={x: y}", "a={x: y}"], "each task once"),
        (["a={car: [truck], van: [truck]}"], "'truck' becomes both 'car' and 'van'"),
        (["a={car: [1]}"], "car: 1 received; expected names, in quotes if numbers"),
        (["a={car: [truck"], "--classes=a: not valid YAML"),
    ):
        with pytest.raises(UserError, match=message):
            parse_classes(texts)
    with pytest.raises(UserError, match=r"received together with --cards\.a\.classes"):
        with_classes({"a": {"classes": {}}}, classes)


def test_one_task_is_named_once():
    for parse, texts in ((parse_thresholds, ["a.min_score=0.5", "a.min_score=0.3"]), (parse_cards, ["a=b", "a=c"])):
        with pytest.raises(UserError, match="once"):
            parse(texts)
