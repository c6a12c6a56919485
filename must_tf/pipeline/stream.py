"""Endless shuffled streams of records, shared among workers; a stream can start at any position without stored state.

Each record of a stream is a function of the seed and the position.
"""

import functools
import heapq
import itertools
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.pipeline.mixing import DrawOrder, Mixing, shares
from must_tf.records import framing, shard_cache
from must_tf.records.reader import Dataset
from must_tf.runtime.tracing import plain
from must_tf.storage import location

# Serialized records that are held for shuffling, over all streams and datasets: some 100 MB of photographs. They are
# shuffled in blocks and not through a sliding buffer, because the order of a block can be computed from seed, epoch and
# block.
_SHUFFLE_SIZE = 1024
_MIN_BLOCK = 64  # records of a block, whatever the number of streams
_GROUP = 16  # shards that are interleaved


def records(
    datasets: Sequence[Dataset],
    batch_size: int,
    seed: tf.Tensor,
    start: int = 0,
    mixing: Mixing | None = None,
    streams: int = 1,
    worker_streams: Sequence[int] | None = None,
    partners: int = 0,
) -> tf.data.Dataset:
    """Returns the records of all batches, one after another, without end.

    A batch has batch_size / streams records of each stream, in the order of the streams. A stream owns some shards of
    each dataset (see `assign_shards`) and draws from them in the order of `DrawOrder`. It goes through its shards of a
    dataset in epochs: each record once per epoch, in another order each time.

    Args:
      datasets: one or more.
      batch_size: records of a whole batch, a multiple of `streams`.
      seed: int64 [2].
      start: number of the first batch.
      mixing: how often each dataset is drawn from.
      streams: number of streams.
      worker_streams: streams of this worker, whose records are returned; all where None.
      partners: number of records that accompany each record. They are drawn at random from those that are shuffled
        together with it, and so are of its dataset and its stream; none is read twice for them. The order of the
        records does not depend on them.

    Returns:
      Serialized records, string []. With partners, string [1 + partners]: the record and its partners.

    Raises:
      UserError: no records to draw from, a bad mixing, or a number of streams that fits neither the batch size nor the
        shards.
    """
    worker_streams = range(streams) if worker_streams is None else worker_streams
    if streams < 1 or batch_size % streams:
        raise UserError(f"{streams} streams: a batch of {batch_size} images does not divide into {streams} equal parts")
    if not set(worker_streams) <= set(range(streams)) or not worker_streams:
        raise UserError(f"worker_streams {list(worker_streams)} received, expected some of 0 to {streams - 1}")
    rates = (mixing or Mixing()).rates({dataset.folder: dataset.manifest.count for dataset in datasets})
    used = [dataset for dataset in datasets if dataset.manifest.count and rates[dataset.folder]]
    if not used:
        raise UserError(f"{', '.join(str(dataset.folder) for dataset in datasets)}: no records to train on")
    assigned = assign_shards(used, streams)
    counts_of = [dataset.manifest.shards.counts for dataset in used]
    records_of = [
        [int(counts[own].sum()) for counts, own in zip(counts_of, of_stream, strict=True)] for of_stream in assigned
    ]  # by stream and dataset
    totals = list(map(sum, records_of))
    if max(totals) > 2 * min(totals):
        raise UserError(
            f"{streams} streams: the smallest has {min(totals)} records and the largest {max(totals)}, so that records "
            "of the smallest would be drawn more than twice as often; take fewer streams, or make the datasets again "
            "with smaller shards"
        )
    _check_cache([assigned[number] for number in worker_streams], used)
    part = batch_size // streams
    block = max(_SHUFFLE_SIZE // (streams * len(used)), _MIN_BLOCK)

    def stream(number: int) -> tf.data.Dataset:
        draw_seed, *seeds = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 1 + len(used)))
        order = DrawOrder(shares([rates[dataset.folder] for dataset in used], records_of[number]), draw_seed)
        position = start * part
        starts = order.counts_before(position)
        sources = []
        for dataset, own, epoch_seed, first in zip(used, assigned[number], seeds, starts, strict=True):
            paths, counts = list(map(dataset.path, own.tolist())), dataset.manifest.shards.counts[own].tolist()
            sources.append(epochs(paths, counts, epoch_seed, first, block, partners))
        return _choose(sources, order.dataset(position))

    with tf.device("CPU"):
        choices = tf.data.Dataset.from_tensor_slices(
            tf.repeat(tf.range(len(worker_streams), dtype=tf.int64), part)
        ).repeat()
        return _choose([stream(number) for number in worker_streams], choices)


def assign_shards(datasets: Sequence[Dataset], streams: int) -> list[list[np.ndarray]]:
    """Assigns the shards of each dataset to streams: the largest first, each to the stream with the fewest records.

    Returns:
      The numbers of the shards, int64, by stream, then by dataset; empty shards are left out.

    Raises:
      UserError: a dataset has fewer shards with records than there are streams.
    """
    totals = [0] * streams
    assigned: list[list[np.ndarray]] = [[] for _ in range(streams)]
    for dataset in datasets:
        counts = dataset.manifest.shards.counts
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        if len(order) < streams:
            raise UserError(
                f"{dataset.folder}: {len(order)} shards with records, fewer than the {streams} streams; "
                f"take at most {len(order)} streams, or make the dataset again with more shards"
            )
        fewest = [(0, total, stream) for stream, total in enumerate(totals)]  # records of this dataset, and of all
        heapq.heapify(fewest)
        own = [array("q") for _ in range(streams)]
        for shard, count in zip(order.tolist(), counts[order].tolist(), strict=True):
            here, total, stream = fewest[0]
            heapq.heapreplace(fewest, (here + count, total + count, stream))
            own[stream].append(shard)
        for _, total, stream in fewest:
            totals[stream] = total
        for by_dataset, shards in zip(assigned, own, strict=True):
            by_dataset.append(np.array(shards, np.int64))
    return assigned


