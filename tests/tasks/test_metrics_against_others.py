"""The metrics agree with scikit-learn, with COCO's rules written out by hand, and with closed forms."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from must_tf.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_tf.tasks.detection import CROWD, DIFFICULT

BOXES = Detection("boxes", ("a", "b", "c"))
STUFF = Segmentation("stuff", tuple("abcdef"))
SEEDS = st.integers(0, 2**32 - 1)


# Boxes


def iou(one, other):
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    return shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


def on_ignored(box, kind, found):
    """Returns the overlap of a detection with an ignored box: IoU, or the detection's share inside a crowd."""
    if kind == DIFFICULT:
        return iou(box, found)
    height = min(box[2], found[2]) - max(box[0], found[0])
    width = min(box[3], found[3]) - max(box[1], found[1])
    return max(height, 0) * max(width, 0) / ((found[2] - found[0]) * (found[3] - found[1]))


def matched(truths, founds, cls, threshold):
    """Applies COCO's rule for one class and threshold: [(score, whether it is right)], and the number of true boxes."""
    hits, total = [], 0
    for truth, found in zip(truths, founds, strict=True):
        all_boxes = zip(truth["boxes"], truth["classes"], truth["ignore"], strict=True)
        of_class = [(box, ignore) for box, label, ignore in all_boxes if label == cls]
        boxes = [box for box, ignore in of_class if not ignore]
        detections = [i for i, label in enumerate(found["classes"]) if label == cls]
        total += len(boxes)
        free = set(range(len(boxes)))
        for i in sorted(detections, key=lambda i: -found["scores"][i])[:100]:
            best = max(free, key=lambda j: iou(boxes[j], found["boxes"][i]), default=None)
            hit = best is not None and iou(boxes[best], found["boxes"][i]) >= threshold
            if hit:
                free.discard(best)
            elif any(ignore and on_ignored(box, ignore, found["boxes"][i]) >= threshold for box, ignore in of_class):
                continue
            hits.append((found["scores"][i], hit))
    return hits, total


def average_precision(truths, founds, cls, threshold):
    """Mean precision over recall; None where the class has no truth that counts."""
    hits, total = matched(truths, founds, cls, threshold)
    if not total:
        return None
    hits.sort(key=lambda pair: -pair[0])
    curve, right = [], 0
    for number, (_, hit) in enumerate(hits, start=1):
        right += hit
        curve.append((right / total, right / number))
    points = [max((p for recall, p in curve if recall >= level), default=0.0) for level in np.linspace(0, 1, 101)]
    return sum(points) / len(points)


def by_hand(truths, founds):
    def mean(thresholds):
        pairs = [(cls, threshold) for cls in range(BOXES.num_classes) for threshold in thresholds]
        known = [average_precision(truths, founds, *pair) for pair in pairs]
        return float(np.mean([value for value in known if value is not None]))

    return {"AP": mean(np.linspace(0.5, 0.95, 10)), "AP50": mean([0.5])} | kept_by_hand(truths, founds)


def kept_by_hand(truths, founds):
    of_classes = [matched(truths, founds, cls, 0.5) for cls in range(BOXES.num_classes)]
    hits = [hit for hits, _ in of_classes for hit in hits]
    total = sum(count for _, count in of_classes)

    def counts(threshold):
        kept = [right for score, right in hits if score >= threshold]
        return sum(kept), len(kept)

    def f1(threshold):
        right, kept = counts(threshold)
        return 2 * right / (kept + total)

    right, kept = counts(BOXES.min_score)
    best = max(sorted((score for score, _ in hits), reverse=True), key=f1, default=np.nan)
    return {
        "precision": right / kept if kept else np.nan,
        "recall": right / total,
        "best_F1": f1(best) if hits else 0,
        "best_min_score": best,
    }


def some_boxes(rng, count):
    corner = rng.uniform(0, 0.6, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (count, 2))], 1)


def some_image(rng, count, extra, ignored):
    """Truth, a share of it ignored, and what was found: the truth moved a little, some missed or misnamed, and more."""
    boxes, classes = some_boxes(rng, count), rng.integers(0, 3, count)
    ignore = np.where(rng.random(count) < ignored, rng.integers(1, 3, count), 0)
    seen = rng.random(count) < 0.8
    moved = np.clip(boxes[seen] + rng.normal(0, 0.02, (seen.sum(), 4)), 0, 1)
    named = np.where(rng.random(seen.sum()) < 0.8, classes[seen], rng.integers(0, 3, seen.sum()))
    found = {
        "boxes": np.concatenate([moved, some_boxes(rng, extra)]),
        "classes": np.concatenate([named, rng.integers(0, 3, extra)]),
        "scores": rng.random(seen.sum() + extra),
    }
    return {"boxes": boxes, "classes": classes, "ignore": ignore}, found


