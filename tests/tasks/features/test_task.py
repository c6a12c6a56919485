"""Tests of the kind `features` beyond its contract: losses against their formulas, extents, and merged predictions."""

import dataclasses

import numpy as np
import pytest
import specimens
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.geometry import Geometry, center_crop, fit
from must_tf.tasks import Classification, Depth
from must_tf.tasks.features.grid import centers

SPECIMEN = specimens.SPECIMENS["features"]
TASK = SPECIMEN.tasks[0]
RNG = np.random.default_rng(0)


def test_loss_is_its_formula():
    """0.9 (1 − cosine) + 0.1 smooth L1 of the grid, 1 − cosine of the global vector, in numpy and in float64."""
    target = toy.batch([toy.view_target(TASK, toy.random_label(TASK, RNG, 64, 64), *toy.VIEW) for _ in range(2)])
    prediction = toy.random_prediction(TASK, RNG, 2)
    valid = target["valid"].numpy()
    truth, found = (values["grid"].numpy().astype(np.float64)[valid] for values in (target, prediction))

    def cosines(one, other):
        return (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)

    distance = np.abs(truth - found)
    smooth_l1 = np.where(distance < 1, distance**2 / 2, distance - 0.5).mean()
    summary = 1 - cosines(target["summary"].numpy(), prediction["summary"].numpy())
    expected = 0.9 * (1 - cosines(truth, found)).mean() + 0.1 * smooth_l1 + summary.mean()
    terms = TASK.loss(target, prediction).values()
    loss = sum(term.weight * tf.reduce_sum(term.sums) / tf.reduce_sum(term.counts) for term in terms)
    assert 0 < valid.mean() < 1 and float(loss) == pytest.approx(expected, rel=1e-5)


def test_cosine_and_summary_do_not_see_lengths_and_smooth_l1_does():
    target = toy.batch([toy.view_target(TASK, SPECIMEN.hard_label(TASK, RNG), *toy.VIEW)])
    prediction = toy.random_prediction(TASK, RNG, 1)
    once, twice = (TASK.loss(target, {name: by * part for name, part in prediction.items()}) for by in (1.0, 2.0))
    for name, same in (("cosine", True), ("summary", True), ("smooth_l1", False)):
        assert (float(once[name].sums[0]) == pytest.approx(float(twice[name].sums[0]), abs=1e-4)) == same


@pytest.mark.parametrize("frame", [fit, center_crop])
@pytest.mark.parametrize("size", [(64, 96), (150, 100)])
def test_label_of_a_view_is_in_its_place_in_the_image_without_a_change_of_its_vectors(frame, size):
    """Padding is left out. What a crop did not show is no part of the grid, and has no target."""
    geometry = frame(size, toy.VIEW)
    grid = RNG.normal(size=(16, 16, TASK.channels)).astype(np.float32)
    outputs = {"grid": tf.constant(grid), "summary": tf.ones(TASK.summary)}
    label = TASK.pseudo_label(toy.numpy(TASK.to_image_frame(outputs, geometry)))
    rows, columns = label["grid"].shape[:2]
    np.testing.assert_array_equal(label["grid"], grid[:rows, :columns])
    back = TASK.transform(toy.target(TASK, label, *size), geometry)
    first = toy.numpy(back["grid"])[0, 0]  # the mean of the four cells around its center
    np.testing.assert_allclose(first, grid[1:3, 1:3].mean((0, 1)), atol=0.05)
    whole = toy.numpy(toy.view_target(TASK, label, *size)["valid"])
    shown = (np.array(size) / max(size)) if frame is fit else np.ones(2)
    assert back["valid"].numpy()[0, 0] and (whole.all() if frame is fit else not whole.all())
    np.testing.assert_allclose(back["valid"].numpy().mean(), np.round(shown * 4).prod() / 16, atol=0.26)


def test_mirrored_predictions_are_merged_where_they_belong():
    grid = RNG.normal(size=(4, 4, TASK.channels)).astype(np.float32)
    flip = Geometry(tf.constant(toy.VIEW), tf.constant(toy.VIEW), tf.zeros(2, tf.int32), tf.constant(True), toy.VIEW)
    one = {"grid": grid, "summary": np.ones(TASK.summary, np.float32)}
    mirrored = {"grid": grid[:, ::-1], "summary": 3 * one["summary"]}
    moved = toy.numpy(TASK.to_image_frame({key: tf.constant(part) for key, part in mirrored.items()}, flip))
    merged = TASK.merge([one, None, moved], [])
    np.testing.assert_allclose(merged["grid"], grid, atol=1e-5)
    np.testing.assert_allclose(merged["summary"], 2)


