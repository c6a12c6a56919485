"""Run lengths against pycocotools, and grids that lose no pixel."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from must_tf.tasks.instances import masks

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 40)


def blobs(rng, height, width, count=1):
    """Returns masks of blocks, bool [count, height, width]."""
    coarse = rng.random((count, -(-height // 3), -(-width // 3))) < rng.random()
    return np.kron(coarse, np.ones((1, 3, 3), bool))[:, :height, :width]


@given(seeds, sides, sides)
def test_run_lengths_are_those_that_pycocotools_compressed(seed, height, width):
    (mask,) = blobs(np.random.default_rng(seed), height, width)
    rle = masks.encode(mask)
    runs = masks.run_lengths(rle["counts"])
    back = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_array_equal(masks.decode(rle), mask)
    assert masks.area(rle) == mask.sum() and masks.problem(rle) is None


def test_long_runs_are_read():
    rle = coco.frPyObjects({"size": [5000, 6000], "counts": [1, 17_000_000, 12_999_999]}, 5000, 6000)
    assert masks.run_lengths(rle["counts"]).tolist() == [1, 17_000_000, 12_999_999]


@pytest.mark.parametrize(
    ("rle", "said"),
    [
        ({"size": [4, 5], "counts": b"11"}, "2 pixels for a frame of 4x5"),
        ({"size": [4, 5], "counts": b"\xff\xff"}, "is damaged"),
        ({"size": [4, 5], "counts": b"P"}, "is damaged"),
        ({"size": [4, 5], "counts": b""}, "is damaged"),
        ({"size": [4, 5], "counts": b"o" * 9 + b"1"}, "too long"),
        ({"size": [4, 5], "counts": b"O"}, "below 0"),
        ({"size": [4, 5], "counts": [1, 19]}, "no RLE"),
        ({"counts": b"1"}, "no RLE"),
        (None, "no RLE"),
    ],
)
def test_damaged_run_lengths_are_refused(rle, said):
    assert said in masks.problem(rle)


@given(st.binary(max_size=40))
def test_any_bytes_are_run_lengths_or_refused(counts):
    wrong = masks.problem({"size": [6, 7], "counts": counts})
    assert wrong is not None or masks.decode({"size": [6, 7], "counts": counts}).shape == (6, 7)


@given(seeds, sides, sides)
def test_a_grid_over_a_box_gives_back_each_pixel_of_it(seed, height, width):
    rng = np.random.default_rng(seed)
    found = blobs(rng, height, width, 3)
    boxes = masks.tight_boxes(found)
    for mask, grid, box in zip(found, masks.over_boxes(found.astype(np.uint8), boxes), boxes, strict=True):
        if mask.any():
            np.testing.assert_array_equal(masks.decode(masks.paste(grid, box, (height, width))), mask)


@given(seeds, sides, sides)
def test_cells_of_a_cut_have_the_pixels_at_their_centers(seed, height, width):
    rng = np.random.default_rng(seed)
    found = blobs(rng, height, width, 2)
    part = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.75, 1]], np.float32)
    grids = masks.cut([masks.encode(mask)["counts"] for mask in found], (height, width), part, 16)
    for mask, grid, (top, left, bottom, right) in zip(found, grids, part, strict=True):
        rows = ((top + (np.arange(16) + 0.5) / 16 * (bottom - top)) * height).astype(int)
        columns = ((left + (np.arange(16) + 0.5) / 16 * (right - left)) * width).astype(int)
        np.testing.assert_array_equal(grid, mask[np.ix_(rows, columns)])


def test_a_mask_of_another_size_is_no_grid():
    with pytest.raises(ValueError, match="20 pixels for a frame of 9x9"):
        masks.cut([masks.encode(np.ones((4, 5)))["counts"]], (9, 9), np.array([[0, 0, 1, 1]]), 8)
    assert (masks.cut([b""], (9, 9), np.array([[0, 0, 1, 1]]), 8) == 1).all()


def test_a_part_of_a_grid_is_magnified():
    grid = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    boxes = tf.constant([[0.2, 0.2, 0.6, 0.6]])
    half = masks.recut(grid, boxes, tf.constant([[0.2, 0.4, 0.6, 0.6]])).numpy()[0]
    np.testing.assert_array_equal(half, grid[0][:, [2, 2, 3, 3]])
    np.testing.assert_array_equal(masks.recut(grid, boxes, boxes).numpy(), grid)


def test_probabilities_are_interpolated_and_cut_at_a_half():
    grid = np.array([[1.0, 0.0]], np.float32)
    mask = masks.decode(masks.paste(grid, np.array([0.0, 0, 1, 1]), (3, 8)))
    np.testing.assert_array_equal(mask, np.tile([1, 1, 1, 1, 0, 0, 0, 0], (3, 1)))


def test_a_vote_is_the_weighted_mean_where_masks_are():
    whole, half = np.ones((2, 2), np.uint8), np.ones((4, 4), np.uint8)
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5]])
    found = masks.vote([whole, half], boxes, [0.5, 1.5], np.array([0.0, 0, 1, 1]), 4)
    np.testing.assert_allclose(found, np.tile([1, 1, 0.25, 0.25], (4, 1)))