def scored(truths, founds, absent=()):
    """Runs our metric; images in `absent` have no label at all."""
    metric, size = BOXES.metrics(), 40
    for i, (truth, found) in enumerate(zip(truths, founds, strict=True)):

        def pad(values, fill):
            values = np.asarray(values)
            missing = [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1)
            return np.pad(values, missing, constant_values=fill)[np.newaxis]

        target = {key: pad(truth[key], -1 if key == "classes" else 0) for key in truth}
        outputs = {key: pad(found[key], -1 if key == "classes" else 0) for key in found}
        metric.update(target | {"present": np.array([i not in absent])}, outputs)
    return metric.result()


@given(SEEDS, st.integers(1, 5), st.integers(0, 12), st.integers(0, 12), st.sampled_from([0, 0.3, 1]))
@example(0, 3, 1, 0, 0)
@example(1, 1, 12, 12, 0)
@example(2, 3, 12, 12, 0.5)
def test_boxes_as_by_hand(seed, images, count, extra, ignored):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, (count + 1, extra + 1), (images, 2)).tolist()
    truths, founds = zip(*[some_image(rng, *both, ignored) for both in counts], strict=True)
    ours = scored(truths, founds)
    if not sum((truth["ignore"] == 0).sum() for truth in truths):
        assert np.isnan([ours["AP"], ours["AP50"]]).all()
    else:
        assert ours == pytest.approx(by_hand(truths, founds), abs=1e-6, nan_ok=True)


def test_boxes_on_an_empty_image_are_false_and_an_image_without_a_label_does_not_count():
    nothing = {"boxes": np.zeros((0, 4)), "classes": np.zeros(0, int), "scores": np.zeros(0)}
    one = {"boxes": np.array([[0.1, 0.1, 0.5, 0.5]]), "classes": np.array([0])}  # none is ignored where none says so
    sure, unsure = ({**one, "scores": np.array([score])} for score in (0.9, 0.1))
    all_right = {"AP": 1, "AP50": 1, "precision": 1, "recall": 1, "best_F1": 1, "best_min_score": 0.9}
    assert scored([one], [sure]) == pytest.approx(all_right)
    assert scored([one, nothing], [unsure, sure])["AP50"] == pytest.approx(0.5)
    assert scored([one, nothing], [unsure, sure], absent=[1])["AP50"] == pytest.approx(1.0)
    all_missed = {"AP": 0, "AP50": 0, "precision": np.nan, "recall": 0, "best_F1": 0, "best_min_score": np.nan}
    assert scored([one], [nothing]) == pytest.approx(all_missed, nan_ok=True)
    assert np.isnan(scored([nothing], [sure])["AP"])


REAL, SHADOW, WIDE = (0.1, 0.1, 0.3, 0.3), (0.12, 0.1, 0.32, 0.3), (0, 0, 0.8, 0.8)  # the first two: IoU 0.82
ELSEWHERE, PART = (0.5, 0.5, 0.6, 0.6), (0.7, 0.7, 0.75, 0.75)  # both in WIDE; neither much of it


def truth_of(*boxes):
    """Boxes of class 0, each with why it is ignored."""
    sides = np.array([box for box, _ in boxes], float).reshape(-1, 4)
    return {"boxes": sides, "classes": np.zeros(len(boxes), int), "ignore": np.array([flag for _, flag in boxes], int)}


def found_of(*boxes):
    """Boxes of class 0, each with its score."""
    sides = np.array([box for box, _ in boxes], float).reshape(-1, 4)
    return {"boxes": sides, "classes": np.zeros(len(boxes), int), "scores": np.array([score for _, score in boxes])}