def test_merged_windows_fill_each_other():
    grid = RNG.normal(size=(4, 4, TASK.channels)).astype(np.float32)
    summary = np.ones(TASK.summary, np.float32)
    left = {"grid": grid[:, :3], "summary": summary, "extent": np.float32([0, 0, 1, 0.75])}
    right = {"grid": grid[:, 2:], "summary": summary, "extent": np.float32([0, 0.5, 1, 1])}
    merged = TASK.merge([right, left], [])
    np.testing.assert_allclose(merged["grid"], grid[:, :3], atol=1e-5)
    np.testing.assert_allclose(merged["extent"], left["extent"])


def test_score_does_not_depend_on_the_size_of_the_predicted_grid():
    """A teacher of another stride is scored at the cells of the target: here of a linear ramp, which stays one."""
    target = toy.numpy(toy.batch([toy.view_target(TASK, SPECIMEN.marker_label(TASK, np.ones((64, 64), bool)), 64, 64)]))
    ramp = np.zeros((1, 9, 7, TASK.channels), np.float32)
    ramp[..., 0] = 127
    ramp[..., 1], ramp[..., 2] = 128 * centers(9).numpy()[:, None], 128 * centers(7).numpy()
    ramp[..., 3:7] = [0, 0, 128, 128]
    metric = TASK.metrics()
    metric.update(target, {"grid": ramp, "summary": target["summary"]})
    assert metric.result() == pytest.approx({"cosine": 1, "summary_cosine": 1}, abs=1e-4)
    assert metric.per_image("cosine").scores(np.ones((1, 1))) == pytest.approx(metric.result()["cosine"])


def test_labels_that_cannot_be_stored_are_refused():
    label = SPECIMEN.hard_label(TASK, RNG)
    for change, message in (
        (
            {"grid": label["grid"][..., :3]},
            "a grid .h, w, 8. and a global vector .5. expected, .4, 4, 3. and .5. given",
        ),
        ({"summary": label["summary"] * np.nan}, "a global vector that is not finite"),
        ({"extent": np.float32([0, 0, 0, 1])}, "a grid that covers nothing"),
    ):
        with pytest.raises(UserError, match=message):
            TASK.encode(label | change)
    with pytest.raises(UserError, match="'vectors': its principal components are not fitted"):
        dataclasses.replace(TASK, summary=0, projection="").encode(label)


def test_a_large_grid_costs_a_byte_per_number():
    label = {"grid": RNG.normal(size=(16, 16, 8)), "summary": np.ones(5), "extent": np.float32([0, 0, 1, 1])}
    stored = TASK.encode(label)
    assert len(stored["vectors/grid/values"]) == 16 * 16 * 8 and len(stored["vectors/summary/values"]) == 5


def test_neighbors_of_one_class_are_found():
    classes = Classification("scene", ("a", "b"))
    pair = TASK.grade_with(classes)
    for i in range(40):
        summary = np.float32([1, 0, 0, 0, 0]) if i % 2 else np.float32([0, 1, 0, 0, 0])
        assert pair.add({"summary": summary + 0.1 * RNG.normal(size=5)}, i % 2)
    assert pair.scores() == {"knn": 1.0, "most_common": 0.5}
    alone = pair.__class__(*pair.tasks)
    assert alone.add({"summary": np.ones(3)}, 0) and np.isnan(list(alone.scores().values())).all()  # has no neighbor
    assert TASK.grade_with(Depth("depth")) is None
    assert TASK.grade_with(Classification("tags", ("a", "b"), multi_label=True)) is None


def test_features_that_do_not_depend_on_the_image_are_doubted():
    label = SPECIMEN.hard_label(TASK, RNG)
    assert "global vectors of all images are equal" in TASK.implausible([label, label])
    assert TASK.implausible([label, SPECIMEN.hard_label(TASK, RNG)]) is None and TASK.implausible([label]) is None