def epochs(
    paths: Sequence[str], counts: Sequence[int], seed: tf.Tensor, start: int, block: int, partners: int = 0
) -> tf.data.Dataset:
    """Returns the serialized records of some shards, endlessly, from a position on.

    In each epoch the order of the shards is random. Shards are read in groups, interleaved, and the records of a group
    are shuffled block by block. Groups before the start are not read.

    Args:
      paths: paths of the shards.
      counts: number of records in each shard, at least 1.
      seed: int64 [2], seed of the order.
      start: position of the first record.
      block: number of records that are shuffled together.
      partners: number of records of its block that accompany each record; see `records`.
    """
    all_paths, all_counts = tf.constant(paths), tf.constant(counts, tf.int64)
    groups = -(-len(paths) // _GROUP)
    edges = tf.constant([len(paths) * min(group, groups) // groups for group in range(groups + 2)])
    in_bucket, advance = isinstance(location(paths[0]), Remote), functools.partial(_advance, next(_readers))
    first_epoch, first_record = divmod(start, sum(counts))
    shuffle, fold_in = tf.random.experimental.stateless_shuffle, tf.random.fold_in

    @plain
    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = fold_in(seed, number)
        order = shuffle(tf.range(len(paths)), epoch_seed)
        ends = tf.cumsum(tf.gather(all_counts, order))
        starts = tf.gather(tf.concat([[tf.constant(0, tf.int64)], ends], 0), edges)
        begin = tf.where(number == first_epoch, tf.constant(first_record, tf.int64), 0)

        def group(index: tf.Tensor) -> tf.data.Dataset:
            skipped = tf.maximum(begin - starts[index], 0)
            first_block, in_block = skipped // block, skipped % block
            now = tf.gather(all_paths, order[edges[index] : edges[index + 1]])
            if in_bucket:
                following = tf.gather(all_paths, order[edges[index + 1] : edges[index + 2]])
                now = tf.ensure_shape(tf.numpy_function(advance, [now, following], tf.string), [None])
            files = tf.data.Dataset.from_tensor_slices(now)
            records = files.interleave(framing.read, cycle_length=_GROUP).skip(first_block * block)
            group_seed = fold_in(epoch_seed, index)

            def shuffled(i: tf.Tensor, part: tf.Tensor) -> Any:
                block_seed, left_out = fold_in(group_seed, i), tf.where(i == first_block, in_block, 0)
                part = shuffle(part, block_seed)
                return (part, _picks(part, partners, block_seed)[left_out:]) if partners else part[left_out:]

            numbers = tf.data.Dataset.range(first_block, tf.int64.max)
            return tf.data.Dataset.zip(numbers, records.batch(block)).map(shuffled)

        begin_group = tf.searchsorted(starts, begin[tf.newaxis], "right", tf.int64)[0] - 1
        return tf.data.Dataset.range(begin_group, groups).flat_map(group)

    blocks = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)
    return blocks.prefetch(1).flat_map(plain(_picked)) if partners else blocks.prefetch(1).unbatch()


_readers = itertools.count()  # numbers of those who read shards in buckets


def _advance(reader: int, now: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Fetches shards in buckets that are read now and next, see `ShardCache.advance`; returns those of now."""
    shard_cache.shared().advance(reader, *([path.decode() for path in paths] for paths in (now, following)))
    return now


def _check_cache(streams: Sequence[Sequence[np.ndarray]], datasets: Sequence[Dataset]) -> None:
    """Raises a `UserError` unless the shards in buckets that are read at the same time fit into the cache.

    Args:
      streams: numbers of the shards of each stream by dataset.
      datasets: those datasets.
    """
    wanted = 0
    for by_dataset in streams:
        for dataset, own in zip(datasets, by_dataset, strict=True):
            if isinstance(dataset.folder, Remote):
                wanted += int(np.sort(dataset.manifest.shards.bytes[own])[-_GROUP:].sum())
    if wanted > shard_cache.most_bytes():
        raise UserError(
            f"--cache_gb={shard_cache.most_bytes() / shard_cache.GB:g}: the shards in buckets that are read at the "
            f"same time have up to {wanted / shard_cache.GB:.2g} GB; give more, or records with smaller shards"
        )


def _picks(part: tf.Tensor, partners: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns the numbers in its block of each record and of its random partners, int32 [records, 1 + partners]."""
    count = tf.size(part)
    drawn = tf.random.stateless_uniform([count, partners], tf.random.fold_in(seed, 0), 0, count, tf.int32)
    return tf.concat([tf.range(count)[:, tf.newaxis], drawn], 1)


def _picked(part: tf.Tensor, picks: tf.Tensor) -> tf.data.Dataset:
    """Returns the records of each row of picks; the block itself is held once, because records are large."""
    return tf.data.Dataset.from_tensor_slices(picks).map(lambda row: tf.gather(part, row))


def _choose(sources: list[tf.data.Dataset], choices: tf.data.Dataset) -> tf.data.Dataset:
    """Draws from the sources in the order of `choices`, int64 numbers of sources."""
    return sources[0] if len(sources) == 1 else tf.data.Dataset.choose_from_datasets(sources, choices, False)