def by_pycocotools(truths, founds):
    """pycocotools on COCO's own JSON, in pixels of an image of 1000x1000, where crowds alone are ignored."""

    def entry(image, box, **fields):
        ymin, xmin, ymax, xmax = (1000 * side for side in box)
        size = {"bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "area": (xmax - xmin) * (ymax - ymin)}
        return {"image_id": image, "category_id": 1} | size | fields

    truth, found = COCO(), []
    annotations = [
        entry(i, box, iscrowd=int(flag == CROWD))
        for i, one in enumerate(truths)
        for box, flag in zip(one["boxes"], one["ignore"], strict=True)
    ]
    truth.dataset = {
        "images": [{"id": i} for i in range(len(truths))],
        "annotations": [one | {"id": i + 1} for i, one in enumerate(annotations)],
        "categories": [{"id": 1}],
    }
    truth.createIndex()
    for i, one in enumerate(founds):
        found += [entry(i, box, score=score) for box, score in zip(one["boxes"], one["scores"], strict=True)]
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"AP": evaluation.stats[0], "AP50": evaluation.stats[1]}


HARD = {
    "one found on the ignored, one on the real": (
        [truth_of((REAL, 0), (ELSEWHERE, CROWD))],
        [found_of((ELSEWHERE, 0.9), (REAL, 0.8))],
    ),
    "the ignored found thrice": (
        [truth_of((REAL, 0), (ELSEWHERE, CROWD))],
        [found_of((ELSEWHERE, 0.9), (ELSEWHERE, 0.85), (ELSEWHERE, 0.8), (REAL, 0.7))],
    ),
    "the ignored over a real one, found once": ([truth_of((SHADOW, CROWD), (REAL, 0))], [found_of((REAL, 0.9))]),
    "the ignored over a real one, found twice": (
        [truth_of((SHADOW, CROWD), (REAL, 0))],
        [found_of((SHADOW, 0.9), (REAL, 0.8))],
    ),
    "in the crowd": ([truth_of((WIDE, CROWD), (REAL, 0))], [found_of((PART, 0.9), (ELSEWHERE, 0.85), (REAL, 0.8))]),
    "beside an empty image": ([truth_of((REAL, 0)), truth_of()], [found_of((REAL, 0.8)), found_of((REAL, 0.9))]),
    "beside an image of ignored ones": (
        [truth_of((REAL, 0)), truth_of((WIDE, CROWD))],
        [found_of((REAL, 0.8)), found_of((PART, 0.9))],
    ),
    "only the ignored found": ([truth_of((REAL, 0), (ELSEWHERE, CROWD))], [found_of((ELSEWHERE, 0.9))]),
}


@pytest.mark.parametrize("case", HARD)
def test_crowds_are_ignored_as_pycocotools_does(case):
    ours, theirs = scored(*HARD[case]), by_pycocotools(*HARD[case])
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)


def test_no_box_but_ignored_ones_is_nan():
    for flag in (DIFFICULT, CROWD):
        assert np.isnan([*scored([truth_of((REAL, flag))], [found_of((REAL, 0.9))]).values()]).all()
        assert np.isnan([*scored([truth_of((REAL, flag))], [found_of()]).values()]).all()


def test_difficult_boxes_are_ignored_as_in_voc():
    """By the devkit's VOCevaldet: found by IoU, it is no miss, and no detection of it is right or wrong."""
    found = found_of((WIDE, 0.95), (WIDE, 0.9), (REAL, 0.8))
    both = scored([truth_of((REAL, 0), (WIDE, DIFFICULT))], [found])
    assert (both["AP"], both["AP50"], both["precision"]) == pytest.approx((1, 1, 1))
    assert scored([truth_of((REAL, 0), (WIDE, DIFFICULT))], [found_of((REAL, 0.8))])["AP50"] == pytest.approx(1)
    inside = found_of((PART, 0.9), (REAL, 0.8))  # within it, but not it: wrong; in a crowd it would be ignored
    assert scored([truth_of((REAL, 0), (WIDE, DIFFICULT))], [inside])["AP50"] == pytest.approx(0.5)
    assert scored([truth_of((REAL, 0), (WIDE, CROWD))], [inside])["AP50"] == pytest.approx(1)


# Segmentation and classification


