"""Loss and gradient of two stages are those of Model Garden's Mask R-CNN task, with the same weights and labels.

Model Garden shuffles by a global generator. So here every example is chosen, on both sides. Regions without an area are
background there and no examples here; here are none.
"""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.configs import maskrcnn as configs
from official.vision.modeling.layers.mask_sampler import MaskSampler
from official.vision.modeling.layers.roi_aligner import MultilevelROIAligner
from official.vision.ops.anchor import RpnAnchorLabeler, build_anchor_generator
from official.vision.tasks import maskrcnn  # noqa: F401  registers the task
from regions import random_regions

from must_tf import garden
from must_tf.student import Student
from must_tf.tasks import Detection, Instances
from must_tf.tasks.detection import two_stage
from must_tf.tasks.loss import reduce_terms
from must_tf.trunk import Trunk

VIEW, NAMES, OBJECTS, PROPOSALS = (64, 96), ("a", "b", "c"), 4, 24
TRUNK = Trunk("resnet-10", 0.25, 3, 5, 16, 0.9)
SIZES = {"anchor_size": 2.0, "num_convs": 1, "max_boxes": OBJECTS, "num_proposals": PROPOSALS, "fc_units": 32}
ANCHORS = build_anchor_generator(3, 5, num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=2.0)(VIEW)
GARDEN = task_factory.get_task(configs.MaskRCNNTask())
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *VIEW, 3)).astype(np.float32)


def target_of(objects):
    """Returns the target of two images with so many random objects, at most `OBJECTS`, and boxes in pixels."""
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 40, (2, OBJECTS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 24, (2, OBJECTS, 2))], -1).astype(np.float32)
    real = np.arange(OBJECTS) < objects
    target = {
        "boxes": np.where(real[:, np.newaxis], boxes / [*VIEW, *VIEW], 0).astype(np.float32),
        "classes": np.where(real, rng.integers(0, len(NAMES), (2, OBJECTS)), -1).astype(np.int32),
        "ignore": np.zeros((2, OBJECTS), np.int32),
        "present": np.ones(2, bool),
        "masks": (rng.random((2, OBJECTS, 112, 112)) < 0.5).astype(np.uint8),
    }
    return {key: tf.constant(value) for key, value in target.items()}, boxes[:, :objects]


def garden_labels(target, boxes):
    """Returns what Model Garden's parser gives its task, where all anchors are sampled."""
    labeler = RpnAnchorLabeler(rpn_batch_size_per_im=8192)
    labeled = [labeler.label_anchors(ANCHORS, tf.constant(own), tf.zeros([len(own), 1], tf.int32)) for own in boxes]
    scores, offsets = (
        tf.nest.map_structure(lambda *each: tf.stack(each), *part) for part in zip(*labeled, strict=True)
    )
    classes = target["classes"].numpy()
    real = classes >= 0
    return {
        "rpn_score_targets": scores,
        "rpn_box_targets": offsets,
        "gt_boxes": tf.constant(np.where(real[..., None], target["boxes"] * [*VIEW, *VIEW], -1.0), tf.float32),
        "gt_classes": tf.constant(np.where(real, classes + 1, -1), tf.int32),
    }


def garden_model(student, num_rois, masks):
    """Returns Model Garden's task and model, with the weights of a student, and its parts by their names here."""
    filters = {"num_filters": 16}
    model = {
        "num_classes": 1 + len(NAMES),
        "input_size": [*VIEW, 3],
        "min_level": 3,
        "max_level": 5,
        "include_mask": masks,
        "anchor": {"num_scales": 3, "anchor_size": 2.0},
        "backbone": {"type": "resnet", "resnet": {"model_id": 10, "depth_multiplier": 0.25}},
        "decoder": {"type": "fpn", "fpn": filters},
        "rpn_head": filters,
        "detection_head": {"num_convs": 1, "fc_dims": 32} | filters,
        "mask_head": {"num_convs": 1} | filters,
        "roi_generator": {"pre_nms_top_k": 2 * PROPOSALS, "num_proposals": PROPOSALS},
        "roi_sampler": {"num_sampled_rois": num_rois},
        "mask_sampler": {"num_sampled_masks": num_rois},
        "norm_activation": {"norm_momentum": 0.9, "norm_epsilon": 0.001, "use_sync_bn": False},
    }
    config = configs.MaskRCNNTask()
    config.override({"model": model}, is_strict=True)
    task = task_factory.get_task(config)
    built, head = task.build_model(), student.heads["things"]
    pairs = [(student.backbone, built.backbone), (student.decoder, built.decoder), (head.first, built.rpn_head),
             (head.second, built.detection_head[0])] + ([(head.masks, built.mask_head)] if masks else [])  # fmt: skip
    for mine, theirs in pairs:
        theirs.set_weights(mine.get_weights())
    return task, built, pairs


