import re

import numpy as np
import pytest

from must_tf.tasks.detection import Detection
from must_tf.tasks.detection.plausibility import suppressed_problem

TASK = Detection("boxes", ("a", "b"))
FRAME = np.array([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8]])


def label(boxes, ignore=0):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    return {
        "boxes": boxes, "classes": np.zeros(count, int), "scores": np.ones(count), "ignore": np.full(count, ignore)
    }  # fmt: skip


@pytest.mark.parametrize(
    "labels, problem",
    [
        ([label(FRAME)] * 4, None),
        ([label([])] * 4, None),
        ([label(np.tile(FRAME, (50, 1)))] * 4, "every image has 100 boxes, the limit; activation"),
        ([label(np.tile(FRAME, (75, 1)))] * 4, None),  # of people: a teacher has a limit
        ([label(np.tile(FRAME, (50, 1))), label(FRAME)], None),
        ([label(FRAME / 64)] * 4, "all 8 boxes are in one corner, .* box_units: normalized"),
        ([label(FRAME / 64)], None),  # two boxes may be small by chance
        ([label(FRAME / 1000 + [i / 5, 0, i / 5, 0]) for i in range(4)], "smaller than 1/512 of their images"),
        ([label([[0, 0, 1, 1]])] * 4, "cover their whole images; look at box_units and box_format"),
        ([label([[0, 0, 1, 1]])] * 4 + [label(FRAME)], None),
        ([label(FRAME / 64, ignore=1)] * 4, None),
    ],
)
def test_labels_that_cannot_be_meant_are_named(labels, problem):
    found = TASK.implausible(labels)
    assert (found is None) == (problem is None)
    if problem:
        assert re.search(problem, found) and "\n" not in found


def arrays(scores, classes, count=None):
    scores = np.array([scores], np.float32)
    found = {"scores": scores, "classes": np.array([classes], np.float32), "boxes": np.ones((*scores.shape, 4))}
    return found if count is None else found | {"count": np.array([count], np.float32)}


@pytest.mark.parametrize(
    "found, problem",
    [
        (arrays([0.9, 0.3], [1, 0]), None),
        (arrays([0.9, -1], [1, -1]), None),  # padding
        (arrays([16, 89], [0.9, 0.3]), "scores are up to 89 on gray, above 1; are scores and classes exchanged"),
        (arrays([1, 1], [0.9, 0.3]), r"a class id is 0.9 on gray, no whole number"),
        (arrays([0.9, 0.3], [1, 7]), "2 ids, but classes are up to 7 on gray; n/a stands"),
        (arrays([0.9, 7e9], [1, 3e8], count=1), None),  # LiteRT leaves the rest as it was
        (arrays([0.9, 0.0], [1, 90]), None),
    ],
)
def test_scores_and_ids_after_suppression_are_checked(found, problem):
    given = suppressed_problem(found, 2, "gray")
    assert (given is None) == (problem is None) and (problem or "") in (given or "")


def test_scores_that_are_estimates_may_be_above_1_where_the_card_says_so():
    """Mask Scoring R-CNN multiplies scores by a predicted IoU."""
    found = arrays([1.08, 0.3], [1, 0])
    assert "above 1; are scores and classes" in suppressed_problem(found, 2, "an image")
    assert "may be above 1, max_score: 1.5?" in suppressed_problem(found, 2, "an image")
    assert suppressed_problem(found, 2, "an image", most=1.5) is None
    assert "up to 3 on an image, above 1.5" in suppressed_problem(arrays([3.0], [1]), 2, "an image", most=1.5)


def test_rows_that_become_no_label_may_hold_anything():
    found = arrays([0.9, 0.3], [1, 7])
    assert suppressed_problem(found, 2, "an image", 0.5) is None
    assert "classes are up to 7 on an image" in suppressed_problem(found, 2, "an image", 0.3)
