"""Tests of the views and labels of teachers."""

import io

import numpy as np
import pytest
import toy
from PIL import Image

from must_tf.geometry import move_image
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
