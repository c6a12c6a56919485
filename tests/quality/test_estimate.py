import erring
import numpy as np
import pytest
from scipy import stats

from must_tf.quality.estimate import ratio
from must_tf.quality.strata import draw

AUDITS = 100
LEAST = int(stats.binom.ppf(0.001, AUDITS, 0.95))  # of intervals that hold with 95 %, fewer once in 1000 times: 87


def population(rng, count, boxes, clustered):
    """Returns counts [images, 3 classes, 3] (right, labeled, true), and classes with scores as `draw` takes them."""
    counts, images = np.zeros((count, 3, 3)), []
    for index in range(count):
        blurred, found = rng.random() < 0.15, []
        for cls in rng.choice(3, rng.poisson(boxes), p=[0.8, 0.17, 0.03]):
            score = 0.5 + rng.beta(*((2, 2) if blurred else (6, 1.5))) / 2
            chance = (0.6 if blurred else 0.985) if clustered else np.interp(score, (0.5, 1), (0.6, 0.99))
            if rng.random() < 0.1:  # missed
                counts[index, cls] += (0, 0, 1)
                continue
            right = rng.random() < chance
            counts[index, cls] += (right, 1, right)
            found.append((str(cls), score))
            if not right and rng.random() < 0.5:  # another class
                counts[index, rng.integers(3), 2] += 1
        images.append((index, str(index), found))
    return counts, images


@pytest.mark.parametrize(
    ("count", "boxes", "clustered", "size"), [(600, 3, True, 60), (900, 1, False, 100), (300, 8, True, 150)]
)
def test_intervals_hold_the_truth_in_95_of_100_audits(count, boxes, clustered, size):
    holds, widths = audited(*population(np.random.default_rng(1), count, boxes, clustered), size)
    assert (holds >= LEAST).all(), holds
    assert (widths[:, -1] / AUDITS < 0.25).all()  # of all classes: they hold, and they tell something


def test_intervals_hold_what_is_true_of_rooms():
    records, truths = erring.rooms(150)
    labels = [record.labels[erring.TASK.name] for record in records]
    counts = erring.TASK.count_right(labels, [truths[record.id] for record in records])
    images = [(index, record.id, erring.TASK.classes(labels[index])) for index, record in enumerate(records)]
    holds, widths = audited(counts[:, (counts.sum(0) > 0).all(1)], images, 50)
    assert (holds >= LEAST).all(), holds
    assert (widths[:, -1] / AUDITS < 0.3).all()


def audited(counts, images, size):
    """Audits a population often; returns how many intervals hold, and their widths, [2, classes, and all of them]."""
    counts = np.concatenate([counts, counts.sum(1, keepdims=True)], 1)
    right, found, true = counts.sum(0).T
    holds, widths = np.zeros((2, 2, len(right)))
    for seed in range(AUDITS):
        strata = draw(lambda: images, size, seed)
        sampled = counts[np.concatenate([one.sampled for one in strata]).astype(int)]
        index = np.repeat(range(len(strata)), [len(one.sampled) for one in strata])
        sizes = [one.size for one in strata]
        for row, (part, whole) in enumerate(((1, found), (2, true))):
            for cls in range(len(right)):
                one = ratio(sampled[:, cls, 0], sampled[:, cls, part], index, sizes, anywhere=part == 2)
                holds[row, cls] += one.low <= right[cls] / whole[cls] <= one.high
                widths[row, cls] += one.high - one.low
    return holds, widths


def simple(wrong, drawn, size):
    """Returns the estimate of one stratum of images with one label each."""
    right = (np.arange(drawn) >= wrong).astype(float)
    return ratio(right, np.ones(drawn), np.zeros(drawn, int), [size])


def test_a_simple_sample_has_the_interval_of_clopper_and_pearson():
    one = simple(5, 100, 10**9)
    expected = stats.binomtest(95, 100).proportion_ci(method="exact")
    np.testing.assert_allclose((one.value, one.low, one.high), (0.95, *expected), atol=0.004)
    assert one.low <= expected.low  # the variance is an estimate, too


def test_a_whole_dataset_is_known():
    one = simple(5, 100, 100)
    assert (one.value, one.low, one.high) == (0.95, 0.95, 0.95)


def test_no_error_in_a_sample_is_no_proof():
    one = simple(0, 60, 10**6)
    assert one.value == one.high == 1 and 0.93 < one.low < 0.95  # 3.7 of 60
    assert simple(60, 60, 10**6).high == pytest.approx(1 - one.low)


def test_images_with_many_boxes_count_as_images_where_nothing_is_wrong():
    few, many = (ratio(n * np.ones(30), n * np.ones(30), np.zeros(30, int), [10**6]) for n in (1, 50))
    assert few.low == pytest.approx(many.low)


def test_what_the_sample_does_not_have_is_unknown():
    one = ratio(np.zeros(5), np.zeros(5), np.zeros(5, int), [50])
    assert (one.value, one.low, one.high, one.images) == (None, 0.0, 1.0, 0)


def test_strata_count_by_their_sizes():
    right = np.array([1, 1, 1, 1, 0, 0, 0, 0], float)
    one = ratio(right, np.ones(8), np.repeat([0, 1], 4), [900, 100])
    assert one.value == pytest.approx(0.9) and one.low < 0.9 < one.high


def test_what_may_hide_in_thin_strata_widens_the_interval():
    right, strata = np.array([1.0] * 10 + [0.0] * 10), np.repeat([0, 1], 10)
    here, anywhere = (ratio(right, right, strata, [12, 10**4], anywhere) for anywhere in (False, True))
    assert here.value == anywhere.value == 1 and anywhere.low < 0.1 < here.low
