import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.tasks.detection.metrics import AveragePrecision
from must_tf.tasks.per_image import Ranking, Ratios, read_per_image, write_per_image

WEIGHTS = np.array([2, 0, 1, 3, 1])
OURS = {"classification", "detection", "segmentation", "depth", "normals"}


def images_of(task, count):
    """Returns targets and outputs, image by image."""
    rng = np.random.default_rng(1)
    targets = [
        toy.numpy(toy.view_target(task, toy.random_label(task, rng, *toy.VIEW), *toy.VIEW)) for _ in range(count)
    ]
    outputs = toy.numpy(task.decode_predictions(toy.random_prediction(task, rng, count), tf.constant(toy.VIEW)))
    return [
        (toy.batch([target]), {key: value[i : i + 1] for key, value in outputs.items()})
        for i, target in enumerate(targets)
    ]


def measured(metric, images, weights):
    for (target, outputs), weight in zip(images, weights, strict=True):
        for _ in range(weight):
            metric.update(toy.numpy(target), outputs)
    return metric


@pytest.mark.parametrize("task", toy.VARIANTS, ids=lambda task: task.name)
def test_every_score_that_is_kept_is_the_same_again_and_on_images_that_occur_several_times(task):
    images = images_of(task, len(WEIGHTS))
    metric = measured(task.metrics(), images, [1] * len(WEIGHTS))
    again = measured(task.metrics(), images, WEIGHTS).result()
    kept = [name for name in metric.result() if metric.per_image(name)]
    assert task.main_score.name in kept or task.kind not in OURS
    for name in kept:
        found = metric.per_image(name).scores(np.stack([np.ones_like(WEIGHTS), WEIGHTS, 0 * WEIGHTS]))
        assert found[:2] == pytest.approx([metric.result()[name], again[name]], rel=1e-9, nan_ok=True)
        assert np.isnan(found[2])


def boxes(rng, count, classes):
    corners = rng.uniform(0, 0.6, (1, count, 2))
    return {
        "boxes": np.concatenate([corners, corners + rng.uniform(0.2, 0.4, (1, count, 2))], -1),
        "classes": rng.integers(-1, classes, (1, count)),
    }


def detections(rng, images, classes):
    """Yields targets with ignored boxes, and outputs near them, far from them, and twice."""
    for i in range(images):
        target = boxes(rng, 5, classes) | {"present": np.array([i != 2]), "ignore": rng.integers(0, 3, (1, 5)) // 2}
        near = np.clip(target["boxes"] + rng.normal(0, 0.02, (1, 5, 4)), 0, 1)
        far = boxes(rng, 6, classes)
        found = {
            "boxes": np.concatenate([near, near, far["boxes"]], 1),
            "classes": np.concatenate([target["classes"], target["classes"], far["classes"]], 1),
            "scores": rng.uniform(0, 1, (1, 16)).astype(np.float32),
        }
        yield target, found


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_pycocotools_on_resampled_images(seed):
    rng = np.random.default_rng(seed)
    images = list(detections(rng, 12, 3))
    metric = measured(AveragePrecision(3), images, [1] * 12)
    draws = rng.multinomial(12, np.full(12, 1 / 12), 4)
    present = np.flatnonzero(np.arange(12) != 2)
    for name in ("AP", "AP50"):
        statistic = metric.per_image(name)
        assert statistic.num_images == 11
        expected = [measured(AveragePrecision(3), images, draw).result()[name] for draw in draws]
        assert statistic.scores(draws[:, present]) == pytest.approx(expected, abs=1e-9)


def test_boxes_after_the_last_right_one_are_not_kept_and_a_detector_that_finds_nothing_has_0():
    images = list(detections(np.random.default_rng(0), 12, 3))
    statistic = measured(AveragePrecision(3), images, [1] * 12).per_image("AP50")
    ends = np.flatnonzero(np.diff(statistic.group, append=99))
    assert statistic.right[ends].all() and 0 < len(statistic.right) < 12 * 16
    none = [(target, found | {"classes": np.full((1, 16), -1)}) for target, found in images]
    assert measured(AveragePrecision(3), none, [1] * 12).per_image("AP50").scores(np.ones((1, 11))) == [0]
    assert AveragePrecision(3).per_image("AP50") is None and AveragePrecision(3).per_image("recall") is None


STATISTICS = [
    Ratios(3, np.array([0, 0, 2]), np.array([0, 1, 1]), np.array([5, 70_000, 1]), np.array([7, 70_001, 2])),
    Ratios.of_images(np.array([0.25, 0.5]), np.array([1, 1])),
    Ranking(2, *np.array([[0, 1, 1], [0, 0, 3], [1, 0, 1]]), *np.array([[0, 1], [0, 3], [2, 1]])),
]


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda one: one.form)
def test_a_statistic_comes_back_from_its_file(statistic, tmp_path):
    write_per_image(tmp_path / "a.npz", statistic)
    write_per_image(tmp_path / "b.npz", statistic)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = read_per_image(tmp_path / "a.npz")
    weights = np.random.default_rng(0).integers(0, 3, (5, statistic.num_images))
    np.testing.assert_array_equal(back.scores(weights), statistic.scores(weights))


def test_whole_numbers_take_as_few_bytes_as_they_need(tmp_path):
    rng = np.random.default_rng(0)
    hits = Ratios.of_images(rng.integers(0, 2, 1000), np.ones(1000, int))
    write_per_image(tmp_path / "hits.npz", hits)
    assert (tmp_path / "hits.npz").stat().st_size < 4000


def test_an_image_that_is_not_there_is_refused(tmp_path):
    write_per_image(tmp_path / "a.npz", Ratios(1, np.array([1]), np.array([0]), np.array([1]), np.array([1])))
    with pytest.raises(UserError, match=r"a\.npz: holds no statistic of images"):
        read_per_image(tmp_path / "a.npz")
