"""Multi-label classification: each class has a probability of its own, and an image may have none."""

import numpy as np
import pytest
import specimens
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st
from official.vision.configs import image_classification
from official.vision.tasks.image_classification import ImageClassificationTask
from sklearn.metrics import average_precision_score

from must_tf.errors import UserError
from must_tf.labeling.grade import flip_grade
from must_tf.records import deserialize, serialize
from must_tf.tasks import Classification
from must_tf.tasks.loss import reduce_terms
from must_tf.tasks.per_image import average_precision

NAMES = ("person", "dog", "car")
TAGS = Classification("tags", NAMES, multi_label=True)
TOP = Classification("tags", tuple("abcdef"), top_k=2, multi_label=True)
SMALL = np.array([0.02, 0.01, 0.005], np.float32)
SEEDS = st.integers(0, 2**32 - 1)


def through_record(task, label):
    record = toy.record(np.zeros((4, 4, 3), np.uint8), {task.name: label})
    return deserialize(serialize(record, [task]), [task]).labels.get(task.name)


# Labels


def test_small_sigmoids_are_stored_as_they_are():
    np.testing.assert_allclose(through_record(TAGS, SMALL), SMALL, rtol=2.0**-11)


@pytest.mark.parametrize("task", [TAGS, TOP])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_image_without_a_class_is_labeled(task, dtype):
    nothing = np.zeros(task.num_classes, dtype)
    target = toy.batch([toy.target(task, nothing, 4, 4), toy.target(task, None, 4, 4)])
    np.testing.assert_array_equal(task.has_label(target), [True, False])
    back = through_record(task, nothing)
    assert back.dtype == dtype and not back.any()
    assert task.statistics(back) == {} and task.classes(back) == []


def test_hard_label_is_stored_as_the_ids_of_its_classes():
    label = np.array([True, False, True])
    assert TAGS.encode(label) == {"tags/label": [0, 2]}
    np.testing.assert_array_equal(through_record(TAGS, label), label)


def test_top_k_keeps_the_sum_and_the_largest():
    probs = np.array([0.9, 0.04, 0.8, 0.08, 0.0, 0.0], np.float32)
    np.testing.assert_allclose(through_record(TOP, probs), [0.9, 0.03, 0.8, 0.03, 0.03, 0.03], atol=1e-7)


@pytest.mark.parametrize(
    "label", [1, [0, 2], np.array([1, 0, 1]), np.ones(2, bool), np.array([0.5, 1.5, 0]), np.array([0.5, np.nan, 0])]
)
def test_impossible_label_is_refused_naming_the_task(label):
    with pytest.raises(UserError, match=r"'tags': .* expected bools or probabilities of 3 classes"):
        TAGS.encode(label)


@pytest.mark.parametrize("min_score", [0, -0.1, 1.5])
def test_impossible_threshold_is_refused(min_score):
    with pytest.raises(UserError, match=r"'tags': min_score: .* expected above 0, and 1 at most"):
        Classification("tags", NAMES, multi_label=True, min_score=min_score)


# Loss


@given(SEEDS, st.sampled_from([0.0, 0.1]))
def test_loss_and_gradient_are_those_of_model_garden(seed, smoothing):
    """Of hard labels, some without a class. Model Garden knows no unlabeled images."""
    rng = np.random.default_rng(seed)
    labels = rng.random((6, 3)) < 0.3
    logits = tf.constant(rng.normal(0, 4, (6, 3)), tf.float32)
    config = image_classification.ImageClassificationTask(
        model=image_classification.ImageClassificationModel(num_classes=3),
        losses=image_classification.Losses(label_smoothing=smoothing),
        train_data=image_classification.DataConfig(is_multilabel=True),
    )
    task = Classification("tags", NAMES, multi_label=True, label_smoothing=smoothing)
    target = toy.batch([toy.target(task, label, 4, 4) for label in labels])

    def ours(logits):
        return reduce_terms(task.loss(target, logits))

    def theirs(logits):
        return ImageClassificationTask(config).build_losses(tf.cast(labels, tf.float32), logits)

    for one, other in zip(loss_and_gradient(ours, logits), loss_and_gradient(theirs, logits), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def loss_and_gradient(function, logits):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = function(logits)
    return loss, tape.gradient(loss, logits)


def test_loss_is_lowest_where_each_sigmoid_is_the_labels():
    target = toy.batch([toy.target(TAGS, SMALL, 4, 4)])
    logits = tf.math.log(target["probs"] / (1 - target["probs"]))
    _, gradient = loss_and_gradient(lambda logits: reduce_terms(TAGS.loss(target, logits)), logits)
    np.testing.assert_allclose(gradient, np.zeros((1, 3)), atol=1e-7)
    np.testing.assert_allclose(
        TAGS.decode_predictions(logits, tf.constant(toy.VIEW))["probs"], target["probs"], rtol=1e-5
    )


def test_unlabeled_images_do_not_count():
    labels = [np.array([True, False, True]), None, np.zeros(3, bool), None]
    target = toy.batch([toy.target(TAGS, label, 4, 4) for label in labels])
    logits = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)
    labeled = {name: values[::2] for name, values in target.items()}
    np.testing.assert_allclose(
        reduce_terms(TAGS.loss(target, logits)), reduce_terms(TAGS.loss(labeled, logits[::2])), rtol=1e-6
    )