@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.floats(0, 1))
def test_segmentation_as_scikit_learn_has_it(seed, truth_classes, found_classes, share):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, truth_classes, (3, 20, 30))
    mask[rng.random(mask.shape) < share] = STUFF.ignore
    mask[:, :2] = STUFF.ignore  # a border
    found = rng.integers(0, found_classes, mask.shape)
    metric = STUFF.metrics()
    for one, other in zip(mask, found, strict=True):
        metric.update({"mask": one[np.newaxis, ..., np.newaxis]}, {"probs": np.eye(6)[other][np.newaxis]})
    ours, valid = metric.result()["mIoU"], mask != STUFF.ignore
    if not valid.any():
        assert np.isnan(ours)
        return
    names = np.union1d(mask[valid], found[valid])
    theirs = jaccard_score(mask[valid], found[valid], labels=names, average="macro", zero_division=0)
    assert ours == pytest.approx(theirs)
    np.testing.assert_array_equal(metric.confusion, confusion_matrix(mask[valid], found[valid], labels=range(6)))


def test_segmentation_of_borders_alone_is_nan():
    metric = STUFF.metrics()
    metric.update({"mask": np.full((1, 4, 4, 1), STUFF.ignore)}, {"probs": np.ones((1, 4, 4, 6))})
    assert np.isnan(metric.result()["mIoU"])


@given(SEEDS)
def test_classification_as_scikit_learn_has_it(seed):
    rng = np.random.default_rng(seed)
    truth, probs = rng.integers(0, 5, 50), rng.dirichlet(np.ones(5), 50)
    metric = Classification("one", tuple("abcde")).metrics()
    for part in np.array_split(np.arange(50), 3):
        target = {"probs": np.eye(5)[truth[part]], "hard": np.ones(len(part), bool)}
        metric.update(target, {"probs": probs[part]})
    assert metric.result()["top1"] == pytest.approx(accuracy_score(truth, probs.argmax(-1)))


# Depth and normals


@given(SEEDS, st.floats(0.1, 10))
def test_depth_off_by_a_factor(seed, factor):
    rng = np.random.default_rng(seed)
    depth, valid = rng.uniform(0.5, 9, (2, 8, 9, 1)), rng.random((2, 8, 9, 1)) < 0.7
    valid[0, 0, 0] = True
    metric = Depth("depth").metrics()
    metric.update({"depth": np.where(valid, depth, 0), "valid": valid}, {"depth": depth * factor})
    found = metric.result()
    assert found["delta1"] == (1.0 if max(factor, 1 / factor) < 1.25 else 0.0)
    assert found["AbsRel"] == pytest.approx(abs(factor - 1), abs=1e-9)
    assert found["RMSE"] == pytest.approx(abs(factor - 1) * np.sqrt((depth[valid] ** 2).mean()), abs=1e-9)


@given(SEEDS, st.floats(0, 1))
def test_share_of_pixels_that_are_off(seed, share):
    rng = np.random.default_rng(seed)
    depth, valid, off = rng.uniform(1, 5, (1, 20, 20, 1)), rng.random((1, 20, 20, 1)) < 0.8, rng.random((1, 20, 20, 1))
    valid[0, 0, 0] = True
    wrong = np.where(rng.random(off.shape) < 0.5, 1.26, 1 / 1.26)
    metric = Depth("depth").metrics()
    metric.update({"depth": depth, "valid": valid}, {"depth": depth * np.where(off < share, wrong, 1.24)})
    assert metric.result()["delta1"] == pytest.approx((off[valid] >= share).mean())


@given(SEEDS, st.floats(0, 180))
def test_normals_turned_by_an_angle(seed, degrees):
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(2, 6, 7, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    across = np.cross(normals, rng.normal(size=normals.shape))
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    turned = np.cos(np.radians(degrees)) * normals + np.sin(np.radians(degrees)) * across
    normals[:, :2] = 0  # invalid: whatever is said there does not count
    metric = Normals("normals").metrics()
    metric.update({"normals": normals}, {"normals": turned})
    found = metric.result()
    assert found["mean_angle"] == pytest.approx(degrees, abs=1e-3)
    if abs(degrees - 11.25) > 1e-3:
        assert found["within_11.25"] == (degrees < 11.25)


def test_no_valid_pixel_is_nan():
    depth, normals = Depth("depth").metrics(), Normals("normals").metrics()
    depth.update(
        {"depth": np.ones((1, 3, 3, 1)), "valid": np.zeros((1, 3, 3, 1), bool)}, {"depth": np.ones((1, 3, 3, 1))}
    )
    normals.update({"normals": np.zeros((1, 3, 3, 3))}, {"normals": np.ones((1, 3, 3, 3))})
    assert np.isnan([*depth.result().values(), *normals.result().values()]).all()
