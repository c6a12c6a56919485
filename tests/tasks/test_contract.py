"""Contract tests that every kind of task must pass, run over the specimens of all kinds."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import specimens
import tensorflow as tf
import toy
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.export import FORMATS
from must_tf.geometry import Geometry, fit, move_image, random_view, stretch
from must_tf.records import check_same_labels, deserialize, serialize
from must_tf.tasks import KINDS, Task, from_json, kinds, to_json
from must_tf.tasks.loss import divisors, reduce_terms, sum_counts

each_task = pytest.mark.parametrize("task", toy.VARIANTS, ids=lambda task: task.name)
KINDS_OF_TASK = [one.tasks[0] for one in specimens.SPECIMENS.values()]
each_kind = pytest.mark.parametrize("task", KINDS_OF_TASK, ids=lambda task: task.name)
PLACED = [task for task in KINDS_OF_TASK if specimens.has_positions(task)]
each_placed = pytest.mark.parametrize("task", PLACED, ids=lambda task: task.name)
seeds = st.integers(0, 2**32 - 1)
sides = st.sampled_from([1, 2, 7, 13, 40])


def through_record(task, label, height, width):
    """Returns the label after a round trip through a serialized record; None if it is absent."""
    image = np.zeros((height, width, 3), np.uint8)
    labels = {} if label is None else {task.name: label}
    back = deserialize(serialize(toy.record(image, labels), [task]), [task])
    assert back.labels.keys() == back.origins.keys()
    return back.labels.get(task.name)


@each_task
@given(seeds, sides, sides)
def test_label_comes_back_from_a_record_within_the_stated_bound(task, seed, height, width):
    label = toy.random_label(task, np.random.default_rng(seed), height, width)
    specimens.of(task).assert_same(task, through_record(task, label, height, width), label)


@each_task
def test_a_label_is_right_by_itself_where_its_kind_counts_classes(task):
    rng = np.random.default_rng(0)
    labels = [toy.random_label(task, rng, 20, 30) for _ in range(5)]
    counts = task.count_right(labels, labels)
    assert (counts is None) == (task.count_right([], []) is None) == ("class_names" not in task.identity)
    if counts is not None:
        right, found, true = np.moveaxis(counts, -1, 0)
        assert counts.shape == (5, len(task.identity["class_names"]), 3) and right.sum() > 0
        assert (right <= np.minimum(found, true)).all() and found.sum() == right.sum()
        others = task.count_right(labels, labels[::-1])
        assert (others[..., 2] == counts[::-1, :, 2]).all() and (others[..., 0] <= others[..., 1:].min(-1)).all()


@each_task
def test_absent_label_is_none(task):
    assert through_record(task, None, 7, 13) is None


@each_task
def test_label_that_came_back_comes_back_the_same_again(task):
    label = toy.random_label(task, np.random.default_rng(0), 7, 13)
    once = through_record(task, label, 7, 13)
    specimens.of(task).assert_same(task, through_record(task, once, 7, 13), once)


@each_task
def test_task_comes_back_from_json(task):
    assert from_json(json.loads(json.dumps(to_json(task)))) == task


@each_task
def test_tasks_are_values_that_can_be_keys(task):
    assert len({task, from_json(to_json(task))}) == 1


def in_place(flip):
    """Returns the geometry of an image of the view's size, which is mirrored or not."""
    return Geometry(tf.constant(toy.VIEW), tf.constant(toy.VIEW), tf.zeros(2, tf.int32), tf.constant(flip), toy.VIEW)


@each_task
@given(seeds)
def test_flip_twice_is_identity(task, seed):
    label = toy.random_label(task, np.random.default_rng(seed), *toy.VIEW)
    start = toy.view_target(task, label, *toy.VIEW)
    end = task.transform(task.transform(start, in_place(True)), in_place(True))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), start, end)


def marker(task, box, height, width):
    """Returns a label that marks only the pixels ymin:ymax, xmin:xmax."""
    ymin, xmin, ymax, xmax = box
    inside = np.zeros((height, width), bool)
    inside[ymin:ymax, xmin:xmax] = True
    return specimens.of(task).marker_label(task, inside)


