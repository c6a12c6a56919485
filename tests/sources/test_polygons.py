import numpy as np
import pytest

from must_tf.sources.polygons import inside


@pytest.mark.parametrize(
    ("height", "width", "start", "end"),
    [(30, 50, (3, 0), (28, 21)), (30, 50, (15, 0), (14, 27)), (27, 27, (27, 0), (4, 23)), (27, 27, (27, 0), (10, 17))],
)
def test_a_line_there_and_back_through_centers_of_pixels_holds_none(height, width, start, end):
    told = [[float(f"{value:.9g}") for value in np.array(corner) / (width, height)] for corner in (start, end)]
    assert not inside(np.array(told) * (width, height), height, width).any()


def test_a_pixel_belongs_to_a_polygon_that_holds_its_center():
    found = inside(np.array([[0.0, 0.0], [4, 0], [4, 4]]), 4, 6)
    np.testing.assert_array_equal(found[:, :4], np.triu(np.ones((4, 4))))
    assert not found[:, 4:].any()
