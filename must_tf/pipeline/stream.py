"""Endless streams of records, each a function of seed and position: they store nothing and can be entered anywhere."""

from collections.abc import Sequence

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.pipeline.mixing import Mixing, Turns, shares
from must_tf.records import framing
from must_tf.records.manifest import Shard
from must_tf.records.reader import Dataset

# Records that are shuffled together, in all streams and datasets: serialized, so some 100 MB of photographs. Blocks
# instead of a sliding buffer, because their order can be computed from seed, epoch and block.
_SHUFFLED = 1024
_FEWEST = 64  # of a block, whatever the number of streams
_GROUP = 16  # shards that are read in turns


def records(
    datasets: Sequence[Dataset],
    batch_size: int,
    seed: tf.Tensor,
    start: int = 0,
    mixing: Mixing | None = None,
    streams: int = 1,
    worker_streams: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Returns the records of batches, one after another, without end.

    A batch has batch_size / streams records of each stream, in the order of streams. A stream draws from its shards of
    each dataset (see `assign_shards` and `Turns`), and goes through each dataset in epochs: each record once,
    in another order.

    Args:
      datasets: one or more.
      batch_size: records of a whole batch, a multiple of `streams`.
      seed: int64 [2].
      start: first batch.
      mixing: how often each dataset is drawn from.
      streams: how many.
      worker_streams: those whose records are returned; all where None.

    Returns:
      Serialized records.

    Raises:
      UserError: nothing to draw from, a bad mixing, or numbers that do not go together.
    """
    worker_streams = range(streams) if worker_streams is None else worker_streams
    if streams < 1 or batch_size % streams:
        raise UserError(f"{streams} streams: batches of {batch_size} images cannot be made of equal parts of them")
    if not set(worker_streams) <= set(range(streams)) or not worker_streams:
        raise UserError(f"streams {list(worker_streams)} of this worker: expected some of 0 to {streams - 1}")
    rates = (mixing or Mixing()).rates({dataset.folder: dataset.manifest.count for dataset in datasets})
    used = [dataset for dataset in datasets if dataset.manifest.count and rates[dataset.folder]]
    if not used:
        raise UserError(f"{', '.join(str(dataset.folder) for dataset in datasets)}: no records to train on")
    dealt = assign_shards(used, streams)
    totals = [sum(shard.count for shards in hands for shard in shards) for hands in dealt]
    if max(totals) > 2 * min(totals):
        raise UserError(
            f"{streams} streams: of {min(totals)} to {max(totals)} records, so that those of one would come more than "
            "twice as often; take fewer streams, or make the datasets again with smaller shards"
        )
    part = batch_size // streams
    block = max(_SHUFFLED // (streams * len(used)), _FEWEST)

    def stream(number: int) -> tf.data.Dataset:
        turns_seed, *seeds = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 1 + len(used)))
        counts = [sum(shard.count for shard in shards) for shards in dealt[number]]
        turns = Turns(shares([rates[dataset.folder] for dataset in used], counts), turns_seed)
        position = start * part
        sources = []
        for dataset, shards, order_seed, first in zip(used, dealt[number], seeds, turns.before(position), strict=True):
            paths = [str(dataset.folder / shard.name) for shard in shards]
            sources.append(epochs(paths, [shard.count for shard in shards], order_seed, first, block))
        return _choose(sources, turns.dataset(position))

    with tf.device("CPU"):
        turns = tf.data.Dataset.from_tensor_slices(
            tf.repeat(tf.range(len(worker_streams), dtype=tf.int64), part)
        ).repeat()
        return _choose([stream(number) for number in worker_streams], turns)


def assign_shards(datasets: Sequence[Dataset], streams: int) -> list[list[list[Shard]]]:
    """Deals each dataset's shards out to streams: the largest first, each to the stream with the fewest records.

    Returns:
      The shards with records, by stream, then by dataset.

    Raises:
      UserError: a dataset with fewer shards with records than streams.
    """
    totals = [0] * streams
    dealt: list[list[list[Shard]]] = [[] for _ in range(streams)]
    for dataset in datasets:
        shards = sorted((shard for shard in dataset.manifest.shards if shard.count), key=lambda shard: -shard.count)
        if len(shards) < streams:
            raise UserError(
                f"{dataset.folder}: {len(shards)} shards with records, fewer than the {streams} streams; "
                f"take at most {len(shards)} streams, or make the dataset again with more shards"
            )
        counts = [0] * streams
        for hands in dealt:
            hands.append([])
        for shard in shards:
            stream = min(range(streams), key=lambda i: (counts[i], totals[i]))
            counts[stream] += shard.count
            totals[stream] += shard.count
            dealt[stream][-1].append(shard)
    return dealt


def epochs(paths: Sequence[str], counts: Sequence[int], seed: tf.Tensor, start: int, block: int) -> tf.data.Dataset:
    """Returns the serialized records of some shards, endlessly, from a position on.

    In an epoch the shards come in random order, and are read in groups; the records of a group are shuffled block by
    block. Groups before the start are not read.

    Args:
      paths: of the shards.
      counts: records in each, at least 1.
      seed: int64 [2], of the order.
      start: the position.
      block: records that are shuffled together.
    """
    all_paths, all_counts = tf.constant(paths), tf.constant(counts, tf.int64)
    groups = -(-len(paths) // _GROUP)
    edges = tf.constant([len(paths) * group // groups for group in range(groups + 1)])
    first_epoch, first_record = divmod(start, sum(counts))
    shuffle, fold_in = tf.random.experimental.stateless_shuffle, tf.random.fold_in

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = fold_in(seed, number)
        order = shuffle(tf.range(len(paths)), epoch_seed)
        ends = tf.cumsum(tf.gather(all_counts, order))
        starts = tf.gather(tf.concat([[tf.constant(0, tf.int64)], ends], 0), edges)
        begin = tf.where(number == first_epoch, tf.constant(first_record, tf.int64), 0)

        def group(index: tf.Tensor) -> tf.data.Dataset:
            left_out = tf.maximum(begin - starts[index], 0)
            first_block, in_block = left_out // block, left_out % block
            files = tf.data.Dataset.from_tensor_slices(tf.gather(all_paths, order[edges[index] : edges[index + 1]]))
            records = files.interleave(framing.read, cycle_length=_GROUP).skip(first_block * block)
            group_seed = fold_in(epoch_seed, index)

            def shuffled(i: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
                return shuffle(part, fold_in(group_seed, i))[tf.where(i == first_block, in_block, 0) :]

            numbers = tf.data.Dataset.range(first_block, tf.int64.max)
            return tf.data.Dataset.zip(numbers, records.batch(block)).map(shuffled)

        begin_group = tf.searchsorted(starts, begin[tf.newaxis], "right", tf.int64)[0] - 1
        return tf.data.Dataset.range(begin_group, groups).flat_map(group)

    blocks = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch)
    return blocks.prefetch(1).unbatch()


def _choose(sources: list[tf.data.Dataset], turns: tf.data.Dataset) -> tf.data.Dataset:
    """Draws from the sources in turns."""
    return sources[0] if len(sources) == 1 else tf.data.Dataset.choose_from_datasets(sources, turns, False)
