"""YOLOP's metrics agree with independent implementations on masks and boxes that the tests make up."""

import numpy as np
import pytest

from must_tf.experiments.driving.metrics import MaskMetric, VehicleMetric, average_precision, box_ious


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def masks_of(rng, batch=3, lanes=0.2):
    truth = (rng.random((batch, 7, 9)) < lanes).astype(int)
    truth[:, 0] = 255  # padding
    return truth, (rng.random(truth.shape) < lanes).astype(int)


def counted(truth, predicted):
    """Returns mIoU (a class without a pixel has 0), IoU and recall of class 1, by counting pixel by pixel."""
    ious = []
    for one in (0, 1):
        pairs = [(t == one, p == one) for t, p in zip(truth.ravel(), predicted.ravel(), strict=True) if t in (0, 1)]
        both, either = sum(t and p for t, p in pairs), sum(t or p for t, p in pairs)
        ious.append(both / either if either else 0.0)
    real = sum(t for t, _ in pairs)
    return sum(ious) / 2, ious[1], sum(t and p for t, p in pairs) / real if real else 0.0


def test_scores_of_masks_are_means_over_batches_weighted_by_images_and_those_of_all_pixels(rng):
    metric, batches = MaskMetric(), [masks_of(rng, batch, lanes) for batch, lanes in ((3, 0.3), (1, 0.6), (2, 0.1))]
    for batch in batches:
        metric.update(*batch)
    found, each = metric.result(), [counted(*batch) for batch in batches]
    whole = counted(*(np.concatenate(part) for part in zip(*batches, strict=True)))
    for i, name in enumerate(("mIoU", "IoU", "accuracy")):
        assert found[name] == pytest.approx((3 * each[0][i] + each[1][i] + 2 * each[2][i]) / 6)
        assert found[f"dataset_{name}"] == pytest.approx(whole[i])
        assert found[name] != pytest.approx(found[f"dataset_{name}"], abs=1e-3)


def test_dataset_scores_agree_with_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    metric, (truth, predicted) = MaskMetric(), masks_of(rng)
    metric.update(truth, predicted)
    known = truth != 255
    expected = [
        metrics.jaccard_score(truth[known], predicted[known], average="macro"),
        metrics.jaccard_score(truth[known], predicted[known]),
        metrics.recall_score(truth[known], predicted[known]),
    ]
    found = metric.result()
    assert [found[f"dataset_{name}"] for name in ("mIoU", "IoU", "accuracy")] == pytest.approx(expected)


def test_scores_of_all_pixels_do_not_depend_on_batches_and_those_of_yolop_do(rng):
    truth, predicted = masks_of(rng, 6)
    truth[:3] = np.minimum(truth[:3], 0)
    whole, split = MaskMetric(), MaskMetric()
    whole.update(truth, predicted)
    for half in (slice(3), slice(3, 6)):
        split.update(truth[half], predicted[half])
    one, two = whole.result(), split.result()
    assert all(one[name] == two[name] for name in one if name.startswith("dataset"))
    assert one["accuracy"] == pytest.approx(2 * two["accuracy"])  # the batch without lanes counts as 0


def test_class_that_never_occurs_has_an_iou_of_zero_in_yolops_mean_alone():
    metric, empty = MaskMetric(), np.zeros((1, 4, 4), int)
    metric.update(empty, empty)
    found = metric.result()
    assert (found["mIoU"], found["IoU"], found["accuracy"], found["dataset_mIoU"]) == (0.5, 0.0, 0.0, 1.0)
    assert np.isnan(found["dataset_IoU"]) and np.isnan(found["dataset_accuracy"])


def test_masks_of_other_shapes_or_classes_are_refused():
    ones = np.ones((1, 2, 2), int)
    with pytest.raises(ValueError, match="same shape"):
        MaskMetric().update(ones, ones[:, :1])
    with pytest.raises(ValueError, match=r"predicted classes \[2\]"):
        MaskMetric().update(ones, 2 * ones)
    with pytest.raises(ValueError, match="no batch"):
        MaskMetric().result()


