"""Two stages of detection: what a step trains on, and that predictions do not depend on how a student is traced."""

import dataclasses

import numpy as np
import pytest
import specimens
import tensorflow as tf
import toy

from must_tf import garden
from must_tf.export import endpoints
from must_tf.runtime.tracing import compiling, plain
from must_tf.student import Student
from must_tf.tasks.detection import CROWD, UNSEEN, two_stage
from must_tf.training import Trainer, load_student

BOXES, OBJECTS = specimens.SPECIMENS["detection"].tasks[1], specimens.SPECIMENS["instances"].tasks[0]
IMAGES = toy.random_image(np.random.default_rng(0), 64, 96)[np.newaxis].astype(np.float32)


@pytest.fixture(scope="module")
def student():
    """A student whose scores differ, so that their order is certain."""
    student, rng = Student([BOXES, OBJECTS], toy.TRUNK), np.random.default_rng(0)
    for variable in student.variables:
        if "scores" in variable.name and "kernel" in variable.name:
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return student


def labeled(ignored=0):
    """Returns the target of one image with an object at the right, and one with `ignore` over the left half."""
    boxes = tf.constant([[[0.2, 0.6, 0.7, 0.9], [0.0, 0.0, 1.0, 0.5]]])
    classes = tf.constant([[1, 0 if ignored else -1]])
    return {"boxes": boxes, "classes": classes, "ignore": tf.constant([[0, ignored]]), "present": tf.constant([True])}


def chosen(ignored=0, seed=0, count=60, target=None):
    """Returns what a step trains on, of random regions and scores."""
    rng = np.random.default_rng(seed)
    scores = {"3": tf.constant(rng.normal(size=(1, 8, 8, 3)), tf.float32)}
    regions = np.sort(np.random.default_rng(1).random((1, 200, 2, 2)), 2).reshape(1, 200, 4) * 64
    view = tf.constant([64.0, 64.0])
    return two_stage._choose(tf.constant(regions, tf.float32), scores, target or labeled(ignored), view, count)


@pytest.mark.parametrize("ignored", [CROWD, UNSEEN])
def test_regions_in_what_is_ignored_are_no_background(ignored):
    def background(found):
        """Returns the background among the chosen regions, and which of it lies in the left half."""
        counted = (found["counted"][0] > 0) & (found["goal_classes"][0] == 0)
        boxes = found["regions"][0][counted].numpy()
        left = np.minimum(boxes[:, 3], 32) - np.minimum(boxes[:, 1], 32)
        return left >= 0.5 * (boxes[:, 3] - boxes[:, 1])

    assert background(chosen()).any() and len(background(chosen(ignored)))
    assert not background(chosen(ignored)).any()


@pytest.mark.parametrize("ignored", [CROWD, UNSEEN])
def test_anchors_in_what_is_ignored_are_no_background(ignored, monkeypatch):
    monkeypatch.setattr(two_stage, "_ANCHORS", 8192)
    prediction = toy.random_prediction(BOXES, np.random.default_rng(0), 1)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(prediction["region_scores"])
        losses = [BOXES.loss(labeled(ignore), prediction)["regions"].sums for ignore in (0, ignored)]
    without, with_it = (tape.gradient(loss, prediction["region_scores"])["3"][0].numpy() for loss in losses)
    inside = (slice(3, 5), slice(1, 3))  # these anchors lie in the view
    assert without[inside].all() and not with_it[inside].any()
    np.testing.assert_array_equal(without[:, 6:], with_it[:, 6:])


def test_regions_are_the_same_where_xla_compiles_the_step():
    rng = np.random.default_rng(0)
    shapes = {"3": (2, 8, 12), "4": (2, 4, 6)}
    scores = {level: tf.constant(rng.normal(size=(*shape, 3)), tf.float32) for level, shape in shapes.items()}
    offsets = {level: tf.constant(rng.normal(0, 0.3, (*shape, 12)), tf.float32) for level, shape in shapes.items()}
    options = (two_stage.anchors_of(BOXES, scores), two_stage.view_size(scores), 40, True)
    found = garden.propose(scores, offsets, *options).numpy()
    with compiling():
        compiled = garden.propose(scores, offsets, *options).numpy()
    assert (found[..., 2:] > found[..., :2]).all()
    np.testing.assert_allclose(compiled, found, rtol=1e-6)


