"""Tests of the variants of an image for test-time augmentation."""

import numpy as np
import pytest

from must_tf.errors import UserError
from must_tf.tasks import Detection, Segmentation
from must_tf.teachers.augmentation import Variant, variants
from must_tf.teachers.spec import check_augmentation

HEIGHT, WIDTH = 23, 40
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
PROBS = RNG.random((HEIGHT, WIDTH, 2)).astype(np.float32)
SEGMENTATION = Segmentation("s", ("a", "b"))
BOXES = Detection("b", ("a",))


def seen_by(variant, values):
    """Returns the map that a perfect model gives for a variant, NaN beyond the image."""
    part = values[variant.top : variant.top + variant.height, variant.left : variant.left + variant.width]
    missing = ((0, variant.height - part.shape[0]), (0, variant.width - part.shape[1]), (0, 0))
    padded = np.pad(part, missing, constant_values=np.nan)
    return padded[:, ::-1] if variant.flip else padded


def shown(variant):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[variant.top : variant.top + variant.height, variant.left : variant.left + variant.width] = True
    return mask


ALL = variants(("flip", "scales", "1.5", "3"), HEIGHT, WIDTH)


def test_first_variant_is_the_image_and_windows_cover_it():
    assert ALL[0] == Variant(0, 0, HEIGHT, WIDTH, False)
    np.testing.assert_array_equal(ALL[0].of(IMAGE), IMAGE)
    assert len(ALL) == 2 * (1 + 2 + 4 + 16) and len(set(ALL)) == len(ALL)
    for scale in ("1.3", "2", "4"):
        windows = variants((scale,), HEIGHT, WIDTH)[1:]
        assert np.any([shown(window) for window in windows], 0).all()
        sides = {(window.height, window.width) for window in windows}
        assert sides == {(round(HEIGHT / float(scale)), round(WIDTH / float(scale)))}
    assert variants((), HEIGHT, WIDTH) == ALL[:1]


def test_image_that_is_made_smaller_has_gray_beside_it():
    small = Variant(0, 0, 30, 50, False).of(IMAGE)
    np.testing.assert_array_equal(small[:HEIGHT, :WIDTH], IMAGE)
    assert (small[HEIGHT:] == 114).all() and (small[:, WIDTH:] == 114).all()
    np.testing.assert_array_equal(Variant(0, 0, 30, 50, True).of(IMAGE), small[:, ::-1])


@pytest.mark.parametrize("variant", [ALL[0], ALL[1], ALL[4], ALL[6], ALL[12], ALL[23], ALL[24], ALL[29], ALL[-1]])
@pytest.mark.parametrize("band", [None, (0, 9), (9, 9), (18, 5)])
def test_maps_come_back_to_their_pixels(variant, band):
    values = seen_by(variant, PROBS)
    first, count = band or (0, HEIGHT)
    if band:
        start, rows, _ = variant.rows(*band)
        if rows <= 0:
            assert not shown(variant)[first : first + count].any()
            return
        values = values[start : start + rows]
    found = SEGMENTATION.to_image_frame({"probs": values}, variant.geometry((HEIGHT, WIDTH), band))["probs"].numpy()
    assert found.shape == (count, WIDTH, 2)
    expected = np.where(shown(variant)[..., np.newaxis], PROBS, np.nan)[first : first + count]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("variant", ALL)
def test_boxes_come_back_to_their_places(variant):
    size = np.array([variant.height, variant.width] * 2)
    inside = np.array([0.25, 0.5, 0.5, 0.75]) * np.minimum(size, np.array([HEIGHT, WIDTH] * 2)) / size
    own = inside[[0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1] if variant.flip else inside
    found = BOXES.to_image_frame({"boxes": own[np.newaxis].astype(np.float32)}, variant.geometry((HEIGHT, WIDTH)))
    expected = variant._replace(flip=False).in_image(inside, (HEIGHT, WIDTH))
    np.testing.assert_allclose(found["boxes"].numpy()[0], expected, atol=1e-5)
    np.testing.assert_allclose(variant.in_image(own, (HEIGHT, WIDTH)), expected, atol=1e-5)


@pytest.mark.parametrize("words", [("flop",), ("flip", "flip"), ("0.1",), ("5",), ("nan",), ("",)])
def test_unknown_augmentation_is_refused(words):
    with pytest.raises(
        UserError, match=r"--tta: .* received; expected flip, scales, or a scale from 0\.5 to 4, each once"
    ):
        check_augmentation(words, "--tta")
