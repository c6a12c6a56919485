"""Tests of teacher cards: reading, checks, and messages."""

import dataclasses
import itertools
import json
import re

import pytest
import yaml

from must_tf.errors import UserError
from must_tf.tasks import KINDS
from must_tf.teachers.card import Card, Input, read_card

GOOD = {"task": "classification", "class_names": ["cat", "dog"], "range": [0, 1], "mean": [0.5, 0.5, 0.5]}


def write(tmp_path, **fields):
    path = tmp_path / "card.yaml"
    usual = {"task": fields["task"]} if fields.get("task") in ("depth", "normals") else GOOD
    path.write_text(yaml.safe_dump(usual | fields))
    return path


def test_yaml_and_json_say_the_same(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps(GOOD))
    one, other = read_card(write(tmp_path)), read_card(tmp_path / "card.json")
    assert one.to_json() == other.to_json() == GOOD
    assert one.reader.class_names == ("cat", "dog")


def test_class_names_come_from_a_file_beside_the_card(tmp_path):
    (tmp_path / "names.txt").write_text("cat\nhot dog\n\n")
    card = read_card(write(tmp_path, class_names=[], class_names_file="names.txt"))
    assert card.reader.class_names == ("cat", "hot dog")
    with pytest.raises(UserError, match=r"no.txt: no such file; class_names_file is looked for beside the card"):
        read_card(write(tmp_path, class_names=[], class_names_file="no.txt"))
    (tmp_path / "names.txt").write_text("cat\n\ndog\n")  # the model's class 1: dog, or none?
    with pytest.raises(UserError, match=r"card.yaml: class_names_file: names.txt: line 2 is empty; expected .* n/a if"):
        read_card(write(tmp_path, class_names=[], class_names_file="names.txt"))


EITHER = {"classification": ("class_names", ["ant"], "class_names_file"), "detection": ("anchors", {}, "anchors_file")}


@pytest.mark.parametrize("task", EITHER)
def test_a_field_and_its_file_are_not_given_together_and_one_replaces_the_other(task, tmp_path):
    """Otherwise names that are given on the command line would give way in silence to those of the card's file."""
    field, value, file = EITHER[task]
    value = value or {"strides": [16]}
    (tmp_path / "names.txt").write_text("cat")
    with pytest.raises(UserError, match=rf"card.yaml: {field}: received together with {file}; give one of them"):
        read_card(write(tmp_path, task=task, **{field: value, file: "names.txt"}))
    usual = {"class_names": []} if task == "classification" else {}
    card = read_card(write(tmp_path, task=task, **usual | {file: "names.txt"}), {field: value})
    assert not getattr(card.reader, file) and len(getattr(card.reader, field)) == 1
    card = read_card(write(tmp_path, task=task, **{field: value}), {file: "names.txt"})
    assert getattr(card.reader, file) == "names.txt" and getattr(card.reader, field) in (None, ("cat",))


