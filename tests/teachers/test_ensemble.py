"""Tests of ensembles: several teachers of one task, and several variants of one image."""

import json
import pickle

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label
from must_tf.labeling.grade import flip_agreement
from must_tf.records import open_dataset, verify
from must_tf.tasks.segmentation import task as segmentation
from must_tf.teachers import TeacherSpec, load_teacher

KINDS = ("classification", "segmentation", "normals", "depth", "detection")
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (37, 51, 3), np.uint8)


def ensemble(*wheres, task="t", tta=(), thresholds=None):
    members = [TeacherSpec.of(task, where) for where in wheres]
    return load_teacher(TeacherSpec.of_several(members, thresholds or {}, tta))


def labels_of(teacher, image):
    (outputs,) = teacher.predict([teacher.view(image)], 2)
    return teacher.label(outputs, *image.shape[:2])


def as_arrays(label):
    """Returns a label as a dict of arrays; boxes in the order of their place."""
    if not isinstance(label, dict):
        return {"label": np.asarray(label, np.float64)}
    order = np.lexsort(np.round(label["boxes"], 4).T)
    return {name: np.asarray(values, np.float64)[order] for name, values in label.items()}


def mirrored(kind, label):
    """Returns the label that a mirror image should have."""
    if kind == "classification":
        return label
    if kind == "detection":
        ymin, xmin, ymax, xmax = label["boxes"].T
        return label | {"boxes": np.stack([ymin, 1 - xmax, ymax, 1 - xmin], -1)}
    return label[:, ::-1] * ([-1, 1, 1] if kind == "normals" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_teacher_that_is_there_twice_labels_as_it_does_alone(kind, saved):
    where = saved("savedmodel", kind)
    alone = as_arrays(labels_of(toy.load("t", where), PHOTO))
    twice = as_arrays(labels_of(ensemble(where, where), PHOTO))
    assert alone.keys() == twice.keys()
    for name, values in alone.items():
        np.testing.assert_allclose(twice[name], values, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mirrored_images_get_mirrored_labels(kind, saved):
    thresholds = {"min_score": 0.01} if kind == "detection" else None
    teacher = ensemble(saved("savedmodel", kind), tta=("flip",), thresholds=thresholds)
    plain = as_arrays(mirrored(kind, labels_of(teacher, PHOTO)))
    mirror = as_arrays(labels_of(teacher, np.ascontiguousarray(PHOTO[:, ::-1])))
    for name, values in plain.items():
        assert np.isfinite(values).any()
        np.testing.assert_allclose(mirror[name], values, atol=1e-3)
    alone = as_arrays(labels_of(toy.load("t", saved("savedmodel", kind)), PHOTO))
    assert any(not np.array_equal(values, as_arrays(labels_of(teacher, PHOTO))[name]) for name, values in alone.items())


@pytest.mark.parametrize("kind", ["classification", "segmentation", "normals", "detection"])
def test_scales_leave_no_pixel_without_a_label(kind, saved):
    teacher = ensemble(saved("savedmodel", kind), tta=("scales", "2"))
    (outputs,) = teacher.predict([teacher.view(PHOTO)], 4)
    assert len({name.rpartition("/")[0] for name in outputs}) == 1 + 2 + 9
    found = teacher.in_image(outputs, *PHOTO.shape[:2])()
    assert all(np.isfinite(values).all() for values in found.values())
    label = teacher.label(outputs, *PHOTO.shape[:2])
    assert teacher.task.encode(label)


def test_bands_of_a_large_image_make_the_same_label(saved, monkeypatch):
    teacher = ensemble(saved("savedmodel", "segmentation"), tta=("flip", "0.6", "1.5"))
    whole = labels_of(teacher, PHOTO)
    monkeypatch.setattr(segmentation, "_MAX_VALUES", 51 * 3 * 5)
    assert len(teacher.task.bands(37, 51)) == 8
    np.testing.assert_array_equal(labels_of(teacher, PHOTO), whole)


def test_relative_depths_of_any_scale_and_shift_are_merged(saved):
    where = saved("savedmodel", "depth", convention="affine_inverse")
    task = toy.load("t", where).task
    near = RNG.random((5, 6, 1)).astype(np.float32)
    hidden = np.where(np.arange(6)[:, np.newaxis] < 3, 7 * near - 2, np.nan)
    merged = task.merge([{"depth": near}, {"depth": 300 * near + 5}, None, {"depth": hidden}], [None] * 4)["depth"]
    np.testing.assert_allclose(merged, near, atol=1e-4)


def test_ensemble_is_in_the_manifest_with_its_members(saved, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.roll(PHOTO, number, 1)).save(folder / f"{number}.png")
    wheres = saved("savedmodel", "segmentation", license="MIT"), saved("keras3", "segmentation", license="Apache-2.0")
    teacher = ensemble(*wheres, task="masks", tta=("flip",), thresholds={"min_score": 0.2})
    manifest = label(folder, [teacher], tmp_path / "out", batch_size=2)
    assert verify(open_dataset(tmp_path / "out")).problems == []
    told = json.loads(json.dumps(manifest.teachers[teacher.id]))
    assert [member["path"] for member in told["members"]] == [where.partition(":")[2] for where in wheres]
    assert all(member["sha256"] for member in told["members"])
    assert (told["license"], told["augmentation"], told["task"]["min_score"]) == ("MIT; Apache-2.0", ["flip"], 0.2)
    again = pickle.loads(pickle.dumps(teacher))
    assert again.id == teacher.id
    ids = {ensemble(*wheres, task="masks").id, ensemble(wheres[0], task="masks", tta=("flip",)).id, teacher.id}
    assert len(ids) == 3


def test_ensemble_is_compared_with_itself_on_mirror_images(saved):
    teacher = ensemble(saved("savedmodel", "depth", convention="affine_inverse"), tta=("flip",))
    assert flip_agreement(teacher, [PHOTO])["delta1"] == pytest.approx(1, abs=1e-3)


def test_members_with_other_classes_are_refused(saved):
    wheres = saved("savedmodel", "segmentation"), saved("onnx", "segmentation", class_names=["wall", "rest", "floor"])
    with pytest.raises(
        UserError, match=r"\(--classes changes labels\): task 't' has class_names .*'rest'.*, not .*'floor'"
    ) as error:
        ensemble(*wheres)
    assert "\n" not in str(error.value)


def test_meters_are_not_merged_over_scales(saved):
    where = saved("savedmodel", "depth")
    with pytest.raises(UserError, match="--tta: t: meters change with the scale of an image; expected flip alone"):
        ensemble(where, tta=("flip", "scales"))
    assert np.isfinite(labels_of(ensemble(where, tta=("flip",)), PHOTO)).all()


def test_threshold_that_the_kind_does_not_have_is_one_line(saved):
    for kind, match in (("detection", "no threshold 'min_scroe'; did you mean 'min_score'"), ("depth", "it has none")):
        with pytest.raises(UserError, match=match):
            ensemble(saved("savedmodel", kind), tta=("flip",), thresholds={"min_scroe": 0.5})
