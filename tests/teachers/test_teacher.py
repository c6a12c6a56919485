import numpy as np
import pytest
import toy

from must_tf.geometry import move_image
from must_tf.teachers.teacher import RESIZES


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(427, 640), (100, 30), (31, 47), (7, 300), (1, 1), (64, 65)])
def test_a_view_is_what_the_geometry_says_within_a_grey_level_and_a_half(resize, size):
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
