import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy import png

from must_tf.geometry import Geometry, fit, move_image, random_view
from must_tf.pipeline.decode import decode_view

VIEW = (64, 96)


def smooth(height, width, seed=0):
    """Returns a random image without sharp edges, uint8 [height, width, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (max(height // 24, 2), max(width // 24, 2), 3))
    return np.array(Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


decode = tf.function(lambda encoded, *parts: decode_view(encoded, Geometry(*parts, VIEW)))


def parts(geometry):
    return geometry.image_size, geometry.scaled_size, geometry.offset, geometry.flip


def both(encoded, seed, scale=(0.5, 2.0)):
    """Returns the view by `decode_view`, the view of the fully decoded image, and their geometry."""
    image = tf.io.decode_image(encoded, channels=3)
    geometry = random_view(tf.constant([seed, 0]), image.shape[:2], VIEW, scale)
    return decode(tf.constant(encoded), *parts(geometry)).numpy(), move_image(image, geometry).numpy(), geometry


@given(st.integers(0, 2**31 - 1), st.integers(8, 900), st.integers(8, 900), st.sampled_from([jpeg, png]))
def test_view_resembles_that_of_the_fully_decoded_image(seed, height, width, encode):
    view, whole, geometry = both(encode(smooth(height, width, seed)), seed)
    np.testing.assert_allclose(view, whole, atol=30)  # at single pixels of the edge
    assert np.abs(view - whole).mean() < 2.5
    rows, columns = np.minimum(geometry.scaled_size - geometry.offset, VIEW)
    padded = view[:, ::-1] if geometry.flip else view
    assert not padded[rows:].any() and not padded[:, columns:].any()


@pytest.mark.parametrize("ratio", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("encode", [jpeg, png])
def test_reduced_decoding_does_not_shift_the_image(encode, ratio):
    # the center of gravity of a square stays within a tenth of a pixel of its exact position
    image = np.zeros((64 * ratio + 30, 96 * ratio + 30, 3), np.uint8)
    image[20 * ratio : 30 * ratio, 40 * ratio : 50 * ratio] = 255
    view, whole, _ = both(encode(image), 3, (0.9, 0.9))
    for axis in (0, 1):
        places = np.arange(VIEW[axis])
        centers = [np.average(places, weights=pixels.sum((1 - axis, 2))) for pixels in (view, whole)]
        assert abs(centers[0] - centers[1]) < 0.1


@pytest.mark.parametrize("size", [VIEW, (20, 30), (63, 95), (64, 30)])
def test_image_that_is_not_reduced_is_decoded_exactly(size):
    encoded = jpeg(smooth(*size))
    geometry = fit(size, VIEW)
    exact = move_image(tf.io.decode_image(encoded, channels=3), geometry)
    np.testing.assert_allclose(decode(tf.constant(encoded), *parts(geometry)), exact, atol=0 if size == VIEW else 0.01)


def test_gray_and_16_bit_images_are_read():
    gray = smooth(200, 300)[..., 0]
    for image in (gray, gray.astype(np.uint16) * 257):
        view, whole, _ = both(png(image), 1)
        assert np.abs(view - whole).mean() < 1 and view.max() > 100


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 900), (900, 3), (17, 4000)])
@pytest.mark.parametrize("encode", [jpeg, png])
def test_thin_images_have_views(size, encode):
    view, whole, _ = both(encode(np.full((*size, 3), 200, np.uint8)), 5, (0.6, 1.2))
    assert np.isfinite(view).all()
    np.testing.assert_allclose(view, whole, atol=2)
