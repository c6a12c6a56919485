import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from must_tf.teachers.preparation import Preparation

RNG = np.random.default_rng(0)
VIEWS = RNG.integers(0, 256, (2, 4, 6, 3), np.uint8)
SCALE, SHIFT = RNG.uniform(0.004, 0.02, (2, 4, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", None])
@pytest.mark.parametrize(("reverse", "first", "batched"), itertools.product((False, True), repeat=3))
def test_graph_gives_what_numpy_gives(dtype, reverse, first, batched):
    scaled = dtype in ("float16", "float32")
    views = VIEWS if batched else VIEWS[:1]
    prepare = Preparation(SCALE if scaled else None, SHIFT if scaled else None, reverse, first, dtype, batched)
    array, tensor = prepare(views), tf.function(prepare.in_graph)(tf.constant(views))
    assert array.dtype == tensor.dtype == (dtype or np.uint8) and array.flags.c_contiguous
    np.testing.assert_array_equal(array, tensor)
    assert array.shape == ((len(views),) if batched else ()) + ((3, 4, 6) if first else (4, 6, 3))
    values = VIEWS[..., ::-1] if reverse else VIEWS
    expected = values * SCALE + SHIFT if scaled else values
    found = np.moveaxis(array, -3, -1) if first else array
    np.testing.assert_allclose(found, expected if batched else expected[0], rtol=2e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("channels", [1, 4])
def test_one_and_four_channels_in_graph_and_numpy(channels, reverse, first):
    scale = np.full((4, 6, channels), 1 / 255, np.float32)
    prepare = Preparation(scale, scale * 0, reverse and channels == 4, first, "float32", True, channels)
    array, tensor = prepare(VIEWS), tf.function(prepare.in_graph)(tf.constant(VIEWS))
    np.testing.assert_array_equal(array, tensor)
    found = np.moveaxis(array, 1, -1) if first else array
    if channels == 1:
        expected = np.stack([np.asarray(Image.fromarray(view).convert("L")) for view in VIEWS])[..., None]
    else:
        colors = VIEWS[..., ::-1] if reverse else VIEWS
        expected = np.concatenate([colors, np.full_like(colors[..., :1], 255)], -1)
    np.testing.assert_allclose(found * 255, expected, atol=1e-4)
