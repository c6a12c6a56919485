import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
import toy

from must_tf.errors import UserError
from must_tf.pipeline import Augment, Mixing, batch_ids, evaluation_batches, training_batches
from must_tf.records import open_dataset
from must_tf.tasks import Classification

NUMBER = Classification("number", tuple(map(str, range(32))))
PLAIN = Augment(scale=(1.0, 1.0), flip=False, color=0.0)


def numbered(folder, numbers, num_shards):
    """Returns a dataset whose image i has class i."""
    records = [toy.record(toy.random_image(np.random.default_rng(i), 32, 40), {"number": i}) for i in numbers]
    toy.write_dataset(folder, records, [NUMBER], num_shards)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def union(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbered")
    return [numbered(folder / "a", range(9), 2), numbered(folder / "b", range(9, 14), 3)]


def take(datasets, count, tasks=(NUMBER,), **arguments):
    arguments = {"sizes": [(32, 32)], "batch_size": 4} | arguments
    return [toy.numpy(batch) for batch in training_batches(datasets, tasks, **arguments).take(count)]


def numbers(batches):
    return [int(number) for _, targets in batches for number in targets["number"]["probs"].argmax(-1)]


def assert_same(some, others):
    assert len(some) == len(others)
    tf.nest.map_structure(np.testing.assert_array_equal, some, others)


def test_every_record_of_the_union_is_drawn_once_per_epoch(union):
    drawn = numbers(take(union, 21, batch_size=2))  # three epochs of 14
    for epoch in range(3):
        assert sorted(drawn[14 * epoch : 14 * (epoch + 1)]) == list(range(14))


def test_order_differs_between_epochs(union):
    drawn = numbers(take(union, 14, batch_size=2))
    assert drawn[:14] != drawn[14:]


def test_datasets_are_mixed(union):
    drawn = numbers(take(union, 7, batch_size=2))
    assert any((a < 9) != (b < 9) for a, b in itertools.pairwise(drawn))


def test_batches_depend_on_the_seed_alone(union):
    assert_same(take(union, 4, seed=3), take(union, 4, seed=3))
    assert numbers(take(union, 4, seed=3)) != numbers(take(union, 4, seed=4))


@pytest.mark.parametrize("start", [1, 3, 4, 8])  # an epoch ends within the fourth batch
def test_start_equals_skipping_batches(union, start):
    assert_same(take(union, 11)[start:], take(union, 11 - start, start=start))


@pytest.mark.parametrize("block", [1, 4, 14])
def test_epochs_and_start_hold_for_blocks_of_any_length(union, block, monkeypatch):
    monkeypatch.setattr("must_tf.pipeline.stream._SHUFFLE_SIZE", block)
    monkeypatch.setattr("must_tf.pipeline.stream._MIN_BLOCK", 1)
    batches = take(union, 14, batch_size=2)
    drawn = numbers(batches)
    assert sorted(drawn[:14]) == sorted(drawn[14:]) == list(range(14)) and drawn[:14] != drawn[14:]
    assert_same(batches[9:], take(union, 5, batch_size=2, start=9))


def test_distant_start_does_not_read_the_records_before_it(union):
    assert len(take(union, 1, start=10**6)) == 1


def test_augmentation_of_a_record_differs_between_epochs(union):
    batches = take(union[:1], 6, batch_size=3, augment=Augment(scale=(1.0, 1.0), color=0.3))
    seen = collections.defaultdict(list)
    for images, targets in batches:
        for image, number in zip(images, targets["number"]["probs"].argmax(-1), strict=True):
            seen[int(number)].append(image)
    assert all(len(images) == 2 and (images[0] != images[1]).any() for images in seen.values())


SIZES = [(32, 32), (32, 64), (64, 64)]


def test_size_of_a_batch_depends_on_its_number_alone(union):
    batches = take(union, 20, sizes=SIZES)
    shapes = [images.shape[1:3] for images, _ in batches]
    assert all(shapes.count(size) >= 2 for size in SIZES)
    assert_same(batches[17:], take(union, 3, sizes=SIZES, start=17))
    worker = take(union, 20, sizes=SIZES, streams=2, worker_streams=[1])
    assert shapes == [images.shape[1:3] for images, _ in worker]


def test_several_sizes_leave_only_the_differing_dimension_unknown(toy_data):
    tasks = (toy.SCENE, toy.THINGS, toy.STUFF)
    batches = training_batches([open_dataset(toy_data)], tasks, [(32, 32), (64, 32)], 4)
    images, targets = batches.element_spec
    assert images.shape.as_list() == [4, None, 32, 3] and targets["stuff"]["mask"].shape.as_list() == [4, None, 32, 1]
    assert targets["things"]["boxes"].shape.is_fully_defined()
    for images, targets in batches.take(3):
        assert targets["stuff"]["mask"].shape[1:3] == images.shape[1:3]


@pytest.mark.parametrize("start", [0, 5])
def test_batches_of_all_workers_make_up_the_batch_of_one_process(union, start):
    arguments = {"batch_size": 6, "streams": 2, "sizes": SIZES, "start": start, "augment": Augment()}
    workers = [take(union, 4, worker_streams=[stream], **arguments) for stream in (0, 1)]
    joined = [
        tf.nest.map_structure(lambda *parts: np.concatenate(parts), *parts) for parts in zip(*workers, strict=True)
    ]
    assert_same(take(union, 4, **arguments), joined)


def test_streams_share_the_records_of_an_epoch(union):
    # nine records in two shards and five in three shards
    drawn = [
        numbers(take(union, 3 * count, batch_size=2, streams=2, worker_streams=[i])) for i, count in enumerate((7, 7))
    ]
    held = [set(some) for some in drawn]
    assert not held[0] & held[1] and held[0] | held[1] == set(range(14))
    for some, own in zip(drawn, held, strict=True):
        for epoch in range(2):
            assert sorted(some[len(own) * epoch : len(own) * (epoch + 1)]) == sorted(own)


def test_batches_do_not_depend_on_the_number_of_threads(union):
    def threaded(count):
        options = tf.data.Options()
        options.threading.private_threadpool_size = count
        batches = training_batches(union, [NUMBER], SIZES, 4, streams=2).with_options(options)
        return [toy.numpy(batch) for batch in batches.take(6)]

    assert_same(threaded(1), threaded(4))


@pytest.mark.parametrize("number", [0, 1, 9])
@pytest.mark.parametrize("streams", [1, 2])
def test_batch_ids_names_the_images_of_the_batch(union, number, streams):
    mixing = Mixing({str(union[1].folder): 2.0})
    known = {record.id: record.labels["number"] for dataset in union for record in dataset.records()}
    (batch,) = take(union, 1, start=number, mixing=mixing, streams=streams, seed=5)
    assert [known[image_id] for image_id in batch_ids(union, 4, 5, number, mixing, streams)] == numbers([batch])


def test_absent_labels_become_empty_targets(toy_data):
    records = {record.id: record for record in toy.toy_records(22)}
    dataset = open_dataset(toy_data)
    order = [record.id for record in dataset.records()]
    batches = [toy.numpy(batch) for batch in evaluation_batches(dataset, toy.TASKS, toy.VIEW, 22)]
    (_, targets) = batches[0]
    for task in toy.TASKS:
        for i, identity in enumerate(order):
            one = {key: value[i] for key, value in targets[task.name].items()}
            assert (task.label(one) is None) == (task.name not in records[identity].labels)


def test_batches_have_static_shapes_and_types(toy_data):
    spec = training_batches([open_dataset(toy_data)], toy.TASKS, [toy.VIEW], 4).element_spec
    assert spec[0] == tf.TensorSpec([4, 64, 64, 3], tf.uint8)
    assert all(part.shape.is_fully_defined() and part.shape[0] == 4 for part in tf.nest.flatten(spec[1]))


def test_evaluation_batches_hold_each_image_once_in_order(union):
    batches = [toy.numpy(batch) for batch in evaluation_batches(union[1], [NUMBER], (32, 64), 2)]
    assert numbers(batches) == [9, 12, 10, 13, 11]  # the writer assigned records to three shards in rotation
    assert [len(images) for images, _ in batches] == [2, 2, 1]


def test_evaluation_batches_are_traced_once_and_read_anew(tmp_path):
    found = []
    for first in (0, 5):
        dataset = numbered(tmp_path / str(first), range(first, first + 3), 1)
        (tmp_path / "data").unlink(missing_ok=True)
        (tmp_path / "data").symlink_to(dataset.folder)
        found.append(evaluation_batches(open_dataset(tmp_path / "data"), [NUMBER], (32, 32), 3))
        assert numbers(toy.numpy(batch) for batch in found[-1]) == list(range(first, first + 3))
    assert found[0] is found[1]


def test_image_of_the_views_size_is_bit_identical_without_augmentation(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    toy.write_dataset(tmp_path / "d", [toy.record(image, {"scene": 0})], [toy.SCENE], 1)
    dataset = open_dataset(tmp_path / "d")
    (images, _), *_ = take([dataset], 1, [toy.SCENE], sizes=[toy.VIEW], batch_size=1, augment=PLAIN)
    np.testing.assert_array_equal(images[0], image)


@pytest.mark.parametrize("size", [(65, 64), (64, 33), (0, 64), (-32, 32)])
def test_size_that_is_no_multiple_of_32_is_refused(union, size):
    makers = (training_batches, union, [NUMBER], [(32, 32), size]), (evaluation_batches, union[0], [], size)
    for make, *arguments in makers:
        with pytest.raises(UserError, match=f"{size[0]}x{size[1]}.*multiples of 32"):
            make(*arguments, 2)


def test_datasets_without_records_are_refused(tmp_path):
    toy.write_dataset(tmp_path / "d", [], [NUMBER], 1)
    with pytest.raises(UserError, match="no records"):
        training_batches([open_dataset(tmp_path / "d")], [NUMBER], [(32, 32)], 2)
