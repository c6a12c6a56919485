import io

import numpy as np
import pytest
import tensorflow as tf
import toy
from PIL import Image

from must_tf.errors import UserError
from must_tf.tasks import Segmentation


def test_mean_iou_by_hand():
    truth = np.array([[[0, 0, 1], [1, 2, 255]]])[..., None]
    found = np.array([[[0, 1, 1], [1, 1, 2]]])
    metric = toy.STUFF.metrics()
    metric.update({"mask": truth}, {"probs": np.eye(3)[found]})
    assert metric.result()["mIoU"] == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)


def test_mean_iou_leaves_out_classes_that_never_occur():
    truth = np.zeros((1, 2, 2, 1), int)
    metric = toy.STUFF.metrics()
    metric.update({"mask": truth}, {"probs": np.eye(3)[truth[..., 0]]})
    assert metric.result()["mIoU"] == 1


def test_ignored_pixels_do_not_change_loss_or_gradient():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 3, toy.VIEW)
    mask[:32] = 255
    target = toy.batch([toy.view_target(toy.STUFF, mask, *toy.VIEW)])
    base = tf.constant(rng.normal(size=(1, *toy.VIEW, 3)), tf.float32)
    other = tf.concat([base[:, :32] + 100, base[:, 32:]], 1)
    with tf.GradientTape() as tape:
        tape.watch(base)
        loss = toy.image_losses(toy.STUFF, target, base)
    assert float(toy.image_losses(toy.STUFF, target, other)[0]) == pytest.approx(float(loss[0]))
    assert not np.any(tape.gradient(loss, base)[:, :32])


def test_soft_iou_of_a_class_is_a_mean_over_the_images_that_have_it():
    task = Segmentation("lanes", ("background", "lane"), iou_weights={"lane": 0.5})
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (3, 8, 8))
    masks[0, :4], masks[1] = 255, 0  # half ignored; no lane
    logits = rng.normal(size=(3, 8, 8, 2)).astype(np.float32)
    terms = task.loss({"mask": tf.constant(masks[..., np.newaxis], tf.int32)}, tf.constant(logits))
    probs = np.exp(logits[..., 1]) / np.exp(logits).sum(-1)
    apart = []
    for mask, prob in zip(masks, probs, strict=True):
        truth, found = mask[mask != 255], prob[mask != 255]
        hit, false, missed = (truth * found).sum(), ((1 - truth) * found).sum(), (truth * (1 - found)).sum()
        apart.append(1 - hit / (hit + false + missed) if truth.any() else 0)
    term = terms["iou of lane"]
    np.testing.assert_allclose(term.sums, apart, rtol=1e-5)
    assert term.counts.numpy().tolist() == [1, 0, 1] and term.weight == 0.5


def test_soft_iou_of_a_perfect_mask_is_one_and_its_gradient_raises_the_line_alone():
    task = Segmentation("lanes", ("background", "lane"), iou_weights={"lane": 1.0})
    mask = np.zeros((1, 8, 8, 1), np.int32)
    mask[:, :, 3] = 1
    perfect = tf.constant(40.0 * np.eye(2)[mask[..., 0]], tf.float32)
    assert float(task.loss({"mask": tf.constant(mask)}, perfect)["iou of lane"].sums[0]) == pytest.approx(0, abs=1e-6)
    unsure = tf.zeros([1, 8, 8, 2])
    with tf.GradientTape() as tape:
        tape.watch(unsure)
        apart = task.loss({"mask": tf.constant(mask)}, unsure)["iou of lane"].sums
    gradient = tape.gradient(apart, unsure)[0, ..., 1].numpy()
    assert (gradient[:, 3] < 0).all() and (np.delete(gradient, 3, 1) > 0).all()


def test_iou_weight_of_an_unknown_class_is_refused():
    with pytest.raises(UserError, match="iou_weights: no class 'lanes'; did you mean 'lane'"):
        Segmentation("lanes", ("background", "lane"), iou_weights={"lanes": 1.0})


def test_teacher_keeps_pixels_from_a_probability_of_one_half():
    probs = np.array([[[0.5, 0.3, 0.2], [0.49, 0.3, 0.21]], [[0.0, 0.1, 0.9], [0.2, 0.8, 0.0]]])
    np.testing.assert_array_equal(toy.STUFF.pseudo_label({"probs": probs}), [[0, 255], [2, 1]])


@pytest.mark.parametrize(("num_classes", "mode"), [(255, "L"), (256, "I;16")])
def test_masks_are_16_bit_only_above_255_classes(num_classes, mode):
    task = Segmentation("m", tuple(map(str, range(num_classes))))
    encoded = task.encode(np.array([[0, num_classes - 1, -1, num_classes]]))["m/mask/encoded"]
    assert Image.open(io.BytesIO(encoded)).mode == mode
    back = task.label(toy.numpy(toy.target(task, np.array([[0, num_classes - 1, -1, num_classes]]), 1, 4)))
    np.testing.assert_array_equal(back, [[0, num_classes - 1, task.ignore, task.ignore]])


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2, 1), int), np.zeros(4, int)])
def test_what_is_no_mask_is_refused_naming_the_task(bad):
    with pytest.raises(UserError, match="'stuff'"):
        toy.STUFF.encode(bad)
