"""No card is needed; a card, fields and thresholds replace what the model's files say, or are refused."""

import json
import shutil

import hf_models
import numpy as np
import pytest
import toy

from must_tf.errors import UserError


def load(folder, **others):
    return toy.load_all([f"t=hf:{folder}"], **others)[0]


def test_a_card_beside_the_folder_overrides_the_config(saved, images, label_all, tmp_path):
    folder = shutil.copytree(saved("vit"), tmp_path / "vit")
    plain = load(folder)
    classes = {"cup": "vessel", "bottle": "vessel", "chair": "furniture"}
    folder.with_name("vit.card.yaml").write_text(json.dumps({"classes": classes, "license": "MIT", "top_k": 2}))
    teacher = load(folder)
    assert teacher.task.class_names == ("vessel", "furniture") and teacher.task.top_k == 2
    assert teacher.describe()["license"] == "MIT" and teacher.id != plain.id and teacher.sha256 == plain.sha256
    for probs, mapped in zip(label_all(plain, images), label_all(teacher, images), strict=True):
        kept = probs[:3].sum()
        assert mapped == pytest.approx([probs[:2].sum() / kept, probs[2] / kept], abs=1e-5)


def test_fields_and_thresholds_override(saved, images, label_all, tmp_path):
    folder = saved("detr")
    teacher = load(folder, fields={"t": {"doubtful_score": 0.1}}, thresholds={"t": {"min_score": 0.9}})
    assert (teacher.task.min_score, teacher.task.doubtful_score) == (0.9, 0.1)
    labels = label_all(teacher, images)
    assert any((label["ignore"] > 0).any() for label in labels)
    renamed = load(folder, fields={"t": {"class_names": list("abcde")}})
    assert renamed.task.class_names == tuple("abcde")
    (tmp_path / "names.txt").write_text("\n".join("fghij"))
    (tmp_path / "card.yaml").write_text("class_names: [k, l, m, n, o]")
    named = load(folder, cards={"t": str(tmp_path / "card.yaml")}, fields={"t": {"class_names_file": "names.txt"}})
    assert named.task.class_names == tuple("fghij")  # neither those of the config nor those of the card
    depth = load(saved("depth_anything"), fields={"t": {"convention": "metric", "depth_scale": 2.0}})
    assert depth.task.convention == "metric"


@pytest.mark.parametrize(
    ("name", "fields", "match"),
    [
        ("vit", {"task": "detection"}, "task: 'detection' received; ViTForImageClassification is a model of classif"),
        ("vit", {"input_size": [64, 64]}, "input_size: hf: models do this themselves"),
        ("vit", {"range": [0, 1]}, "range: hf: models do this themselves"),
        ("detr", {"box_format": "xywh"}, "box_format: hf: models do this themselves"),
        ("vit", {"prompts": {"cup": "a cup"}}, "prompts: ViTForImageClassification reads no text"),
        ("vit", {"class_names": ["a", "b"]}, "class_names: 2 names, but probs is of 5 classes"),
        ("vit", {"convention": "metric"}, "field 'convention' is unknown"),
        ("vit", {"classes": {"cap": "cup"}}, "classes: the model has no class 'cap'; did you mean 'cup'"),
        ("clip", {}, r"prompts: not given; CLIPModel finds what a text says: .* --cards.t.prompts='\{cup: "),
        ("clip", {"prompts": {}}, "prompts: not given"),
        ("clip", {"prompts": ["cup"]}, "prompts: .* received; expected names with values"),
        ("clip", {"prompts": {"cup": 3}}, "prompts"),
        ("clip", {"prompts": {"a": "b"}, "class_names": ["a"]}, "class_names: the classes are the keys of prompts"),
        ("clip", {"prompts": {"a": "b"}, "class_names_file": "a"}, "class_names_file: the classes are the keys of"),
    ],
)
def test_fields_that_do_not_fit_are_refused_in_one_line(name, fields, match, saved):
    with pytest.raises(UserError, match=match) as error:
        load(saved(name), fields={"t": fields})
    assert "\n" not in str(error.value)


