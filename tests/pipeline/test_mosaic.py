import blur
import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.pipeline import Augment, Strong, batch_ids, check_mosaic, training_batches
from must_tf.pipeline.augment import Change, record_example
from must_tf.pipeline.mosaic import mosaic_changes, mosaic_example
from must_tf.records import open_dataset, serialize
from must_tf.tasks import Depth, Segmentation

PIXELS = Segmentation("pixels", tuple(map(str, range(32))))
EVEN = Augment(scale=(2.0, 2.0), flip=False, color=0.0, mosaic=0.5)  # no view has padding


def numbered(folder, numbers, num_shards):
    """Returns a dataset whose image i has the class i in each pixel, and all labels of `toy.SCENE`."""
    records = [
        toy.record(np.full((40, 40, 3), 8 * i, np.uint8), {"pixels": np.full((40, 40), i), "scene": i % 3})
        for i in numbers
    ]
    toy.write_dataset(folder, records, [PIXELS, toy.SCENE], num_shards)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def union(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosaics")
    return [numbered(folder / "a", range(12), 2), numbered(folder / "b", range(12, 20), 2)]


def take(datasets, count, tasks=(PIXELS,), **arguments):
    arguments = {"sizes": [(32, 32)], "batch_size": 4, "augment": EVEN} | arguments
    return [toy.numpy(batch) for batch in training_batches(datasets, tasks, **arguments).take(count)]


def corners(batches):
    """Returns the numbers of the images in the four parts of each image, [images, 4]."""
    masks = np.concatenate([targets["pixels"]["mask"][..., 0] for _, targets in batches])
    return masks[:, [0, 0, -1, -1], [0, -1, 0, -1]]


def assert_same(some, others):
    tf.nest.map_structure(np.testing.assert_array_equal, some, others)


@pytest.fixture(scope="module")
def four():
    rng = np.random.default_rng(0)
    serialized = []
    for height, width in ((48, 80), (64, 64), (33, 57), (96, 40)):
        labels = {task.name: toy.random_label(task, rng, height, width) for task in toy.TASKS}
        serialized.append(serialize(toy.record(toy.random_image(rng, height, width), labels), toy.TASKS))
    return tf.constant(serialized)


def test_mosaic_consists_of_four_views_of_half_its_sides(four):
    augment = Augment(scale=(0.3, 2.0), strong=Strong(num_ops=1, cutout=0.2))
    changes = Change(*(part[0] for part in mosaic_changes(augment, 1, tf.constant([0, 1], tf.int64))))
    make = tf.function(record_example)  # as in a pipeline: an eager one may round a pixel otherwise
    image, targets = toy.numpy(mosaic_example(four, changes, toy.TASKS, toy.VIEW, augment))
    for i, record in enumerate(four):
        change = Change(*(part[i] for part in changes))
        view, moved = toy.numpy(make(record, change, toy.TASKS, (32, 32), augment))
        part = (slice(32 * (i // 2), 32 * (i // 2 + 1)), slice(32 * (i % 2), 32 * (i % 2 + 1)))
        np.testing.assert_array_equal(image[part], view)
        for name in ("stuff", "depth", "normals"):
            assert_same({key: values[part] for key, values in targets[name].items()}, moved[name])
    assert not toy.SCENE.has_label(toy.batch([targets["scene"]]))[0]


def test_views_of_a_mosaic_are_augmented_apart():
    changes = mosaic_changes(Augment(), 2, tf.constant([0, 1], tf.int64))
    for part in (changes.factor, changes.place, changes.colors, changes.seed):
        assert len({row.tobytes() for row in np.asarray(part).reshape(8, -1)}) == 8


def test_images_that_are_no_mosaics_are_as_they_are_without_mosaics(union):
    plain, some = (take(union, 6, augment=Augment(strong=Strong(noise=0.1), mosaic=mosaic)) for mosaic in (0.0, 0.5))
    same = [(one == other).all((1, 2, 3)).sum() for (one, _), (other, _) in zip(plain, some, strict=True)]
    assert 6 <= sum(same) <= 18  # of 24


def test_share_of_the_images_are_mosaics_of_the_dataset_of_the_first(union):
    found = corners(take(union, 25))
    mosaics = found[(found != found[:, :1]).any(1)]
    assert 0.3 < len(mosaics) / len(found) < 0.7
    assert (mosaics < 12).all(1).sum() + (mosaics >= 12).all(1).sum() == len(mosaics)
    assert set(mosaics[:, 1:].ravel()) == set(range(20))


def test_first_images_of_mosaics_keep_the_order_of_records(union):
    plain = corners(take(union, 10, augment=Augment(scale=(2.0, 2.0), flip=False)))
    np.testing.assert_array_equal(corners(take(union, 10))[:, 0], plain[:, 0])


@pytest.mark.parametrize("start", [1, 7])
def test_start_equals_skipping_batches(union, start):
    arguments = {"augment": Augment(mosaic=0.7, strong=Strong(noise=0.1)), "sizes": [(32, 32), (64, 32)]}
    assert_same(take(union, 9, **arguments)[start:], take(union, 9 - start, start=start, **arguments))


def test_start_holds_for_short_blocks(union, monkeypatch):
    monkeypatch.setattr("must_tf.pipeline.stream._SHUFFLE_SIZE", 3)
    monkeypatch.setattr("must_tf.pipeline.stream._MIN_BLOCK", 1)
    assert_same(take(union, 12)[5:], take(union, 7, start=5))


def test_batches_of_all_workers_make_up_the_batch_of_one_process(union):
    arguments = {"streams": 2, "start": 5, "augment": Augment(mosaic=0.6, strong=Strong(noise=0.1))}
    workers = [take(union, 4, worker_streams=[stream], **arguments) for stream in (0, 1)]
    joined = [
        tf.nest.map_structure(lambda *parts: np.concatenate(parts), *parts) for parts in zip(*workers, strict=True)
    ]
    assert_same(take(union, 4, **arguments), joined)


@pytest.mark.parametrize("streams", [1, 2])
def test_batch_ids_names_all_images_of_a_mosaic(union, streams):
    number_of = {record.id: record.labels["pixels"][0, 0] for dataset in union for record in dataset.records()}
    (batch,) = take(union, 1, start=3, batch_size=8, streams=streams, seed=1)
    ids = batch_ids(union, 8, 1, 3, streams=streams, augment=EVEN)
    assert {len(one.split()) for one in ids} == {1, 4}
    for one, found in zip(ids, corners([batch]), strict=True):
        known = [number_of[image] for image in one.split()]
        assert (found == (known if len(known) == 4 else known * 4)).all()


def test_task_of_whole_images_is_unlabeled_in_mosaics_only(union):
    batches = take(union, 6, (PIXELS, toy.SCENE))
    labeled = np.concatenate([targets["scene"]["probs"].any(-1) for _, targets in batches])
    found = corners(batches)
    assert labeled[(found == found[:, :1]).all(1)].sum() >= labeled.sum() > 0
    assert not labeled[(found != found[:, :1]).any(1)].any()
    assert check_mosaic(EVEN, (PIXELS, toy.SCENE)) == ["scene"]
    assert check_mosaic(Augment(), (toy.SCENE,)) == check_mosaic(EVEN, (PIXELS,)) == []


@pytest.mark.parametrize(
    ("share", "tasks", "message"),
    [
        (
            1.0,
            (PIXELS, toy.SCENE),
            r"mosaic: 1 received.* no label of 'scene' \(classification\); expected a share below 1",
        ),
        (0.5, (toy.SCENE,), r"mosaic: 0.5 received.* no label of 'scene' \(classification\); expected 0"),
        (0.5, (blur.Blur("blur"), Depth("d", "affine_inverse")), r"'blur' \(blur\), 'd' \(depth\); expected 0"),
    ],
)
def test_task_that_would_never_have_a_label_is_refused_by_name(union, share, tasks, message):
    with pytest.raises(UserError, match=message) as error:
        training_batches(union, tasks, [(32, 32)], 2, augment=Augment(mosaic=share))
    assert "\n" not in str(error.value)
