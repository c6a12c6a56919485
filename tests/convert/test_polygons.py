import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from skimage.measure import points_in_poly

from must_tf.convert.polygons import polygons


def filled(outlines, height, width):
    """Returns the pixels whose centers lie in one of the polygons, by scikit-image."""
    y, x = np.mgrid[:height, :width] + 0.5
    centers = np.stack([x.ravel(), y.ravel()], 1)
    inside = [points_in_poly(centers, outline).reshape(height, width) for outline in outlines]
    return np.any(inside, 0) if inside else np.zeros((height, width), bool)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_filled_at_the_centers_of_pixels_polygons_are_the_region(seed, height, width, share):
    region = np.random.default_rng(seed).random((height, width)) < share
    assert np.array_equal(filled(list(polygons(region)), height, width), region)


def test_a_rectangle_has_four_corners_on_the_edges_of_its_pixels():
    region = np.zeros((6, 9), bool)
    region[1:4, 2:7] = True
    (outline,) = polygons(region)
    assert sorted(map(tuple, outline.tolist())) == [(2, 1), (2, 4), (7, 1), (7, 4)]


def test_pixels_that_touch_at_a_corner_are_two_regions():
    assert len(list(polygons(np.eye(3, dtype=bool)))) == 3


def test_a_hole_stays_empty_in_one_ring():
    region = np.ones((7, 9), bool)
    region[2:4, 3:6] = region[5, 7] = False
    (outline,) = polygons(region)
    assert np.array_equal(filled([outline], 7, 9), region)


@pytest.mark.parametrize("seed", range(3))
def test_pycocotools_fills_nearly_the_same_pixels(seed):
    region = np.kron(np.random.default_rng(seed).random((6, 8)) < 0.5, np.ones((9, 9))).astype(bool)
    rings = [outline.ravel().tolist() for outline in polygons(region)]
    encoded = coco_mask.merge(coco_mask.frPyObjects(rings, *region.shape))
    found = coco_mask.decode(encoded).astype(bool)
    assert (found & region).sum() / (found | region).sum() > 0.99
