"""Tests of teachers that compute their labels from those of another teacher."""

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
from must_tf.tasks.normals.from_depth import NormalsFromDepth

FIELDS = {"normals": {"field_of_view": 60}}


@pytest.fixture
def images(tmp_path):
    """Three images of ramps, of several sizes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (height, width) in enumerate(((40, 60), (64, 48), (16, 24))):
        ramp = np.linspace(60, 200 - number, width).astype(np.uint8)
        Image.fromarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()).save(folder / f"{number}.png")
    return folder


def test_normals_are_those_of_the_depth_beside_them(saved, images, tmp_path):
    where = saved("savedmodel", "depth")
    teachers = toy.load_all([f"normals=derive:depth,depth={where}"][0].split(","), fields=FIELDS)
    assert teachers[0].source is teachers[1]
    manifest = label(images, teachers, tmp_path / "out")
    assert verify(open_dataset(tmp_path / "out")).problems == []
    assert manifest.counts["normals"] == {teachers[0].id: 3}
    for record in open_dataset(tmp_path / "out").records():
        depth, normals = record.labels["depth"], record.labels["normals"]
        expected = NormalsFromDepth(60).derive(depth)
        both = np.any(normals, -1) & np.any(expected, -1)
        assert both.mean() > 0.5
        assert np.median((normals * expected).sum(-1)[both]) > np.cos(np.radians(2))  # two PNGs were between them
    described = json.loads(json.dumps(manifest.teachers[teachers[0].id]))
    assert described["card"]["field_of_view"] == 60 and described["derived_from"]["id"] == teachers[1].id


def test_source_may_label_nothing_itself(saved, images, tmp_path):
    where = saved("savedmodel", "depth", license="MIT")
    (teacher,) = toy.load_all([f"normals=derive:{where}"], fields=FIELDS)
    assert teacher.describe()["license"] == "MIT" and teacher.task.name == "normals"
    assert label(images, [teacher], tmp_path / "out").counts == {"normals": {teacher.id: 3}}
    again = pickle.loads(pickle.dumps(teacher))
    assert again.id == teacher.id
    other = toy.load_all([f"normals=derive:{where}"], fields={"normals": {"field_of_view": 50}})[0]
    assert other.id != teacher.id


def test_derived_labels_are_graded_on_mirror_images(saved):
    (teacher,) = toy.load_all([f"normals=derive:{saved('savedmodel', 'depth')}"], fields=FIELDS)
    scores = flip_agreement(teacher, [toy.random_image(np.random.default_rng(0), 16, 24)])
    assert 0 <= scores["mean_angle"] <= 180


@pytest.mark.parametrize(
    ("source", "fields", "message"),
    [
        ("depth", {}, "--cards.normals: field_of_view: nothing received"),
        ("depth", {"field_of_view": 60, "windw": 3}, "'windw' is unknown; did you mean 'window'"),
        ("depth", {"field_of_view": 60, "task": "depth"}, "task: depth is not computed from another task"),
        ("normals", {"field_of_view": 60}, "derive:.*: normals are computed from depth, and 'source' is normals"),
    ],
)
def test_what_cannot_be_derived_is_one_line(source, fields, message, saved):
    with pytest.raises(UserError, match=message) as error:
        toy.load_all([f"normals=derive:{saved('savedmodel', source)}"], fields={"normals": fields} if fields else {})
    assert "\n" not in str(error.value)


def test_inverse_depth_of_an_unknown_scale_has_no_normals(saved):
    where = saved("savedmodel", "depth", convention="affine_inverse")
    with pytest.raises(UserError, match="inverse depth up to scale and shift has no true normals"):
        toy.load_all([f"normals=derive:{where}"], fields=FIELDS)
    fields = {"normals": {"field_of_view": 60, "inverse_depth": [0.1, 0.2]}}
    assert toy.load_all([f"normals=derive:{where}"], fields=fields)[0].task.kind == "normals"