def test_what_a_model_says_fills_what_the_card_does_not(tmp_path):
    card = read_card(write(tmp_path)).filled({"range": (0, 255), "resize": "crop"})
    assert (card.range, card.resize) == ((0, 1), "crop")
    bare = read_card(write(tmp_path, range=None, mean=[120, 120, 120]))
    with pytest.raises(UserError, match=r"card.yaml: mean: .* expected values from -1 to 1, in units of range"):
        bare.filled({"range": (-1, 1)})


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"mena": [1, 2, 3]}, "field 'mena' is unknown in a card of classification; did you mean 'mean'"),
        (
            {"min_score": 0.3},
            "field 'min_score' is unknown in a card of classification; it is of detection, instances, segm",
        ),
        ({"task": "boxes"}, "task: task kind 'boxes' is unknown; known: classification, depth,"),
        ({"class_names": []}, "class_names: none received; expected the model's classes"),
        ({"class_names": ["cat", "cat"]}, "class_names: 'cat' is there twice"),
        ({"class_names": ["cat", False]}, r"class_names\[1\]: False received; expected text: put it in quotes"),
        ({"classes": {"cta": "animal"}}, "the model has no class 'cta'; did you mean 'cat'"),
        ({"classes": {"cat": "anmal"}, "task_classes": ["animal"]}, "'anmal' is not in task_classes; did you mean 'a"),
        ({"mean": 0.5}, "mean: 0.5 received; expected a list of numbers"),
        ({"mean": [0.5]}, r"mean: \[0.5\] received; expected 3 numbers"),
        ({"range": ["low", 1]}, r"range\[0\]: 'low' received; expected a number"),
        ({"input_size": [224]}, "input_size: .* expected 2 whole numbers"),
        ({"input_size": [0, 224]}, "expected height and width above 0"),
        ({"task": "detection", "min_score": "high"}, "min_score: 'high' received; expected a number"),
        ({"task": "detection", "suppressed": "maybe"}, "suppressed: 'maybe' received; expected true or false"),
        ({"layout": "HWC"}, "layout: 'HWC' received; expected one of NHWC, NCHW"),
        ({"outputs": ["probs"]}, "outputs: .* expected names with values"),
        ({"task": "detection", "min_score": 50}, "min_score: 50.0 received; expected a number from 0 to 1"),
        ({"task": "detection", "doubtful_score": -0.1}, "doubtful_score: -0.1 received; expected a number from 0 to 1"),
        ({"task": "detection", "min_score": float("nan")}, "min_score: nan received; expected a number"),
        ({"top_k": -1}, "top_k: -1 received; expected 0 or more"),
        ({"task": "detection", "nms_iou": 50}, "nms_iou: 50.0 received; expected above 0, and at most 1"),
        ({"task": "detection", "nms_iou": 0}, "nms_iou: 0.0 received; expected above 0"),
        ({"task": "depth", "depth_scale": 0}, "depth_scale: 0.0 received; expected above 0, and finite"),
        ({"task": "depth", "max_depth": 0}, "max_depth: 0.0 received; expected above 0, and finite"),
        ({"task": "depth", "max_depth": float("inf")}, "max_depth: inf received; expected a number"),
        ({"range": [1, 1]}, r"range: \[1.0, 1.0\] received; expected two numbers that differ"),
        ({"range": [0, float("inf")]}, r"range\[1\]: inf received; expected a number"),
        ({"range": [False, True]}, r"range\[0\]: False received; expected a number"),
        ({"std": [1, 0, 1]}, r"std: \[1.0, 0.0, 1.0\] received; expected above 0"),
        ({"mean": [123.7, 116.3, 103.5]}, "mean: .* expected values from 0 to 1, in units of range"),
        (
            {"range": [0, 255], "std": [0.2, 0.2, 0.2]},
            "std: .* expected 1 or more, in units of range, which is 0 to 255",
        ),
        ({"task": "detection", "box_scales": [10, 10, 5, 0]}, "box_scales: .* expected above 0"),
        ({"task": "normals", "normals_axes": [1, 0, -1]}, "normals_axes: .* expected 1 or -1 for each axis"),
        ({"classes": {}}, "classes: none received; leave the field out"),
        (
            {"class_names": ["cat"], "activation": "logits"},
            "activation: logits: a softmax of a single class is always 1",
        ),
    ],
)
def test_wrong_cards_are_one_line(tmp_path, fields, message):
    with pytest.raises(UserError, match=message) as error:
        read_card(write(tmp_path, **fields))
    assert "card.yaml" in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_card_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no.yaml: no such file"):
        read_card(tmp_path / "no.yaml")
    (tmp_path / "card.yaml").write_text("task: [")
    with pytest.raises(UserError, match="not valid YAML") as error:
        read_card(tmp_path / "card.yaml")
    assert "\n" not in str(error.value)
    (tmp_path / "card.yaml").write_text("a text")
    with pytest.raises(UserError, match="expected the fields of a teacher card"):
        read_card(tmp_path / "card.yaml")


def test_files_that_are_no_utf8_are_named(tmp_path):
    (tmp_path / "names.txt").write_bytes("cat\nch\xe2t".encode("latin-1"))
    with pytest.raises(UserError, match=r"names.txt: byte 6 is no UTF-8"):
        read_card(write(tmp_path, class_names=[], class_names_file="names.txt"))
    (tmp_path / "card.yaml").write_bytes("task: d\xe9pth".encode("latin-1"))
    with pytest.raises(UserError, match=r"card.yaml: byte 7 is no UTF-8"):
        read_card(tmp_path / "card.yaml")


def test_mark_that_windows_puts_first_is_no_part_of_a_name(tmp_path):
    (tmp_path / "names.txt").write_bytes("cat\ndog".encode("utf-8-sig"))
    assert read_card(write(tmp_path, class_names=[], class_names_file="names.txt")).reader.class_names == ("cat", "dog")


def test_every_field_is_documented():
    for part in (Input, Card, *(kind.reader for kind in KINDS.values())):
        documented = "".join(base.__doc__ for base in part.__mro__ if dataclasses.is_dataclass(base))
        for name in part.__dataclass_fields__:
            assert re.search(rf"^ +{name}: ", documented, re.MULTILINE), name


def bomb():
    """Returns YAML of under 1 kB whose aliases unfold to 10^9 values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in itertools.pairwise("abcdefghi")]
    return "\n".join(lines)


@pytest.mark.parametrize("field", ["task", "anchors", "range"])
def test_aliases_that_unfold_without_end_are_an_error_at_once(tmp_path, field):
    path = tmp_path / "card.yaml"
    path.write_text(f"{bomb()}\n{field}: *i\n" + ("" if field == "task" else "task: detection\n"))
    assert path.stat().st_size < 1000
    with pytest.raises(UserError, match=r"card\.yaml: ") as error:
        read_card(path)
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


def test_card_that_holds_itself_is_an_error(tmp_path):
    (tmp_path / "card.yaml").write_text("task: detection\nanchors: &a {strides: *a}\n")
    with pytest.raises(UserError, match=r"card\.yaml: "):
        read_card(tmp_path / "card.yaml")


def test_anchors_are_checked_with_the_card(tmp_path):
    with pytest.raises(UserError, match=r"card\.yaml: anchors: field 'stride' is unknown; did you mean 'strides'"):
        read_card(write(tmp_path, task="detection", anchors={"stride": [8]}))