@pytest.mark.slow
def test_compiled_step_is_the_other_one(student, monkeypatch):
    def draws(scores, count, number):
        del number  # those of a step depend on the last bit of the scores, which is another one in XLA
        return tf.random.stateless_uniform([tf.shape(scores["3"])[0], count], [0, 1], alg="philox")

    monkeypatch.setattr(two_stage, "_draws", draws)
    targets = {BOXES.name: labeled(), OBJECTS.name: labeled() | {"masks": tf.ones([1, 2, 28, 28])}}

    def losses():
        return student.losses_by_task(targets, student(IMAGES[:, :64, :64], training=False, targets=targets))

    compiled = tf.function(plain(compiling()(losses)), jit_compile=True)()
    for name, loss in losses().items():
        np.testing.assert_allclose(compiled[name], loss, rtol=1e-4)


def test_masks_are_made_of_as_many_regions_as_may_hold_an_object(student):
    targets = {BOXES.name: labeled(), OBJECTS.name: labeled() | {"masks": tf.ones([1, 2, 28, 28])}}
    found = student(IMAGES[:, :64, :64], training=True, targets=targets)[OBJECTS.name]
    assert found["mask_logits"].shape[1] == OBJECTS.num_rois // 4
    assert (found["mask_classes"] > 0).numpy().sum() == (found["goal_classes"] > 0).numpy().sum() > 0


def test_choice_is_a_function_of_the_scores_of_the_image():
    first, again, other = chosen(), chosen(), chosen(seed=5)
    assert (first["regions"] == again["regions"]).numpy().all()
    assert (first["regions"] != other["regions"]).numpy().any()


def test_choice_has_a_quarter_of_positives_at_most_and_no_region_without_an_area():
    found = chosen(count=8)
    positive = found["goal_classes"][0] > 0
    assert 1 <= np.sum(positive) <= 2 and (found["goal_classes"][0][positive] == 2).numpy().all()
    every = chosen(count=300)  # more than there are
    real = every["counted"][0] > 0
    sides = every["regions"][0][real][:, 2:] - every["regions"][0][real][:, :2]
    assert 0 < np.sum(real) < 202 and (sides > 0).numpy().all()


def test_image_without_an_object_is_all_background():
    target = labeled() | {"classes": tf.constant([[-1, -1]])}
    found = chosen(target=target)
    assert (found["counted"] == 1).numpy().all() and not found["goal_classes"].numpy().any()


@pytest.mark.slow
def test_predictions_are_the_same_where_sizes_are_not_known(student):
    """As in exports, and in labeling of images of several sizes."""
    wanted = student.infer.python_function(tf.constant(IMAGES))
    found = tf.function(plain(endpoints.outputs(student, "student")), endpoints.SIGNATURE)(tf.constant(IMAGES))
    for name, task in wanted.items():
        for key, values in task.items():
            np.testing.assert_allclose(found[f"{name}/{key}"], values, atol=1e-4, err_msg=f"{name}/{key}")
    assert found["objects/masks"].shape == (1, OBJECTS.max_outputs, 28, 28)


@pytest.mark.slow
def test_weights_of_both_stages_are_stored(student, tmp_path):
    path = str(tmp_path / "s.weights.h5")
    student.save_weights(path)
    fresh = Student([BOXES, OBJECTS], toy.TRUNK)
    fresh.load_weights(path)
    assert toy.same_weights(fresh, student)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_run_that_was_killed_ends_as_one_that_was_not(accumulate, tmp_path, monkeypatch):
    data = tmp_path / "data"
    toy.write_dataset(data, toy.toy_records(10, tasks=[BOXES, OBJECTS]), [BOXES, OBJECTS])
    experiment = toy.experiment(data, tasks=[BOXES, OBJECTS])
    optimizer = dataclasses.replace(experiment.optimizer, accumulate=accumulate)
    trainer = Trainer(dataclasses.replace(experiment, optimizer=optimizer))
    trainer.run(tmp_path / "whole")
    call = type(trainer.step).__call__

    def killed(step, batch, **options):
        if int(step.optimizer.iterations) == 3:
            raise KeyboardInterrupt
        return call(step, batch, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(type(trainer.step), "__call__", killed)
        trainer.run(tmp_path / "run")
    trainer.run(tmp_path / "run")
    assert toy.same_weights(load_student(tmp_path / "run"), load_student(tmp_path / "whole"))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
