"""Tests of normals that are computed from depth, against analytic planes and the rooms renderer."""

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.sources.rooms.render import render
from must_tf.sources.rooms.worlds import WORLDS
from must_tf.tasks import Depth, Normals, Segmentation
from must_tf.tasks.normals.from_depth import NormalsFromDepth

FIELD = 60.0


def plane(normal, distance, height, width, focal, center=None):
    """Returns the depth [height, width] of a plane, n · P = -distance, seen by a pinhole camera."""
    cx, cy = center or (width / 2, height / 2)
    x, y = np.meshgrid(np.arange(width) + 0.5 - cx, np.arange(height) + 0.5 - cy)
    depth = -distance / (normal[0] * x / focal[0] + normal[1] * y / focal[1] + normal[2])
    return np.where(depth > 0, depth, np.nan)


def angles(found, expected):
    """Returns angular errors in degrees where both are valid, and the share of valid pixels that were found."""
    valid = np.any(expected, -1)
    both = valid & np.any(found, -1)
    cosine = np.clip((found[both] * expected[both]).sum(-1), -1, 1)
    return np.degrees(np.arccos(cosine)), both.sum() / valid.sum()


NORMALS = [(0, 0, -1), (0.6, 0, -0.8), (0, -0.8, -0.6), (-0.36, -0.48, -0.8), (0, -0.995, -0.0999)]


@pytest.mark.parametrize("normal", NORMALS)
@pytest.mark.parametrize(("size", "window"), [((48, 64), 3), ((48, 64), 7), ((1300, 900), 5)])
def test_planes_are_exact(normal, size, window):
    focal = max(size) / 2 / np.tan(np.radians(FIELD) / 2)
    depth = plane(normal, 2.0, *size, (focal, focal))
    found = NormalsFromDepth(FIELD, window=window).derive(depth)
    assert found.shape == (*size, 3) and found.dtype == np.float32
    expected = np.where(np.isfinite(depth)[..., None], np.array(normal) / np.linalg.norm(normal), 0)
    errors, share = angles(found, expected)
    assert errors.max() < 0.1 and share > 0.9


def test_intrinsics_hold_for_all_images_of_their_shape():
    card = NormalsFromDepth(intrinsics=(500, 450, 300, 260), image_size=(480, 640))
    normal, half = (0.6, 0, -0.8), np.array([250, 225])
    depth = plane(normal, 2.0, 240, 320, half, (150, 130))
    errors, share = angles(card.derive(depth), np.broadcast_to(normal, (240, 320, 3)))
    assert errors.max() < 0.1 and share == 1
    with pytest.raises(
        UserError, match=r"intrinsics are of images of \[480, 640\], and not of the shape of \[240, 240\]"
    ):
        card.derive(depth[:, :240])


def test_noise_is_averaged_over_the_window():
    focal = 64 / 2 / np.tan(np.radians(FIELD) / 2)
    depth = plane((0.6, 0, -0.8), 2.0, 48, 64, (focal, focal))
    depth *= 1 + np.random.default_rng(0).normal(0, 0.002, depth.shape)
    expected = np.full((48, 64, 3), (0.6, 0, -0.8))
    few, many = (angles(NormalsFromDepth(FIELD, window=n, edge=0.05).derive(depth), expected)[0].mean() for n in (3, 7))
    assert many < few / 2


def test_surfaces_do_not_mix_across_an_edge():
    depth = np.full((40, 60), 3.0)
    depth[:, 30:] = 1.5
    depth[:, :2] = np.nan
    found = NormalsFromDepth(FIELD).derive(depth)
    assert not found[:, 29:31].any() and not found[:, :2].any()
    np.testing.assert_allclose(found[:, 32:], np.broadcast_to([0, 0, -1], (40, 28, 3)), atol=1e-6)
    np.testing.assert_allclose(found[:, 3:28], np.broadcast_to([0, 0, -1], (40, 25, 3)), atol=1e-6)


def test_affine_inverse_depth_with_its_scale_and_shift_is_metric_depth():
    depth = plane((0, -0.8, -0.6), 1.5, 40, 60, (60, 60))
    given = (1 / depth - 0.05) / 2e-3  # 1/meters = 0.002 · given + 0.05
    metric = NormalsFromDepth(FIELD).derive(depth)
    np.testing.assert_allclose(NormalsFromDepth(FIELD, inverse_depth=(2e-3, 0.05)).derive(given), metric, atol=1e-5)


def test_kinds_and_conventions_without_normals_are_refused():
    card = NormalsFromDepth(FIELD)
    assert Normals.derivation is NormalsFromDepth and card.misfit(Depth("d")) is None
    assert "computed from depth, and 's' is segmentation" in card.misfit(Segmentation("s", ("a",)))
    affine = Depth("d", convention="affine_inverse")
    assert "has no true normals; give a metric depth model, or inverse_depth" in card.misfit(affine)
    scaled = NormalsFromDepth(FIELD, inverse_depth=(1.0, 0.0))
    assert scaled.misfit(affine) is None and "leave it out" in scaled.misfit(Depth("d"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "field_of_view: nothing received; expected degrees, or intrinsics and image_size"),
        ({"field_of_view": 190}, "field_of_view: 190 received"),
        ({"intrinsics": (1, 1, 1, 1)}, "image_size: nothing received"),
        ({"field_of_view": 60, "image_size": (4, 4)}, "image_size: .* with intrinsics alone"),
        ({"intrinsics": (0, 1, 1, 1), "image_size": (4, 4)}, "intrinsics: .* fx and fy above 0"),
        ({"field_of_view": 60, "window": 4}, "window: 4 received; expected an odd number"),
        ({"field_of_view": 60, "inverse_depth": (0, 1)}, "inverse_depth: .* a scale above 0"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        NormalsFromDepth(**fields)


@pytest.mark.parametrize("index", range(3))
def test_normals_of_rendered_rooms(index):
    """Median error below 0.1°, mean below 1.5° (the window rounds off corners), at least 75 % of the pixels."""
    room = render(next(iter(WORLDS.values())), 0, index, 256)
    field = float(np.degrees(2 * np.arctan(128 / room.focal)))
    found = NormalsFromDepth(field).derive(np.where(room.depth > 0, room.depth, np.nan))
    errors, share = angles(found, room.normals)
    assert np.median(errors) < 0.1 and errors.mean() < 1.5 and share > 0.75
