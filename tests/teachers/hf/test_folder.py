"""What a folder must hold before anything of it is loaded, and what its files say."""

import json
import shutil

import hf_models
import pytest
import toy
from hf_models import torch, transformers

from must_tf.errors import UserError
from must_tf.teachers.hf import registry
from must_tf.teachers.hf.folder import read_license


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a classifier's folder, to be damaged."""
    return shutil.copytree(saved("vit"), tmp_path / "vit")


def edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder, match, **others):
    with pytest.raises(UserError, match=match) as error:
        toy.load("t", f"hf:{folder}", **others)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_pickled_weights_are_refused_with_the_command_that_converts_them(folder):
    weights = transformers.ViTForImageClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights can run code") as error:
        toy.load("t", f"hf:{folder}")
    code = str(error.value).partition('python -c "')[2].partition('"')[0]
    exec(code, {})
    assert toy.load("t", f"hf:{folder}").task.class_names == hf_models.NAMES


def test_code_in_a_folder_is_never_run(folder):
    trap = folder.parent / "trap"
    (folder / "modeling_own.py").write_text(f"open({str(trap)!r}, 'w')")
    edit(
        folder,
        model_type="own",
        architectures=["OwnForImageClassification"],
        auto_map={"AutoConfig": "modeling_own.Own", "AutoModelForImageClassification": "modeling_own.Own"},
    )
    refused(folder, r"code in its own folder \(auto_map\), which must_tf does not run")
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    preprocessor |= {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "modeling_own.Own"}}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    edit(folder, model_type="vit", architectures=["ViTForImageClassification"])
    refused(folder, "its processor cannot be loaded")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("architectures", "match"),
    [
        (["BertForMaskedLM"], "architectures: 'BertForMaskedLM' received; expected a model .* that classifies"),
        (["NoSuchForImageClassification"], "architectures: 'NoSuchForImageClassification' received"),
        (["CHMv2ForDepthEstimation"], "CHMv2ForDepthEstimation cannot label: it gives heights of trees"),
        ("ViTForImageClassification", "architectures: None received"),
        ([3], "architectures: 3 received"),
        (None, "architectures: None received"),
    ],
)
def test_models_that_cannot_label_are_refused(architectures, match, folder):
    edit(folder, architectures=architectures)
    refused(folder, match)


def test_files_that_are_missing_or_damaged_are_named(folder):
    for file, match in (("preprocessor_config.json", "no preprocessor_config.json"), ("config.json", "no config.json")):
        (folder / file).rename(folder / "away")
        refused(folder, match)
        (folder / "away").rename(folder / file)
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    refused(folder, "transformers cannot load it")


def test_weights_that_the_file_lacks_are_not_drawn_at_random(folder):
    base = transformers.ViTForImageClassification.from_pretrained(folder).vit
    base.save_pretrained(folder)
    edit(folder, architectures=["ViTForImageClassification"])
    refused(folder, r"no weights for \d+ tensors of ViTForImageClassification, the first is .*: is this the file of")


def test_a_model_of_timm_is_refused_with_the_remedy(folder):
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {"tag": "a1_in1k"}}))
    refused(folder, "a model of timm, which must_tf does not run; export it to ONNX")


def test_a_pointer_in_the_place_of_weights_is_named(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(folder, "model.safetensors is a pointer of Git LFS, not the file; .*git lfs pull")


def test_weights_of_other_shapes_than_the_config_says_are_named(folder):
    edit(folder, id2label={"0": "cup", "1": "bottle"})
    refused(
        folder, r"2 weights have other shapes than its config says, the first is classifier.bias: \[5\] in the file"
    )


@pytest.mark.parametrize("name", ["clip", "owlv2", "grounding_dino", "oneformer"])
def test_a_model_that_reads_text_needs_its_tokenizer(name, saved, tmp_path):
    """transformers takes one without words, to which all texts are the same."""
    folder = shutil.copytree(saved(name), tmp_path / name)
    (folder / "tokenizer.json").unlink()
    refused(folder, r"no tokenizer.json in it, and .* reads text", fields={"prompts": hf_models.PROMPTS})


def test_texts_that_the_tokenizer_does_not_tell_apart_are_refused(saved):
    refused(
        saved("clip"), "'cup dog' is the same as another text", fields={"prompts": {"a": "cup dog", "b": "cup cat"}}
    )


def test_names_that_are_numbers_are_texts_and_a_model_needs_a_name(folder):
    edit(folder, id2label={str(i): i for i in range(5)})
    assert toy.load("t", f"hf:{folder}").task.class_names == ("0", "1", "2", "3", "4")
    edit(folder, id2label={str(i): "" for i in range(5)})
    refused(folder, "class_names: no name among 5 ids")


def test_a_name_that_no_hub_gives_is_one_line():
    refused("no-such-owner/no-such-model", "neither a folder nor a name that can be downloaded or is in the cache")
    refused("/no/such/folder", "neither a folder nor a name")


def test_a_hub_out_of_reach_is_one_line_with_what_works_without(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_, **__):
        raise LocalEntryNotFoundError("a long text") from ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refused("owner/name", r"the hub is out of reach \(.*no route\); save .* \(save_pretrained\), and give hf:FOLDER$")


def test_a_name_is_found_in_the_cache_of_the_hub(saved, tmp_path, monkeypatch):
    import huggingface_hub

    cache = tmp_path / "models--owner--tiny"
    shutil.copytree(saved("vit"), cache / "snapshots" / "0123")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    teacher = toy.load("t", "hf:owner/tiny")
    assert teacher.id.startswith("tiny-") and teacher.describe()["source"] == "https://huggingface.co/owner/tiny"
    assert teacher.sha256 == toy.load("t", f"hf:{saved('vit')}").sha256


@pytest.mark.parametrize(
    ("readme", "license"),
    [
        ("---\ntags: [a]\nlicense: apache-2.0\ndate: 2024-01-01\n---\ntext", "apache-2.0"),
        ("---\nlicense:\n- mit\n- cc-by-4.0\ntags:\n- a\n---\n", "mit; cc-by-4.0"),
        ('---\nlicense: other\nlicense_name: "own terms"\n---\n', "own terms"),
        ("---\nlicense: other\n---\n", "other"),
        ("no metadata\nlicense: mit\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_license_is_that_of_the_model_card(readme, license, tmp_path):
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    assert read_license(tmp_path) == license


def test_a_detector_with_holes_in_its_ids_labels_as_without(saved, images, label_all):
    names = ["N/A", "bottle", "N/A", "table", "lamp"]
    full, holed = (toy.load("t", f"hf:{saved('detr', **fields)}") for fields in ({}, hf_models.labels(names)))
    assert holed.task.class_names == ("bottle", "table", "lamp")
    for label, holes in zip(label_all(full, images), label_all(holed, images), strict=True):
        kept = [full.task.class_names[i] in names for i in label["classes"]]
        found = [holed.task.class_names[i] for i in holes["classes"]]
        assert found == [full.task.class_names[i] for i in label["classes"][kept]]
        assert (holes["boxes"] == label["boxes"][kept]).all()


def test_families_are_of_classes_that_transformers_has():
    for name in (*registry._BY_NAME, *registry._REFUSED):
        assert hasattr(transformers, name), name