def boxes_of(rng, count):
    low = rng.random((count, 2)) * 0.6
    return np.concatenate([low, low + 0.2 + 0.2 * rng.random((count, 2))], 1)


def test_a_box_takes_the_true_box_that_it_overlaps_most_or_none():
    metric, truth = VehicleMetric(), np.array([[0, 0, 10, 10], [0, 2, 10, 12]])
    both_nearest_to_the_first = np.array([[0, 0, 10, 11], [0, 0, 10, 10.5], [50, 50, 60, 60]])
    metric.update(truth, both_nearest_to_the_first, np.array([0.9, 0.8, 0.7]))
    assert metric.result()["recall"] == 0.5
    half = VehicleMetric()  # an IoU of 0.5 is not above 0.5
    half.update(truth[:1], np.array([[0, 0, 10, 5]]), np.ones(1))
    assert half.result() == {"recall": 0.0, "AP50": 0.0}


def test_recall_and_ap_agree_with_a_count_box_by_box(rng):
    metric, found, count = VehicleMetric(), [], 0
    for _ in range(6):
        truth = boxes_of(rng, 4)
        boxes = np.concatenate([truth[:3] + rng.normal(0, 0.03, (3, 4)), boxes_of(rng, 3)])
        scores, taken = rng.random(6), set()
        metric.update(truth, boxes, scores)
        count += len(truth)
        for i in sorted(range(6), key=lambda i: -scores[i]):
            overlaps = [_iou(boxes[i], one) for one in truth]
            best = max(range(4), key=overlaps.__getitem__)
            right = overlaps[best] > 0.5 and best not in taken
            taken |= {best} if right else set()
            found.append((scores[i], right))
    ranked = [right for _, right in sorted(found, reverse=True)]
    assert 0 < sum(ranked) < len(ranked)
    points = [(sum(ranked[: i + 1]) / count, sum(ranked[: i + 1]) / (i + 1)) for i in range(len(ranked))]
    result = metric.result()
    assert result["recall"] == pytest.approx(points[-1][0])
    # Area below the best precision at this recall or a higher one, in many small steps: less exact at the jumps.
    recalls = np.linspace(0, 1, 10_001)
    area = np.mean([max([p for r, p in points if r >= at], default=0.0) for at in recalls])
    assert result["AP50"] == pytest.approx(area, abs=0.02)


def _iou(one, other):
    """IoU of two boxes by the intervals of each axis."""
    sides = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def test_perfect_boxes_and_none():
    metric = VehicleMetric()
    metric.update(np.zeros((0, 4)), np.zeros((0, 4)), np.zeros(0))
    assert metric.result() == {"recall": 0.0, "AP50": 0.0}
    truth = np.array([[0, 0, 4, 4], [5, 5, 9, 9]])
    metric.update(truth, truth, np.array([0.5, 0.4]))
    assert metric.result() == {"recall": 1.0, "AP50": pytest.approx(1.0)}
    metric.update(truth, np.zeros((0, 4)), np.zeros(0))
    assert metric.result()["recall"] == 0.5


def test_precision_falls_to_0_right_behind_the_last_recall():
    for last in (0.5, 0.504):  # 1 up to the point 0.50, 0 from the point 0.51 on
        assert average_precision(np.array([last]), np.array([1.0])) == pytest.approx(0.505)


def test_ious_do_not_depend_on_units(rng):
    one, other, scale = boxes_of(rng, 3), boxes_of(rng, 4), np.array([720, 1280, 720, 1280])
    np.testing.assert_allclose(box_ious(one, other), box_ious(scale * one, scale * other))
    assert box_ious(np.zeros((1, 4)), np.zeros((1, 4))) == 0  # boxes without an area