@each_placed
@given(seeds)
def test_label_moves_with_its_image(task, seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 90, 2))
    top, left = int(rng.integers(0, height - 24)), int(rng.integers(0, width - 24))
    box = (top, left, top + 24, left + 24)
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + 24, left : left + 24] = 255
    geometry = random_view(tf.constant([seed % 2**31, 1]), (height, width), toy.VIEW, (0.7, 2.0))
    label = marker(task, box, height, width)
    moved = toy.numpy(task.transform(toy.target(task, label, height, width), geometry))
    found = specimens.of(task).marked_box(task, moved)
    seen = specimens.extent(move_image(tf.constant(image), geometry).numpy()[..., 0] > 127)
    if seen is None or found is None:  # nearly or fully outside the view
        assert seen is None or ((seen[2:] - seen[:2]).min() < 16 / 64 and specimens.of(task).empty_is_label)
    else:
        np.testing.assert_allclose(found, seen, atol=1.6 / 64)


def views_of(task, labels):
    """Returns the target of each label, as of views of half of `toy.VIEW`; a label of None is absent."""
    half = (toy.VIEW[0] // 2, toy.VIEW[1] // 2)
    return [toy.view_target(task, label, *half, view=half) for label in labels]


tiling = [task for task in toy.VARIANTS if task.tiles]


@pytest.mark.parametrize("task", tiling, ids=lambda task: task.name)
def test_target_of_a_mosaic_has_the_form_of_any_target(task):
    rng = np.random.default_rng(2)
    mosaic = task.tile(views_of(task, [toy.random_label(task, rng, 32, 32) for _ in range(4)]))
    tf.nest.map_structure(
        lambda one, other: np.testing.assert_equal((one.shape, one.dtype), (other.shape, other.dtype)),
        mosaic,
        toy.view_target(task, toy.random_label(task, rng, *toy.VIEW), *toy.VIEW),
    )


@pytest.mark.parametrize("task", tiling, ids=lambda task: task.name)
@pytest.mark.parametrize("place", range(4))
def test_label_of_a_view_is_at_its_place_in_a_mosaic(task, place):
    one = specimens.of(task)
    unmarked = one.empty_labels(task, 32, 32)[0] if one.empty_is_label else marker(task, (0, 0, 0, 0), 32, 32)
    labels = [marker(task, (8, 10, 20, 28), 32, 32) if i == place else unmarked for i in range(4)]
    found = one.marked_box(task, toy.numpy(task.tile(views_of(task, labels))))
    corner = np.array([place // 2, place % 2, place // 2, place % 2]) / 2
    np.testing.assert_allclose(found, corner + np.array([8, 10, 20, 28]) / 64, atol=1e-6)


@pytest.mark.parametrize("task", tiling, ids=lambda task: task.name)
def test_mosaic_is_labeled_where_any_view_is(task):
    label = toy.random_label(task, np.random.default_rng(4), 32, 32)
    for labels in ([None] * 4, [None, label, None, None], [label] * 4):
        mosaic = toy.batch([task.tile(views_of(task, labels))])
        assert bool(task.has_label(mosaic)[0]) == any(one is not None for one in labels)


@each_task
def test_kind_joins_targets_or_says_that_it_does_not(task):
    if type(task).tile is Task.tile:
        assert not task.tiles
        with pytest.raises(TypeError, match=r"lacks `tile`"):
            task.tile([])


def test_flip_turns_the_x_of_normals_alone():
    label = np.full((64, 64, 3), (0.6, 0.0, -0.8))
    moved = toy.NORMALS.transform(toy.target(toy.NORMALS, label, 64, 64), in_place(True))["normals"].numpy()
    np.testing.assert_allclose(moved, label * (-1, 1, 1), atol=0.01)


def test_class_stays_under_any_geometry():
    before = toy.target(toy.SCENE, 1, 30, 50)
    after = toy.SCENE.transform(before, random_view(tf.constant([1, 2]), (30, 50), toy.VIEW, (0.5, 2.0)))
    np.testing.assert_array_equal(before["probs"], after["probs"])


@each_task
def test_outputs_for_a_mirrored_view_are_mirrored_back(task):
    """As test-time augmentation needs it: whatever a flip exchanges is exchanged back, such as left and right."""
    label = hard_label(task)
    mirrored = toy.numpy(task.transform(toy.target(task, label, *toy.VIEW), in_place(True)))
    outputs = toy.numpy(task.to_image_frame(toy.perfect_outputs(task, mirrored), in_place(True)))
    stored = through_record(task, task.pseudo_label(outputs), *toy.VIEW)
    specimens.of(task).assert_close(task, stored, label, exact=False)


@each_placed
@pytest.mark.parametrize("size", [(128, 64), (50, 100), (64, 64), (200, 190)])
def test_restore_undoes_fit(task, size):
    height, width = size
    box = (height // 4, width // 2, height // 4 + height // 2, width // 2 + width // 4)
    geometry = fit(size, toy.VIEW)
    view = toy.numpy(task.transform(toy.target(task, marker(task, box, height, width), *size), geometry))
    outputs = toy.numpy(task.to_image_frame(toy.perfect_outputs(task, view), geometry))
    for output in task.outputs:
        if output.axes[:2] == ("height", "width"):
            assert outputs[output.name].shape[:2] == size
    found = specimens.of(task).marked_box(task, outputs) * (height, width, height, width)
    np.testing.assert_allclose(found, box, atol=1 + max(size) / 64)


# Losses


def hard_label(task, seed=3):
    """Returns a label that a prediction can fit perfectly."""
    return specimens.of(task).hard_label(task, np.random.default_rng(seed))


def empty_labels(task):
    """Returns labels without any valid content."""
    return specimens.of(task).empty_labels(task, *toy.VIEW)


def loss_and_gradient(task, target, prediction):
    tensors = tf.nest.flatten(prediction)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = toy.image_losses(task, target, prediction)
    gradients = tape.gradient(loss, tensors)
    return loss.numpy(), [np.zeros(1) if gradient is None else gradient.numpy() for gradient in gradients]


@each_task
def test_loss_of_an_absent_label_is_0_and_moves_nothing(task):
    target = toy.batch([toy.view_target(task, None, 9, 5)] * 2)
    loss, gradients = loss_and_gradient(task, target, toy.random_prediction(task, np.random.default_rng(0), 2))
    np.testing.assert_array_equal(loss, [0, 0])
    assert all((gradient == 0).all() for gradient in gradients)


@each_task
def test_loss_is_0_exactly_where_an_image_is_not_labeled(task):
    rng = np.random.default_rng(4)
    labels = [toy.random_label(task, rng, *toy.VIEW), None, hard_label(task), *empty_labels(task), None]
    target = toy.batch([toy.view_target(task, label, *toy.VIEW) for label in labels])
    labeled = task.has_label(target)
    assert labeled.dtype == tf.bool and labeled.shape == (len(labels),)
    empty = [specimens.of(task).empty_is_label] * len(empty_labels(task))
    np.testing.assert_array_equal(labeled, [True, False, True, *empty, False])
    loss = toy.image_losses(task, target, toy.random_prediction(task, rng, len(labels)))
    np.testing.assert_array_equal(loss != 0, labeled)


@each_task
def test_a_teacher_that_finds_no_object_gives_empty_labels_whatever_it_sees(task):
    assert not task.is_empty(hard_label(task))
    for label in empty_labels(task) if specimens.of(task).empty_is_label and task.has_frame else ():
        one = toy.numpy(toy.view_target(task, label, *toy.VIEW))
        found = task.mark_unseen(task.pseudo_label(toy.perfect_outputs(task, one)), np.array([0.1, 0, 0.8, 1]))
        assert task.is_empty(label) and task.is_empty(through_record(task, found, *toy.VIEW))


@each_task
def test_loss_and_gradient_of_labels_without_content_are_finite(task):
    for label in empty_labels(task):
        target = toy.batch([toy.view_target(task, label, *toy.VIEW)])
        loss, gradients = loss_and_gradient(task, target, toy.random_prediction(task, np.random.default_rng(0), 1))
        assert np.isfinite(loss).all() and all(np.isfinite(gradient).all() for gradient in gradients)
        assert specimens.of(task).empty_is_label == bool(loss[0] > 0)  # "nothing is here" can be learned


@each_task
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (64, 64)])
def test_loss_and_gradient_are_finite_for_labels_of_any_size(task, size):
    rng = np.random.default_rng(5)
    target = toy.batch([toy.view_target(task, toy.random_label(task, rng, *size), *size) for _ in range(3)])
    for prediction in (
        toy.random_prediction(task, rng, 3),
        tf.nest.map_structure(tf.zeros_like, toy.random_prediction(task, rng, 3)),
    ):
        loss, gradients = loss_and_gradient(task, target, prediction)
        assert loss.shape == (3,) and loss.dtype == np.float32
        assert np.isfinite(loss).all() and all(np.isfinite(gradient).all() for gradient in gradients)


@each_task
def test_gradient_is_finite_where_the_prediction_is_perfect(task):
    one = toy.view_target(task, hard_label(task), *toy.VIEW)
    loss, gradients = loss_and_gradient(task, toy.batch([one]), toy.perfect_prediction(task, one))
    assert np.isfinite(loss).all() and all(np.isfinite(gradient).all() for gradient in gradients)


@each_task
def test_loss_of_an_image_does_not_depend_on_the_others_of_its_batch(task):
    rng = np.random.default_rng(6)
    labels = [toy.random_label(task, rng, *toy.VIEW), None, toy.random_label(task, rng, *toy.VIEW)]
    targets = [toy.view_target(task, label, *toy.VIEW) for label in labels]
    prediction = toy.random_prediction(task, rng, 3)
    together = toy.image_losses(task, toy.batch(targets), prediction).numpy()
    for i, target in enumerate(targets):
        one = tf.nest.map_structure(lambda value, i=i: value[i : i + 1], prediction)
        np.testing.assert_allclose(
            toy.image_losses(task, toy.batch([target]), one).numpy()[0], together[i], rtol=1e-5, atol=1e-6
        )


@each_task
def test_unlabeled_images_do_not_weaken_the_loss_of_the_others(task):
    rng = np.random.default_rng(6)
    labels = [toy.random_label(task, rng, *toy.VIEW), None, hard_label(task), None, None]
    target = toy.batch([toy.view_target(task, label, *toy.VIEW) for label in labels])
    prediction = toy.random_prediction(task, rng, len(labels))
    labeled, whole = (
        reduce_terms(task.loss(*tf.nest.map_structure(lambda values, kept=kept: tf.gather(values, kept), both)))
        for both, kept in (((target, prediction), [0, 2]), ((target, prediction), range(5)))
    )
    assert float(whole) == pytest.approx(float(labeled), rel=1e-5)
    for term in task.loss(target, prediction).values():
        assert not np.any(tf.gather(term.sums, [1, 3, 4])) and not np.any(tf.gather(term.counts, [1, 3, 4]))


@each_task
@pytest.mark.parametrize("ends", [(2,), (1, 2, 3)])
def test_parts_of_a_batch_add_up_to_its_loss_and_gradient(task, ends):
    """Whatever their labels: a usual one, none, one without content, another."""
    rng = np.random.default_rng(0)
    labels = [toy.random_label(task, rng, *toy.VIEW), None, None, toy.random_label(task, rng, *toy.VIEW)]
    labels[2:3] = specimens.of(task).empty_labels(task, *toy.VIEW)[:1] or [None]
    target = toy.batch([toy.view_target(task, label, *toy.VIEW) for label in labels])
    prediction = tf.nest.map_structure(tf.Variable, specimens.of(task).random_prediction(task, rng, 4))
    variables = tf.nest.flatten(prediction)
    with tf.GradientTape(persistent=True) as tape:
        both = target, tf.nest.map_structure(tf.identity, prediction)
        whole = reduce_terms(task.loss(*both))
        rows = [slice(*pair) for pair in itertools.pairwise((0, *ends, 4))]
        parts = [task.loss(*tf.nest.map_structure(lambda values, row=row: values[row], both)) for row in rows]
        counts = tf.nest.map_structure(lambda *each: tf.add_n(each), *map(sum_counts, parts))
        shares = tf.add_n([reduce_terms(part, divisors(part, counts)) for part in parts])
    np.testing.assert_allclose(shares, whole, rtol=1e-5, atol=1e-7)
    of_shares, of_whole = (
        [one for one in tape.gradient(value, variables) if one is not None] for value in (shares, whole)
    )
    for one, other in zip(of_shares, of_whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6 * float(tf.reduce_max(tf.abs(other))) + 1e-12)


@each_task
def test_perfect_prediction_has_the_lowest_loss(task):
    rng = np.random.default_rng(7)
    one = toy.view_target(task, hard_label(task), *toy.VIEW)
    perfect = float(toy.image_losses(task, toy.batch([one]), toy.perfect_prediction(task, one))[0])
    others = [float(toy.image_losses(task, toy.batch([one]), toy.random_prediction(task, rng, 1))[0]) for _ in range(8)]
    assert -1e-6 <= perfect < 1e-3
    assert min(others) > perfect + 0.05


# Outputs, metrics, teachers


@each_task
def test_outputs_of_a_perfect_prediction_are_the_label(task):
    one = toy.view_target(task, hard_label(task), *toy.VIEW)
    outputs = toy.numpy(task.decode_predictions(toy.perfect_prediction(task, one), tf.constant(toy.VIEW)))
    label = task.label(toy.numpy(one))
    back = task.pseudo_label({key: value[0] for key, value in outputs.items()})
    specimens.of(task).assert_close(task, back, label, exact=True)


@each_task
def test_perfect_outputs_have_the_perfect_score(task):
    rng = np.random.default_rng(8)
    labels = [hard_label(task), toy.random_label(task, rng, *toy.VIEW), None]
    targets = [toy.numpy(toy.view_target(task, label, *toy.VIEW)) for label in labels]
    outputs = [toy.perfect_outputs(task, target) for target in targets]
    metric = task.metrics()
    metric.update(toy.numpy(toy.batch(targets[:2])), toy.numpy(toy.batch(outputs[:2])))
    metric.update(toy.numpy(toy.batch(targets[2:])), toy.numpy(toy.batch(outputs[2:])))
    result = metric.result()
    for score in task.scores:
        if score.better == "lower" or score.unit == "share":  # the best of others is the kind's own
            wanted = 0.0 if score.better == "lower" else 1.0
            assert result[score.name] == pytest.approx(wanted, abs=0.05 if score.unit == "°" else 1e-5)


@each_task
def test_score_of_nothing_is_nan(task):
    target = toy.numpy(toy.view_target(task, None, *toy.VIEW))
    metric = task.metrics()
    assert all(np.isnan(value) for value in metric.result().values())
    metric.update(toy.numpy(toy.batch([target])), toy.numpy(toy.batch([toy.perfect_outputs(task, target)])))
    assert all(np.isnan(value) for value in metric.result().values())


@each_task
def test_score_does_not_depend_on_how_images_are_batched(task):
    rng = np.random.default_rng(9)
    labels = [toy.random_label(task, rng, *toy.VIEW) for _ in range(4)]
    targets = [toy.numpy(toy.view_target(task, label, *toy.VIEW)) for label in labels]
    outputs = toy.numpy(task.decode_predictions(toy.random_prediction(task, rng, 4), tf.constant(toy.VIEW)))
    together, apart = task.metrics(), task.metrics()
    together.update(toy.numpy(toy.batch(targets)), outputs)
    for i, target in enumerate(targets):
        apart.update(toy.numpy(toy.batch([target])), {key: value[i : i + 1] for key, value in outputs.items()})
    assert together.result() == pytest.approx(apart.result())


@each_task
def test_confident_teacher_gives_back_the_label(task):
    label = hard_label(task)
    one = toy.numpy(toy.view_target(task, label, *toy.VIEW))
    back = task.pseudo_label(toy.perfect_outputs(task, one))
    stored = through_record(task, back, *toy.VIEW)
    specimens.of(task).assert_close(task, stored, label, exact=False)


# Pictures and counts


@each_task
@pytest.mark.parametrize("size", [(1, 1), (7, 13), toy.VIEW])
def test_picture_has_the_size_of_its_image_and_leaves_the_image_alone(task, size):
    rng = np.random.default_rng(10)
    image = toy.random_image(rng, *size)
    before = image.copy()
    for label in (toy.random_label(task, rng, *size), *[e for e in empty_labels(task) if size == toy.VIEW]):
        picture = task.draw(image, label)
        assert picture.dtype == np.uint8 and picture.shape == (*size, 3)
    np.testing.assert_array_equal(image, before)


@each_task
def test_picture_shows_the_label(task):
    rng = np.random.default_rng(11)
    image = toy.random_image(rng, 96, 96)
    assert (task.draw(image, toy.random_label(task, rng, 96, 96)) != image).any() or specimens.of(task).empty_is_label


@each_task
@given(seeds)
def test_statistics_add_up_to_what_is_there(task, seed):
    label = toy.random_label(task, np.random.default_rng(seed), 9, 14)
    found = task.statistics(label)
    assert all(isinstance(value, (int, float)) and np.isfinite(value) for value in found.values())
    specimens.of(task).assert_counted(task, label, found)


@each_kind
def test_kind_names_its_class_and_declares_its_scores(task):
    assert task.kind == type(task).__name__.lower()
    assert {score.name for score in task.scores} == set(task.metrics().result())


@each_kind
def test_targets_of_any_image_size_have_one_structure_and_shape(task):
    rng = np.random.default_rng(12)
    targets = [toy.view_target(task, toy.random_label(task, rng, *size), *size) for size in ((1, 1), (64, 64), (90, 7))]
    targets.append(toy.view_target(task, None, 8, 9))
    shapes = [{key: (value.shape, value.dtype) for key, value in target.items()} for target in targets]
    assert all(shape == shapes[0] for shape in shapes)


def test_stretch_shows_every_pixel_of_an_image_of_the_views_size():
    label = toy.random_label(toy.STUFF, np.random.default_rng(13), *toy.VIEW)
    moved = toy.STUFF.transform(toy.target(toy.STUFF, label, *toy.VIEW), stretch(toy.VIEW, toy.VIEW))
    specimens.of(toy.STUFF).assert_same(toy.STUFF, moved["mask"].numpy()[..., 0], label)


# Declarations


def test_every_registered_kind_has_a_specimen():
    assert set(KINDS) <= set(specimens.SPECIMENS) <= set(kinds())


@each_task
def test_outputs_are_those_that_the_kind_declares(task):
    found = task.decode_predictions(toy.random_prediction(task, np.random.default_rng(0), 2), tf.constant(toy.VIEW))
    assert {output.name: 1 + len(output.axes) for output in task.outputs} == {k: v.ndim for k, v in found.items()}
    for output in task.outputs:
        if output.axes[:2] == ("height", "width"):
            assert found[output.name].shape[1:3] == toy.VIEW
    if task.ranking:
        columns = {task.ranking.score, task.ranking.valid, *task.ranking.columns}
        assert columns == set(task.ranking.columns) <= set(found)


@each_task
def test_features_are_named_after_the_task_and_thresholds_are_fields(task):
    assert all(key.startswith(f"{task.name}/") for key in task.features())
    label = toy.random_label(task, np.random.default_rng(0), 9, 14)
    assert set(task.encode(label)) <= set(task.features())
    fields = {field.name for field in dataclasses.fields(task)}
    assert {*task.thresholds, *task.ranges, *(task.identity_fields or ())} <= fields
    assert {*task.searched} <= {*task.thresholds} and {*task.left_out} <= {*FORMATS, "heads"}


@each_task
def test_labels_of_another_identity_are_refused_by_name(task):
    check_same_labels("here", [task], [dataclasses.replace(task)])
    for other in specimens.of(task).other_identities(task):
        with pytest.raises(UserError, match=f"here: task '{task.name}' has "):
            check_same_labels("here", [task], [other])
    other = next(one for one in KINDS_OF_TASK if one.kind != task.kind)
    with pytest.raises(UserError, match=f"here: task '{task.name}' has kind '{task.kind}', not '{other.kind}'"):
        check_same_labels("here", [task], [dataclasses.replace(other, name=task.name)])