def test_thresholds_that_the_kind_lacks_are_refused(saved):
    with pytest.raises(UserError, match="has no threshold 'min_score'"):
        load(saved("vit"), thresholds={"t": {"min_score": 0.5}})


def test_prompts_are_for_models_that_read_text_alone(tmp_path):
    (tmp_path / "model.onnx").touch()
    fields = {"task": "classification", "class_names": ["a"], "prompts": {"a": "b"}}
    with pytest.raises(UserError, match="prompts: onnx: models read no text"):
        toy.load_all([f"t=onnx:{tmp_path / 'model.onnx'}"], fields={"t": fields})


@pytest.mark.parametrize(
    ("name", "prompts", "match"),
    [
        ("clip", {"cup": "a cup"}, "prompts: one received; a softmax makes it 1 for every image"),
        ("owlv2", {"cup": "a cup", "mug": "A cup "}, "prompts: 'a cup' is the text of two classes"),
        ("siglip", {"cup": " ", "mug": "mug"}, "prompts: a class has an empty text"),
    ],
)
def test_texts_that_tell_no_classes_apart_are_refused(name, prompts, match, saved):
    """Otherwise every image is a cup, every box is there twice, or a class finds anything."""
    with pytest.raises(UserError, match=match):
        toy.load("t", f"hf:{saved(name)}", fields={"prompts": prompts})


def test_a_regression_is_no_classifier(saved):
    with pytest.raises(UserError, match="problem_type: regression"):
        load(saved("vit", problem_type="regression"))


@pytest.mark.parametrize("name", ["vit", "detr", "segformer", "depth_anything", "clip"])
def test_a_draft_says_what_is_used_and_is_a_card_that_changes_nothing(name, saved, images, label_all, tmp_path):
    folder = shutil.copytree(saved(name), tmp_path / name)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    text = toy.describe(f"hf:{folder}")
    fields = {"t": {"prompts": hf_models.PROMPTS}} if name == "clip" else {}
    plain = load(folder, fields=fields)
    assert f"task: {plain.task.kind}" in text and "license: mit" in text and "image_mean" in text
    assert plain.files.name in text and ("prompts: " in text) == (name == "clip")
    assert name in ("depth_anything", "clip") or "5 classes: cup, bottle, chair, table, lamp" in text
    folder.with_name(f"{name}.card.yaml").write_text(text)
    assert load(folder, fields=fields).id == plain.id


def test_a_path_without_a_format_is_guessed(saved):
    with pytest.raises(UserError, match=rf"no format; expected FORMAT:PATH, as hf:{saved('vit')}"):
        toy.load_all([f"t={saved('vit')}"])


HOLES_AND_DOUBLES = ("N/A", "crane", "cup", "???", "crane")


@pytest.mark.parametrize("names", [HOLES_AND_DOUBLES, ("3 doors", "n/a", "hot  dog", "n/a", "car"), hf_models.NAMES])
def test_class_names_are_the_same_by_hf_by_a_config_beside_onnx_and_by_a_label_file(names, saved, tmp_path):
    pytest.importorskip("onnxruntime")
    import onnx_model

    folder = shutil.copytree(saved("vit", **hf_models.labels(names)), tmp_path / "vit")
    whole = load(folder)
    onnx_model.save(folder / "m.onnx", (1, 3, 32, 32), logits=np.zeros((1, 5), np.float32))
    draft = toy.describe(f"onnx:{folder}/m.onnx")
    (folder / "m.onnx.card.yaml").write_text(draft)
    (folder / "names.txt").write_text("\n".join(names))
    exported = toy.load("t", f"onnx:{folder}/m.onnx")
    listed = toy.load("t", f"onnx:{folder}/m.onnx", fields={"class_names_file": "names.txt"})
    for other in (exported, listed):
        assert other.reader.labels == whole.reader.labels == whole.task.class_names == other.task.class_names
        assert other.reader.label_of().tolist() == whole.reader.label_of().tolist()