# Metric


def mean_average_precision(truth, probs):
    known = truth.any(0)
    return average_precision_score(truth[:, known], probs[:, known], average="macro") if known.any() else np.nan


@given(SEEDS, st.floats(0, 1), st.integers(1, 12))
def test_map_as_scikit_learn_has_it(seed, share, levels):
    """With ties (few levels), classes that no image has, and images without a label."""
    rng = np.random.default_rng(seed)
    truth, probs = rng.random((40, 5)) < share * rng.random(5), rng.integers(0, levels, (40, 5)) / levels
    present = rng.random(40) < 0.8
    metric = Classification("tags", tuple("abcde"), multi_label=True).metrics()
    for part in np.array_split(np.arange(40), 3):
        target = {"probs": truth[part].astype(np.float32), "present": present[part]}
        metric.update(target, {"probs": probs[part].astype(np.float32)})
    expected = mean_average_precision(truth[present], probs[present])
    assert metric.result()["mAP"] == pytest.approx(expected, nan_ok=True)


def test_average_precision_by_hand():
    truth = np.array([True, False, True, False])
    assert average_precision(truth, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth, np.full(4, 0.3)) == pytest.approx(0.5)  # all are tied: the share of true ones
    assert np.isnan(average_precision(np.zeros(4, bool), np.ones(4)))


def test_soft_truth_is_present_from_min_score_on():
    task = Classification("tags", NAMES, multi_label=True, min_score=0.3)
    metric = task.metrics()
    target = {"probs": np.array([[0.29, 0.3, 0], [0.31, 0, 0]], np.float32), "present": np.ones(2, bool)}
    metric.update(target, {"probs": np.array([[0.9, 0.9, 0], [0.1, 0.8, 1]], np.float32)})
    np.testing.assert_allclose(metric.by_class(), [0.5, 1, np.nan])
    assert metric.result() == {"mAP": 0.75}


def test_teacher_of_several_classes_is_graded_on_mirror_images():
    def tags(red):
        left, right = tf.reduce_mean(red[:, :, :32], [1, 2]), tf.reduce_mean(red[:, :, 32:], [1, 2])
        return {"probs": tf.stack([tf.maximum(left, right), left, 0 * left], -1)}

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 64, 3), np.uint8) // 2 for _ in range(4)]
    for i, image in enumerate(images):
        image[:, 32 * (i % 2) :][:, :32] = 255 - i
    grade = flip_grade(toy.FakeTeacher(TAGS, tags), images)
    assert 0.5 < grade.scores["mAP"] < 1  # of two classes, one depends on the side


# Pictures and counts


def test_classes_of_at_least_min_score_are_shown_the_likeliest_first():
    task = Classification("tags", NAMES, multi_label=True, min_score=0.3)
    soft = np.array([0.3, 0.95, 0.2], np.float32)
    assert task.classes(soft) == [("dog", pytest.approx(0.95)), ("person", pytest.approx(0.3))]
    assert task.statistics(soft) == {"dog": 1, "person": 1}
    assert task.classes(np.array([True, False, True])) == [("person", None), ("car", None)]
    found = task.histograms(soft)
    assert {name for name, count in found["probability"].items() if count} == {"0.9–1"}
    assert {name for name, count in found["classes per image"].items() if count} == {"2"}
    assert set(task.histograms(np.zeros(3, bool))) == {"classes per image"}


@pytest.mark.parametrize("task", specimens.SPECIMENS["classification"].tasks, ids=lambda task: task.name)
def test_every_label_is_written_on_its_picture(task):
    rng = np.random.default_rng(0)
    image = toy.random_image(rng, 96, 96)
    empty = specimens.of(task).empty_labels(task, 96, 96)
    for label in (toy.random_label(task, rng, 96, 96), specimens.of(task).hard_label(task, rng), *empty):
        assert (task.draw(image, label) != image).any()
