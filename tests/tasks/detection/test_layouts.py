import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from must_tf.tasks.detection.layouts import shape_problem, unpack

ORDERS = [("box", "scores"), ("scores", "objectness", "box"), ("box", "objectness", "scores", "rest")]
seeds = st.integers(0, 2**31 - 1)


@given(seeds, st.sampled_from(ORDERS), st.integers(1, 9), st.integers(1, 3))
def test_exchanged_axes_give_the_same_boxes(seed, order, classes, batch):
    rng = np.random.default_rng(seed)
    parts = {"box": rng.random((batch, 30, 4)), "scores": rng.random((batch, 30, classes))}
    parts |= {"objectness": rng.random((batch, 30, 1)), "rest": rng.random((batch, 30, 3))}
    rows = np.concatenate([parts[part] for part in order], -1).astype(np.float32)
    found, other = unpack(rows, order, classes, batch), unpack(rows.transpose(0, 2, 1), order, classes, batch)
    for role, values in found.items():
        np.testing.assert_array_equal(values, other[role])
    np.testing.assert_allclose(found["boxes"], parts["box"], rtol=1e-6)
    np.testing.assert_allclose(found["scores"], parts["scores"], rtol=1e-6)
    if "objectness" in order:
        np.testing.assert_allclose(found["objectness"], parts["objectness"][..., 0], rtol=1e-6)


@given(seeds, st.integers(1, 4), st.integers(0, 9))
def test_rows_of_a_list_go_to_the_image_that_they_name(seed, batch, count):
    rng = np.random.default_rng(seed)
    images = rng.integers(-1, batch, count)
    rows = np.concatenate([images[:, np.newaxis], rng.random((count, 6))], 1).astype(np.float32)
    found = unpack(rows, ("batch", "box", "class", "score"), 1, batch)
    for i in range(batch):
        own = rows[images == i]
        np.testing.assert_array_equal(found["boxes"][i, : len(own)], own[:, 1:5])
        np.testing.assert_array_equal(found["scores"][i, : len(own)], own[:, 6])
        assert (found["classes"][i, len(own) :] == -1).all()


@pytest.mark.parametrize(
    "shape, order, problem",
    [
        ((1, 84, 8400), ("box", "scores"), None),
        ((1, 8400, 84), ("box", "scores"), None),
        ((1, 84, 84), ("box", "scores"), "both axes may hold rows of 84 values"),
        ((1, 85, 8400), ("box", "scores"), r"rows of box, scores of 80 classes, or \[batch, 84, N\]; 81 would fit"),
        ((1, 116, 8400), ("box", "scores", "rest"), None),
        ((1, 80, 8400), ("box", "scores", "rest"), r"expected \[batch, N, 84 or more\]"),
        ((1, 6, 6), ("box", "score", "class"), None),
        ((1, 6, 300), ("box", "score", "class"), r"expected \[batch, N, 6\], rows of box, score, class"),
        ((1, 2, 300, 6), ("box", "score", "class"), r"expected \[batch, N, 6\]"),
    ],
)
def test_shape_is_that_of_rows(shape, order, problem):
    found = shape_problem(shape, order, 80)
    assert (found is None) == (problem is None)
    if problem:
        assert re.search(problem, found)
