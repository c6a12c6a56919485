"""Tests of the views and labels of teachers."""

import io

import blur
import numpy as np
import pytest
import specimens
import toy
from PIL import Image

from must_tf.geometry import center_crop, move_image, stretch
from must_tf.sources.decoding import decode, to_record
from must_tf.teachers.teacher import RESIZES


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(427, 640), (100, 30), (31, 47), (7, 300), (1, 1), (64, 65)])
def test_a_view_is_what_the_geometry_says_within_a_gray_level_and_a_half(resize, size):
    teacher = toy.segmenter()
    teacher.resize = resize
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    view = teacher.view(image)
    wanted = move_image(image, teacher.geometry(size)).numpy()
    assert view.dtype == np.uint8 and view.shape == wanted.shape
    assert np.abs(view - wanted).max() <= 1.51


def test_a_view_of_an_image_of_its_size_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (*toy.VIEW, 3), np.uint8)
    assert toy.segmenter().view(image) is image


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(427, 640), (1000, 31), (65, 66), (64, 333), (513, 519)])
def test_a_view_of_a_jpeg_at_less_than_its_size_is_nearly_that_of_all_its_pixels(resize, size):
    """Partly filled pixels at the end of a row or column of the reduced image have no effect."""
    teacher = toy.segmenter()
    teacher.resize = resize
    ratio = teacher.reduction(*size)
    rows, columns = teacher.geometry(size).scaled_size.numpy()
    assert (rows * ratio <= size[0] and columns * ratio <= size[1]) or ratio == 1
    assert ratio == 8 or rows * 2 * ratio > size[0] or columns * 2 * ratio > size[1]
    image = Image.fromarray(toy.random_image(np.random.default_rng(0), 4, 4)).resize(size[::-1], Image.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=98, subsampling=0)
    record = to_record("a", file.getvalue())
    apart = np.abs(teacher.view(record.seen).astype(int) - teacher.view(decode(record, ratio), size, ratio))
    assert apart.mean() < 2 and apart.max() <= 16


def test_an_image_no_larger_than_its_view_is_decoded_whole():
    assert toy.segmenter().reduction(*toy.VIEW) == toy.segmenter().reduction(5, 7) == 1


def test_a_kind_without_positions_is_told_what_was_not_seen():
    class Everywhere(blur.Blur):
        has_frame = False

        def mark_unseen(self, label, seen):
            return label | {"seen": seen.tolist()}

    teacher = toy.FakeTeacher(Everywhere("sharpness"), None)
    teacher.resize = "crop"
    assert teacher.label({"blur": np.zeros(1, np.float32)}, 64, 128)["seen"] == [0, 0.25, 1, 0.75]


def test_map_of_a_large_image_is_made_in_bands(monkeypatch):
    """The probabilities of all pixels and classes are never in memory at once."""
    teacher, size = toy.segmenter(), (300, 200)
    outputs = {"probs": np.random.default_rng(0).dirichlet(np.ones(3), toy.VIEW).astype(np.float32)}
    whole = teacher.label(outputs, *size)
    sizes, made = [], type(teacher.task).pseudo_label
    monkeypatch.setattr("must_tf.tasks.segmentation.task._MAX_VALUES", 200 * 3 * 64)
    monkeypatch.setattr(
        type(teacher.task), "pseudo_label", lambda *args: (sizes.append(args[1]["probs"].size), made(*args))[1]
    )
    assert (teacher.label(outputs, *size) == whole).mean() > 0.999
    assert len(sizes) == 5 and max(sizes) == 200 * 3 * 64


SIZE = (64, 128)  # of an image whose left and right quarter a square view does not show


@pytest.mark.parametrize("task", [task for task in toy.VARIANTS if task.has_frame], ids=lambda task: task.name)
@pytest.mark.parametrize("columns", [(4, 28), (100, 124)])
def test_what_a_crop_hides_is_unknown_and_not_empty(task, columns):
    """A student that finds a thing where the teacher did not look is not punished."""
    inside = np.zeros(SIZE, bool)
    inside[16:48, columns[0] : columns[1]] = True
    truth = toy.target(task, specimens.of(task).marker_label(task, inside), *SIZE)
    teacher = toy.FakeTeacher(task, None)
    teacher.resize = "crop"
    outputs = specimens.of(task).perfect_outputs(task, toy.numpy(task.transform(truth, center_crop(SIZE, toy.VIEW))))
    label = teacher.label(outputs, *SIZE)
    whole = task.transform(truth, stretch(SIZE, toy.VIEW))
    found = specimens.of(task).perfect_prediction(task, whole)
    target = toy.batch([task.transform(toy.target(task, label, *SIZE), stretch(SIZE, toy.VIEW))])
    assert float(toy.image_losses(task, target, found)[0]) < 1e-3
    assert specimens.of(task).marked_box(task, toy.numpy(whole)) is not None


@pytest.mark.parametrize(("resize", "size"), [("fit", (40, 100)), ("stretch", (40, 100)), ("crop", (128, 128))])
def test_boxes_of_a_view_of_the_whole_image_have_no_region_that_was_not_seen(resize, size):
    teacher = toy.FakeTeacher(toy.THINGS, None)
    teacher.resize = resize
    outputs = {"boxes": np.array([[0.0, 0, 0.3, 0.6]]), "classes": np.zeros(1, int), "scores": np.ones(1)}
    assert teacher.label({key: value.astype(np.float32) for key, value in outputs.items()}, *size)[
        "ignore"
    ].tolist() == [0]
