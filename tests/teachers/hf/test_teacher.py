"""Teachers of Hugging Face models in `must label`: batches of mixed sizes, processes, manifest and quarantine."""

import json
import pickle
import sys

import hf_models
import numpy as np
import pytest
import toy
from hf_models import torch, transformers
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.grade import flip_agreement
from must_tf.labeling.runners import Processes
from must_tf.records import open_dataset, read_manifest
from must_tf.tasks.normals.from_depth import NormalsFromDepth
from must_tf.teachers import load_teacher
from must_tf.teachers.spec import TeacherSpec


@pytest.fixture
def photos(images, tmp_path):
    """A folder of images of three sizes."""
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


def load(folder, task="t", **others):
    return toy.load(task, f"hf:{folder}", **others)


def test_labels_do_not_depend_on_the_batch(saved, images, label_all):
    """Images of other sizes would pad a batch, and padding changes what a DETR finds."""
    for name in ("detr", "segformer", "depth_anything"):
        teacher = load(saved(name))
        together, alone = label_all(teacher, images), [label_all(teacher, [image])[0] for image in images]
        for label_, other in zip(together, alone, strict=True):
            first, second = (value["boxes"] if name == "detr" else value for value in (label_, other))
            np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["detr", "segformer", "vit", "depth_anything"])
def test_variants_of_an_image_are_merged(name, saved, images):
    """The label of a mirror image is the mirrored one, for models with views of any size and post-processing."""
    member = TeacherSpec.of("t", f"hf:{saved(name)}")
    thresholds = {"min_score": 0.1} if name == "detr" else {}
    teacher = load_teacher(TeacherSpec.of_several([member], thresholds, ("flip",)))
    image = images[0]
    label_, mirror = (_label_of(teacher, pixels) for pixels in (image, np.ascontiguousarray(image[:, ::-1])))
    if name == "detr":
        assert len(label_["boxes"]) == len(mirror["boxes"]) > 0
        areas = [np.sort((one["boxes"][:, 2:] - one["boxes"][:, :2]).prod(-1)) for one in (label_, mirror)]
        np.testing.assert_allclose(*areas, atol=1e-3)
    elif name == "segformer":
        assert (label_ == mirror[:, ::-1]).mean() > 0.99
    elif name == "vit":
        np.testing.assert_allclose(label_, mirror, atol=1e-4)
    else:  # up to scale and shift
        assert np.corrcoef(label_.ravel(), mirror[:, ::-1].ravel())[0, 1] > 0.999


def _label_of(teacher, image):
    (outputs,) = teacher.predict([teacher.view(image)], 2)
    return teacher.label(outputs, *image.shape[:2])


def test_normals_are_derived_from_a_depth_model(saved, photos, tmp_path):
    metric = saved("depth_anything", depth_estimation_type="metric", max_depth=20)
    teachers = toy.load_all(
        [f"depth=hf:{metric}", "normals=derive:depth"], fields={"normals": {"field_of_view": 60, "edge": 1}}
    )
    manifest = label(photos, teachers, tmp_path / "out", batch_size=3)
    assert manifest.counts["normals"] == {teachers[1].id: manifest.count} and not manifest.quarantined
    for record in open_dataset(tmp_path / "out").records():
        normals, expected = record.labels["normals"], NormalsFromDepth(60, edge=1).derive(record.labels["depth"])
        both = np.any(normals, -1) & np.any(expected, -1)
        assert both.mean() > 0.5
        assert np.median((normals * expected).sum(-1)[both]) > np.cos(np.radians(5))  # two PNGs were between them


def test_must_label_writes_what_the_teacher_says(saved, photos, images, label_all, tmp_path):
    teachers = [load(saved("detr"), "boxes"), load(saved("segformer"), "mask"), load(saved("vit"), "scene")]
    manifest = label(photos, teachers, tmp_path / "out", batch_size=3)
    assert manifest.count == len(images) and not manifest.quarantined
    for teacher in teachers:
        entry = read_manifest(tmp_path / "out").teachers[teacher.id]
        assert entry["format"] == "hf" and entry["sha256"] == teacher.sha256
        assert entry["model"] == teacher.files.name and entry["preparation"]["image_mean"]
        assert set(entry["libraries"]) >= {"torch", "transformers", "must_tf"}
        json.dumps(entry)
    expected = {teacher.task.name: label_all(teacher, images) for teacher in teachers}
    for i, record in enumerate(open_dataset(tmp_path / "out").records()):
        np.testing.assert_allclose(record.labels["boxes"]["boxes"], expected["boxes"][i]["boxes"], atol=1e-4)
        assert (record.labels["mask"] == expected["mask"][i]).mean() > 0.999
        np.testing.assert_allclose(record.labels["scene"], expected["scene"][i], atol=1e-3)


def test_a_teacher_is_pickled_as_its_spec(saved):
    spec = TeacherSpec.of("t", f"hf:{saved('owlv2')}", fields={"prompts": hf_models.PROMPTS})
    teacher = load_teacher(spec)
    data = pickle.dumps(teacher)
    assert len(data) < 2000
    other = pickle.loads(data)
    assert other is pickle.loads(data) and other is not teacher and other.id == teacher.id


@pytest.mark.slow
def test_processes_label_the_same(saved, photos, images, tmp_path):
    teachers = [load(saved("detr"))]
    alone = label(photos, teachers, tmp_path / "alone", images_per_shard=2)
    many = label(
        photos,
        teachers,
        tmp_path / "many",
        images_per_shard=2,
        runner=Processes(2),
    )
    assert [shard.sha256 for shard in alone.shards] == [shard.sha256 for shard in many.shards]


def test_an_output_that_is_not_finite_costs_its_image(saved, photos, tmp_path):
    teacher = load(saved("vit"))
    run = teacher._model.forward

    def broken(pixel_values, **others):
        found = run(pixel_values, **others)
        found.logits[0] = float("nan")
        return found

    teacher._model.forward = broken
    manifest = label(photos, [teacher], tmp_path / "out", batch_size=4, max_bad=1.0)
    assert len(manifest.quarantined) == 1 and manifest.count == 3
    assert "not finite" in manifest.quarantined[0]["reason"]


@pytest.mark.parametrize("name", ["vit", "convnext", "detr", "mobilevit", "depth_anything"])
def test_agreement_with_mirror_images_can_be_graded(name, saved, images):
    scores = flip_agreement(load(saved(name)), images)
    assert "not_finite" not in scores and any(np.isfinite(list(scores.values())))


def test_half_precision_is_that_of_the_file(saved, images, label_all, tmp_path):
    model = transformers.ViTForImageClassification.from_pretrained(saved("vit")).to(torch.bfloat16)
    hf_models.save(model, tmp_path / "half", transformers.AutoImageProcessor.from_pretrained(saved("vit")))
    teacher = load(tmp_path / "half")
    assert teacher.describe()["precision"] == "bfloat16"
    full = label_all(load(saved("vit")), images)
    np.testing.assert_allclose(label_all(teacher, images), full, atol=0.05)


def test_a_model_that_cannot_run_is_refused_before_the_run(saved, tmp_path):
    folder = saved("vit")
    processor = transformers.ViTImageProcessorPil(size={"height": 40, "width": 40})
    model = transformers.ViTForImageClassification.from_pretrained(folder)
    hf_models.save(model, tmp_path / "other", processor)
    with pytest.raises(UserError, match=r"other: does not run on an image \[96, 128, 3\]: .*40"):
        load(tmp_path / "other")


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_without_the_extra_one_line_names_it(library, saved, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"{library} is not installed: pip install 'must_tf\[hf\]'"):
        load(saved("vit"))