def compare(task, objects, num_rois, masks, monkeypatch):
    """Asserts that losses and gradients agree; returns the largest differences of the loss and of gradients."""
    monkeypatch.setattr(two_stage, "_ANCHORS", 8192)
    monkeypatch.setattr(two_stage, "_REGION_SHARE", 1.0)  # all are sampled, so that Model Garden draws no others
    tf_keras.utils.set_random_seed(1)
    student = Student([task], TRUNK)
    for variable in student.heads["things"].trainable_variables:  # Model Garden's first values are nearly 0
        if "rpn" in variable.name and "kernel" in variable.name:
            variable.assign(tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.05))
    theirs, model, pairs = garden_model(student, num_rois, masks)
    target, boxes = target_of(objects)
    with tf.GradientTape() as tape:
        prediction = student(IMAGES, training=True, targets={"things": target})["things"]
        loss = reduce_terms(task.loss(target, prediction))
    ours = tape.gradient(loss, [mine.trainable_variables for mine, _ in pairs])
    labels = garden_labels(target, boxes)
    images = (IMAGES - 255 * np.array([0.485, 0.456, 0.406])) / (255 * np.array([0.229, 0.224, 0.225]))
    with tf.GradientTape() as tape:
        outputs = model(
            tf.constant(images, tf.float32),
            image_shape=tf.constant([VIEW, VIEW]),
            anchor_boxes={level: tf.stack([own, own]) for level, own in ANCHORS.items()},
            gt_boxes=labels["gt_boxes"],
            gt_classes=labels["gt_classes"],
            gt_masks=target["masks"] if masks else None,
            training=True,
        )
        wanted = theirs.build_losses(outputs, labels)["total_loss"]
    gradients = tape.gradient(wanted, [other.trainable_variables for _, other in pairs])
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)
    worst = 0.0
    for mine, other in zip(tf.nest.flatten(ours), tf.nest.flatten(gradients), strict=True):
        mine, other = (np.zeros(1) if one is None else tf.convert_to_tensor(one).numpy() for one in (mine, other))
        worst = max(worst, float(np.abs(mine - other).max()))
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3 * max(np.abs(other).max(), 1e-2))
    assert tf.reduce_all(prediction["counted"] == 1)
    positive = tf.reduce_sum(tf.cast(prediction["goal_classes"] > 0, tf.int32))
    assert bool(positive > 0) == bool(objects)
    return abs(float(loss) - float(wanted)), worst


CASES = {"random": (OBJECTS, PROPOSALS + OBJECTS), "no object": (0, PROPOSALS)}  # objects, regions that are sampled
TASKS = {
    "boxes": lambda num_rois: Detection("things", NAMES, stages=2, num_rois=num_rois, **SIZES),
    "masks": lambda num_rois: Instances("things", NAMES, num_rois=num_rois, **SIZES),
}


@pytest.mark.parametrize("objects", [0, OBJECTS])
def test_loss_of_a_prediction_is_model_gardens(objects, monkeypatch):
    monkeypatch.setattr(two_stage, "_ANCHORS", 8192)
    task, (target, boxes) = TASKS["masks"](16), target_of(objects)
    prediction = random_regions(task.of_boxes, np.random.default_rng(3), 2, VIEW, True)
    if not objects:
        for key in ("goal_classes", "mask_classes"):
            prediction[key] = tf.zeros_like(prediction[key])
    prediction["goals"] *= tf.cast(prediction["goal_classes"] > 0, tf.float32)[..., tf.newaxis]
    names = {"rpn_scores": "region_scores", "rpn_boxes": "region_offsets", "class_outputs": "logits",
             "box_outputs": "offsets", "mask_outputs": "mask_logits"}  # fmt: skip
    learned = {name: prediction[name] for name in names.values()}
    goals = {"class_targets": "goal_classes", "box_targets": "goals", "mask_targets": "mask_goals",
             "mask_class_targets": "mask_classes"}  # fmt: skip
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(learned)
        ours = reduce_terms(task.loss(target, prediction | learned))
        outputs = {name: learned[own] for name, own in names.items()} | {n: prediction[own] for n, own in goals.items()}
        theirs = GARDEN.build_losses(outputs, garden_labels(target, boxes))["total_loss"]
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    pairs = zip(*(tf.nest.flatten(tape.gradient(value, learned)) for value in (ours, theirs)), strict=True)
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", TASKS)
def test_loss_and_gradient_are_model_gardens(kind, name, monkeypatch):
    objects, num_rois = CASES[name]
    loss, gradient = compare(TASKS[kind](num_rois), objects, num_rois, kind == "masks", monkeypatch)
    print(f"{kind}, {name}: largest difference of the loss {loss:.1e}, of a gradient {gradient:.1e}")


def test_masks_in_regions_are_model_gardens():
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 40, (2, 2, 12, 2))
    regions, boxes = np.concatenate([low, low + rng.uniform(8, 24, low.shape)], -1).astype(np.float32)
    classes = tf.constant(rng.integers(0, 3, (2, 12)), tf.int32)
    indices = tf.where(classes > 0, rng.integers(0, OBJECTS, (2, 12)).astype(np.int32), -1)
    arguments = tf.constant(regions), tf.constant(boxes), classes, indices, target_of(OBJECTS)[0]["masks"]
    wanted = MaskSampler(28, 5)(*arguments)
    for found, value in zip(garden.sample_masks(*arguments, 5, 28), wanted, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-5)


def test_features_of_regions_are_model_gardens():
    rng = np.random.default_rng(2)
    features = {str(level): tf.constant(rng.normal(size=(2, 256 >> level, 512 >> level, 3)), tf.float32)
                for level in (3, 4, 5)}  # fmt: skip
    corner = rng.uniform(0, 200, (2, 30, 2))
    regions = tf.constant(np.concatenate([corner, corner + rng.uniform(1, 300, (2, 30, 2))], -1), tf.float32)
    np.testing.assert_allclose(garden.align(features, regions, 7), MultilevelROIAligner()(features, regions), atol=1e-5)
