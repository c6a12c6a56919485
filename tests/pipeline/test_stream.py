import collections
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from must_tf.errors import UserError
from must_tf.pipeline.mixing import Mixing
from must_tf.pipeline.stream import assign_shards, records
from must_tf.records import Dataset, Manifest, Shard

SEED = tf.constant([1, 2], tf.int64)


def written(folder, counts):
    """Writes a dataset of shards with these counts, whose records are `FOLDER/SHARD/NUMBER`."""
    folder.mkdir()
    shards = []
    for i, count in enumerate(counts):
        with tf.io.TFRecordWriter(str(folder / f"{i}")) as writer:
            for j in range(count):
                writer.write(f"{folder.name}/{i}/{j}")
        shards.append(Shard(f"{i}", count, 0, "", {}))
    return Dataset(folder, Manifest("d", "train", (), {}, {}, shards))


def draw(datasets, count, start=0, batch_size=1, streams=1, worker_streams=None, **fields):
    """Returns pairs (position in the stream of whole batches, name)."""
    stream = records(datasets, batch_size, SEED, start, streams=streams, worker_streams=worker_streams, **fields)
    drawn = [record.decode() for record in stream.take(count).as_numpy_iterator()]
    part = batch_size // streams
    own = [
        i
        for k in (range(streams) if worker_streams is None else worker_streams)
        for i in range(k * part, (k + 1) * part)
    ]
    return [((start + i // len(own)) * batch_size + own[i % len(own)], name) for i, name in enumerate(drawn)]


def names(drawn):
    return [name for _, name in drawn]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    return [written(folder / "a", [5, 0, 7, 30, *[1] * 40]), written(folder / "b", [9, 4, 4])]  # 82 and 17 records


@pytest.fixture(scope="module")
def whole(pair):
    return draw(pair, 400)


@pytest.mark.parametrize("start", [1, 16, 17, 81, 82, 98, 99, 100, 230])
def test_any_start_equals_skipping_records(pair, whole, start):
    assert draw(pair, 60, start) == whole[start : start + 60]


def test_every_epoch_of_the_union_holds_each_record_once(pair, whole):
    epochs = [sorted(names(whole)[i : i + 99]) for i in (0, 99, 198)]
    assert epochs[0] == epochs[1] == epochs[2] and len(set(epochs[0])) == 99
    assert names(whole)[:99] != names(whole)[99:198]


def test_records_of_a_shard_are_shuffled(pair, whole):
    places = {name: i for i, name in enumerate(names(whole)[:99])}
    in_order = [places[f"a/3/{i}"] for i in range(30)]
    assert in_order != sorted(in_order)


@pytest.mark.parametrize("start", [10**6 + 1, 10**12])
def test_distant_starts_agree_with_each_other(pair, start):
    assert names(draw(pair, 3, start))[1:] == names(draw(pair, 2, start + 1))


def test_weights_give_the_ratio_within_a_block(pair):
    drawn = names(draw(pair, 3000, mixing=Mixing({str(pair[1].folder): 2.0})))
    share = collections.Counter(name[0] for name in drawn)["b"] / 3000
    assert abs(share - 34 / 116) < 2 * 3 / 3000
    times = collections.Counter(name for name in drawn if name[0] == "b")
    assert max(times.values()) - min(times.values()) <= 1 and len(times) == 17


def test_weight_of_0_leaves_a_dataset_out(pair):
    assert {name[0] for name in names(draw(pair, 300, mixing=Mixing({str(pair[0].folder): 0})))} == {"b"}
    with pytest.raises(UserError, match="no records to train on"):
        records(pair, 1, SEED, mixing=Mixing({str(dataset.folder): 0 for dataset in pair}))


@pytest.mark.parametrize("start", [0, 7])
def test_streams_of_all_workers_make_up_the_whole_stream(pair, start):
    whole = draw(pair, 60, start, 6, streams=3)
    workers = draw(pair, 40, start, 6, streams=3, worker_streams=[0, 2]) + draw(
        pair, 20, start, 6, streams=3, worker_streams=[1]
    )
    assert sorted(workers) == whole


def test_streams_share_no_record_and_draw_all_their_records_each_epoch(pair):
    drawn = draw(pair, 600, 0, 6, streams=3)
    held = [{name for index, name in drawn if index % 6 // 2 == stream} for stream in range(3)]
    assert sum(map(len, held)) == len(set.union(*held)) == 99
    for stream, own in enumerate(held):
        of_stream = [name for index, name in drawn if index % 6 // 2 == stream]
        assert len(set(of_stream[: len(own)])) == len(own)


@given(st.lists(st.lists(st.integers(0, 100), min_size=4, max_size=30), min_size=1, max_size=3), st.integers(1, 4))
def test_every_shard_is_assigned_once_and_streams_differ_by_one_shard_at_most(counts, streams):
    datasets = []
    for each in counts:
        shards = [Shard(f"{i}", count + 1, 0, "", {}) for i, count in enumerate(each)]
        datasets.append(Dataset(Path("d"), Manifest("d", "train", (), {}, {}, shards)))
    assigned = assign_shards(datasets, streams)
    for i, dataset in enumerate(datasets):
        by_stream = [by_dataset[i] for by_dataset in assigned]
        assert sorted(np.concatenate(by_stream)) == list(range(len(dataset.manifest.shards)))
        totals = [dataset.manifest.shards.counts[shards].sum() for shards in by_stream]
        assert max(totals) - min(totals) <= max(shard.count for shard in dataset.manifest.shards)


def test_number_of_streams_that_does_not_fit_is_refused(pair):
    with pytest.raises(UserError, match="b: 3 shards with records, fewer than the 4 streams; take at most 3"):
        records(pair, 4, SEED, streams=4)
    with pytest.raises(UserError, match="3 streams: a batch of 4 images does not divide into 3 equal parts"):
        records(pair, 4, SEED, streams=3)
    for worker_streams in ([2], [-1], []):
        with pytest.raises(UserError, match=r"worker_streams \[.*\] received, expected some of 0 to 1"):
            records(pair, 4, SEED, streams=2, worker_streams=worker_streams)


def test_late_start_is_quick_and_reads_no_shard_before_it(tmp_path):
    dataset = written(tmp_path / "d", [500] * 40)
    order = names(draw([dataset], 20_000))
    late = 19_000  # in the last of three groups of shards
    groups = [{name.split("/")[1] for name in order[at]} for at in (slice(0, 6500), slice(late, None))]
    gone = groups[0] - groups[1]
    assert len(gone) >= 13
    for name in gone:
        (dataset.folder / name).unlink()
    began = time.process_time()
    assert names(draw([dataset], 1000, late)) == order[late:]
    assert time.process_time() - began < 5


def test_decimal_weights_are_exact_fractions():
    assert Mixing({"a": 0.3}).rates({Path("a"): 7}) == {Path("a"): Fraction(3, 10)}


def test_shards_are_shuffled_between_epochs(pair, whole):
    # if shards kept their order, the mean position of a record over epochs would depend on its shard
    places = collections.defaultdict(list)
    for i, name in enumerate(names(draw(pair[:1], 82 * 30))):
        places[name].append(i % 82)
    assert np.ptp([np.mean(places[name]) for name in places]) < 41
