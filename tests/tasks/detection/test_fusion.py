"""Tests of weighted boxes fusion."""

import numpy as np
import pytest

from must_tf.tasks.detection.fusion import fuse

WHOLE = np.array([0.0, 0, 1, 1])


def found(*rows, size=4):
    """Returns outputs of boxes: rows (ymin, xmin, ymax, xmax, class, score), padded."""
    rows = [*rows, *[(0, 0, 0, 0, -1, 0)] * (size - len(rows))]
    values = np.array(rows, np.float32)
    return {"boxes": values[:, :4], "classes": values[:, 4].astype(np.int32), "scores": values[:, 5]}


def rows_of(fused):
    return [
        (*np.round(box, 4), cls, round(float(score), 4))
        for box, cls, score in zip(fused["boxes"].tolist(), fused["classes"].tolist(), fused["scores"], strict=True)
        if cls >= 0
    ]


def test_boxes_of_one_object_become_their_mean_by_score():
    first, second = found((0, 0, 0.4, 0.4, 1, 0.9)), found((0.04, 0, 0.4, 0.44, 1, 0.3))
    assert rows_of(fuse([first, second], [WHOLE, WHOLE], 5)) == [(0.01, 0, 0.4, 0.41, 1, 0.6)]


def test_box_of_one_prediction_scores_less_and_classes_stay_apart():
    first, second = found((0, 0, 0.4, 0.4, 1, 0.9)), found((0, 0, 0.4, 0.4, 2, 0.6))
    assert rows_of(fuse([first, second], [WHOLE, WHOLE], 5)) == [
        (0, 0, 0.4, 0.4, 1, 0.45),
        (0, 0, 0.4, 0.4, 2, 0.3),
    ]


def test_two_boxes_of_one_prediction_are_two_objects():
    pair = found((0, 0, 0.4, 0.4, 1, 0.9), (0, 0, 0.4, 0.42, 1, 0.8))
    assert [row[-1] for row in rows_of(fuse([pair], [WHOLE], 5))] == [0.9, 0.8]
    assert [row[-1] for row in rows_of(fuse([pair, pair], [WHOLE, WHOLE], 5))] == [0.9, 0.8]


def test_prediction_that_cannot_see_the_place_does_not_vote():
    top = np.array([0.0, 0, 0.5, 1])
    low = found((0.6, 0.1, 0.9, 0.4, 0, 0.8))
    assert rows_of(fuse([low, found()], [WHOLE, top], 5)) == [(0.6, 0.1, 0.9, 0.4, 0, 0.8)]
    assert rows_of(fuse([low, found()], [WHOLE, WHOLE], 5)) == [(0.6, 0.1, 0.9, 0.4, 0, 0.4)]


def test_fragment_at_the_edge_of_a_window_is_left_out():
    top = np.array([0.0, 0, 0.5, 1])
    whole, fragment = (
        found((0.3, 0.1, 0.9, 0.4, 0, 0.8)),
        found((0.3, 0.1, 0.5, 0.4, 0, 0.9), (0, 0.5, 0.2, 0.7, 0, 0.6)),
    )
    boxes = [row[:4] for row in rows_of(fuse([whole, fragment], [WHOLE, top], 5))]
    assert (0.3, 0.1, 0.9, 0.4) in boxes and (0, 0.5, 0.2, 0.7) in boxes and len(boxes) == 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_is_padded(count):
    fused = fuse([found()] * (count + 1), [WHOLE] * (count + 1), 5)
    assert (fused["classes"] == -1).all() and not fused["scores"].any() and fused["boxes"].shape == (5, 4)


def test_only_the_best_are_kept_the_best_first():
    many = found(*[(0.1 * i, 0, 0.1 * i + 0.08, 0.5, 0, 0.1 * (i + 1)) for i in range(8)], size=8)
    fused = fuse([many, many], [WHOLE, WHOLE], 3)
    np.testing.assert_allclose(fused["scores"], [0.8, 0.7, 0.6], rtol=1e-5)
    assert fused["classes"].dtype == np.int32
