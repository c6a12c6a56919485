"""Tests of what is said of labels that can hardly be meant, and of models that fail on some images."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.labeling import label, preview, review
from must_tf.records import Manifest, Quarantined, Record, open_dataset, read_manifest, verify
from must_tf.sources import open_source


def save_images(folder, *values):
    """Writes one image for each gray value, of which the first pixel tells its number."""
    folder.mkdir(exist_ok=True)
    for number, value in enumerate(values):
        pixels = np.full((64, 64, 3), value, np.uint8)
        pixels[0, 0] = number % 256, number // 256, 0
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def in_millimeters(red):
    return {"depth": 2500 + 1000 * tf.linspace(0.0, 1.0, 64)[None, :, None, None] + 0 * red[..., None]}


@pytest.fixture
def long_runs(monkeypatch):
    """Takes every run for a long one."""
    monkeypatch.setattr("must_tf.labeling.run._SHORT", 0)


def test_warning_of_a_short_run_goes_into_the_manifest(tmp_path, capsys):
    images = save_images(tmp_path / "images", 10, 20, 30)
    teacher = toy.FakeTeacher(toy.DEPTH, in_millimeters)
    (warning,) = label(images, [teacher], tmp_path / "out", batch_size=1).warnings
    assert "farther than 3,000 m" in warning and "warning" not in capsys.readouterr().out
    assert read_manifest(tmp_path / "out").warnings == [warning]
    assert teacher.shapes == {(1, *toy.VIEW, 3)}


def test_warning_of_a_long_run_is_printed_first_and_goes_into_the_manifest(tmp_path, capsys, long_runs):
    images = save_images(tmp_path / "images", 10, 20, 30)
    manifest = label(images, [toy.FakeTeacher(toy.DEPTH, in_millimeters)], tmp_path / "out")
    (warning,) = manifest.warnings
    assert "depth: labels by fake-1: half of the pixels are farther than 3,000 m" in warning
    assert "depth_scale" in warning and f"warning: {warning}" in capsys.readouterr().out
    assert read_manifest(tmp_path / "out").warnings == [warning]
    assert label(images, [toy.FakeTeacher(toy.DEPTH, in_millimeters)], tmp_path / "out").warnings == [warning]


@pytest.mark.parametrize("short", [0, 64])
def test_kill_before_the_manifest_loses_no_warning(tmp_path, monkeypatch, short):
    monkeypatch.setattr("must_tf.labeling.run._SHORT", short)
    images = save_images(tmp_path / "images", 10, 20, 30)
    arguments = images, [toy.FakeTeacher(toy.DEPTH, in_millimeters)]
    whole = label(*arguments, tmp_path / "whole", batch_size=1)
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(Manifest, "write", mock.Mock(side_effect=KeyboardInterrupt))
        label(*arguments, tmp_path / "killed", batch_size=1)
    assert label(*arguments, tmp_path / "killed", batch_size=1).warnings == whole.warnings != []
    files = [(tmp_path / name / "manifest.json").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


def test_labels_by_people_are_not_the_teachers_to_answer_for(tmp_path):
    deep = np.linspace(1000, 2000, 64 * 64).reshape(64, 64)
    records = [toy.record(np.full((64, 64, 3), value, np.uint8), {"depth": deep}) for value in range(3)]
    toy.write_dataset(tmp_path / "records", records, [toy.DEPTH], 1)
    manifest = label(tmp_path / "records", [toy.segmenter()], tmp_path / "out")
    assert not any("depth" in line for line in manifest.warnings)


def rare(red):
    """Finds a box in bright images alone."""
    score = tf.cast(tf.reduce_mean(red, [1, 2]) > 0.9, tf.float32)[:, None]
    boxes = tf.tile([[[0.1, 0.1, 0.5, 0.6]]], [tf.shape(red)[0], 1, 1])
    return {"boxes": boxes, "classes": tf.zeros_like(score, tf.int32), "scores": score}


def test_teacher_that_finds_something_in_hardly_any_image_is_an_error_until_it_is_intended(tmp_path):
    images = save_images(tmp_path / "images", *[0] * 59, 255)
    teacher = toy.FakeTeacher(toy.THINGS, rare)
    message = "fake-1 found something for task 'things' in no more than 1 of 60 images; .*min_score.*--allow_empty"
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            label(images, [teacher], tmp_path / "out")
    assert label(images, [teacher], tmp_path / "out", allow_empty=True).count == 60


def test_teacher_that_finds_nothing_in_a_sample_is_doubted_before_the_run(tmp_path, long_runs):
    images = save_images(tmp_path / "images", *[0] * 40)
    manifest = label(images, [toy.FakeTeacher(toy.THINGS, rare)], tmp_path / "out", allow_empty=True)
    assert "things: labels by fake-1: nothing was found in 32 images of a sample" in manifest.warnings


class Failing(toy.FakeTeacher):
    """A classifier whose model raises an error on batches with an image for which `fails` is true."""

    def __init__(self, fails, **fields):
        super().__init__(toy.SCENE, toy.mean_as_class, **fields)
        self.fails = fails

    def __call__(self, images):
        if any(map(self.fails, images)):
            raise RuntimeError(f"[Runtime] : FAIL : {'somewhere ' * 60}\nk should not be greater than 0")
        return super().__call__(images)


def test_image_on_which_a_model_fails_costs_that_image_alone(tmp_path):
    images = save_images(tmp_path / "images", 220, 230, 0, 240, 250)
    teacher = Failing(lambda image: image.max() < 99)
    manifest = label(images, [teacher], tmp_path / "out", batch_size=4, max_bad=0.2)
    assert manifest.count == 4 and verify(open_dataset(tmp_path / "out")).problems == []
    (bad,) = manifest.quarantined
    assert bad["name"].endswith("002.png")
    assert bad["reason"].startswith("the model of fake-1 failed on it: [Runtime] : FAIL")
    assert bad["reason"].endswith("k should not be greater than 0") and "\n" not in bad["reason"]
    whole = label(images, [toy.classifier()], tmp_path / "whole", batch_size=4)
    kept = [record.labels["scene"] for record in open_dataset(tmp_path / "out").records()]
    all_of_them = [record.labels["scene"] for record in open_dataset(tmp_path / "whole").records()]
    assert whole.count == 5
    np.testing.assert_array_equal(kept, [all_of_them[i] for i in (0, 1, 3, 4)])


def test_images_on_which_a_model_fails_count_as_bad(tmp_path):
    images = save_images(tmp_path / "images", 220, 230, 0)
    with pytest.raises(UserError, match=r"1 of 3 images quarantined, more than --max_bad=0.1 .*002.png: the model of"):
        label(images, [Failing(lambda image: image.max() < 99)], tmp_path / "out", max_bad=0.1)


def test_model_that_fails_on_every_image_ends_the_run_before_it_begins(tmp_path, long_runs):
    images = save_images(tmp_path / "images", *range(40))
    with pytest.raises(UserError, match=r"none of 32 images of a sample: .*\.png: the model of fake-1 failed"):
        label(images, [Failing(lambda image: True)], tmp_path / "out")
    assert label(images, [toy.classifier(name="other")], tmp_path / "out").count == 40  # nothing binds the folder


def test_shard_of_which_every_image_fails_is_not_written(tmp_path):
    """As where a GPU is lost in the middle of a run: the same command takes up there."""
    images = save_images(tmp_path / "images", *[200] * 40, *[0] * 40)
    broken = Failing(lambda image: image[5, 5, 0] == 0)
    with pytest.raises(UserError, match=r"shard 1: none of 40 images could be labeled; .*same command takes up there"):
        label(images, [broken], tmp_path / "out", images_per_shard=40, max_bad=1)
    broken.fails = lambda image: False
    manifest = label(images, [broken], tmp_path / "out", images_per_shard=40, max_bad=1)
    assert manifest.count == 80 and not manifest.quarantined


def test_the_last_batch_is_filled_with_real_images(tmp_path):
    images = save_images(tmp_path / "images", *[200] * 5)
    teacher = Failing(lambda image: image[5, 5, 0] == 0)
    assert label(images, [teacher], tmp_path / "out", batch_size=4).count == 5
    assert teacher.shapes == {(4, *toy.VIEW, 3)}


def test_card_that_does_not_fit_the_model_is_no_fault_of_the_images(tmp_path):
    class Wrong(toy.FakeTeacher):
        def __call__(self, images):
            raise UserError("card.yaml: outputs: boxes: wrong shape")

    images = save_images(tmp_path / "images", 1, 2)
    with pytest.raises(UserError, match=r"^card.yaml: outputs: boxes"):
        label(images, [Wrong(toy.SCENE, None)], tmp_path / "out", max_bad=1)


def test_preview_has_what_was_quarantined_and_is_reviewed(tmp_path):
    images = save_images(tmp_path / "images", 220, 0)
    entries = preview(open_source(str(images)), [Failing(lambda image: image.max() < 99)], 5)
    assert {type(entry) for entry in entries} == {Record, Quarantined}
    deep = toy.FakeTeacher(toy.DEPTH, in_millimeters)
    assert "farther than" in review(preview(open_source(str(images)), [deep], 2), [deep])[0]
