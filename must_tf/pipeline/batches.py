"""Batches of images and targets for training and evaluation, as tf.data datasets.

A training batch is a function of the seed and the batch's number, so that a run resumes at any batch.
"""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.pipeline.augment import Augment, Change, random_changes, record_example, whole_example
from must_tf.pipeline.mixing import Mixing
from must_tf.pipeline.mosaic import IMAGES, are_mosaics, check_mosaic, mosaic_changes, mosaic_example
from must_tf.pipeline.stream import records
from must_tf.records import framing
from must_tf.records.reader import Dataset
from must_tf.records.schema import parse, parse_encoded
from must_tf.runtime.tracing import plain
from must_tf.tasks import Task


def training_batches(
    datasets: Sequence[Dataset],
    tasks: Sequence[Task],
    sizes: Sequence[Size],
    batch_size: int,
    seed: int = 0,
    augment: Augment | None = None,
    start: int = 0,
    mixing: Mixing | None = None,
    streams: int = 1,
    worker_streams: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Returns endless training batches; by default records are drawn uniformly from the union of the datasets.

    An epoch of a dataset holds each of its records once, in random order. With several streams, each stream goes
    through its own shards in epochs. Images may have labels of different tasks: where a label is absent, its target is
    empty. Batch `b` is a function of the arguments and `b`. It depends neither on the number of threads nor on the
    number of workers that share the streams.

    Args:
      datasets: one or more.
      tasks: tasks whose targets are made.
      sizes: heights and widths of the views, multiples of 32; with several sizes, each batch has one at random.
      batch_size: images per batch, a multiple of `streams`.
      seed: seed of the order, the sizes and the augmentation.
      augment: strength of the augmentation; the defaults of `Augment` where None.
      start: number of the first batch; the batches before it are skipped.
      mixing: how often each dataset is drawn from; uniformly from the union where None.
      streams: parts of a batch; each part is drawn from its own shards.
      worker_streams: streams of this worker; its batches consist of the parts of these streams. All where None.

    Returns:
      Batches (images uint8 [batch, height, width, 3], {task: target}).

    Raises:
      UserError: a bad size, no records, streams or a mixing that do not fit, or mosaics that do not fit the tasks.
    """
    for size in sizes:
        check_size(size)
    tasks, augment = tuple(tasks), augment or Augment()
    worker_streams = range(streams) if worker_streams is None else worker_streams
    check_mosaic(augment, tasks)
    order_seed, size_seed, change_seed = _seeds(seed)
    partners = IMAGES - 1 if augment.mosaic else 0
    serialized = records(datasets, batch_size, order_seed, start, mixing, streams, worker_streams, partners)
    positions = _positions(batch_size, streams, worker_streams)

    def draw(number: tf.Tensor) -> tuple[tf.Tensor, Change]:
        """Draws the size of a batch, which of its images are mosaics, and the augmentation parameters of its images."""
        seed = tf.random.fold_in(change_seed, number)
        changes = (mosaic_changes if partners else random_changes)(augment, batch_size, seed)
        branch = tf.random.stateless_uniform([], tf.random.fold_in(size_seed, number), 0, len(sizes), tf.int32)
        branch = tf.repeat(branch, batch_size)
        if partners:
            branch = 2 * branch + tf.cast(are_mosaics(augment, batch_size, seed), tf.int32)
        return tf.gather(branch, positions), Change(*(tf.gather(part, positions) for part in changes))

    @plain
    def example(drawn: tuple[tf.Tensor, Change], record: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        branch, change = drawn
        makers = [functools.partial(mosaic_example, record, change)] if partners else []
        if partners:
            record, change = record[0], Change(*(part[0] for part in change))
        makers = [functools.partial(record_example, record, change), *makers]
        branches = [functools.partial(make, tasks, size, augment) for size in sizes for make in makers]
        return branches[0]() if len(branches) == 1 else tf.switch_case(branch, branches)

    drawn = tf.data.Dataset.range(start, tf.int64.max).map(plain(draw)).unbatch()
    examples = tf.data.Dataset.zip(drawn, serialized).map(example, tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Images already run in parallel, and one thread per op gives the same sums on every machine.
    options.threading.max_intra_op_parallelism = 1
    batches = examples.batch(len(positions), drop_remainder=True)
    return batches.prefetch(4).with_options(options)


def _positions(batch_size: int, streams: int, worker_streams: Sequence[int]) -> list[int]:
    """Returns the places in a batch of the images of some streams."""
    part = batch_size // streams
    return [place for stream in worker_streams for place in range(stream * part, (stream + 1) * part)]


def batch_ids(
    datasets: Sequence[Dataset],
    batch_size: int,
    seed: int,
    number: int,
    mixing: Mixing | None = None,
    streams: int = 1,
    augment: Augment | None = None,
) -> list[str]:
    """Returns the `image/id` of each image of one batch of `training_batches`, in order.

    That of a mosaic consists of the ids of its four images, with spaces in between.

    Args:
      datasets: those given to `training_batches`, as are the arguments below.
      batch_size: images per batch.
      seed: seed of the run.
      number: number of the batch, from 0.
      mixing: how often each dataset is drawn from.
      streams: parts of a batch.
      augment: strength of the augmentation.
    """
    order_seed, _, change_seed = _seeds(seed)
    augment = augment or Augment()
    if not augment.mosaic:
        serialized = records(datasets, batch_size, order_seed, number, mixing, streams)
        return [_id(record) for record in serialized.take(batch_size)]
    serialized = records(datasets, batch_size, order_seed, number, mixing, streams, partners=IMAGES - 1)
    with tf.device("CPU"):
        seed_of_batch = tf.random.fold_in(change_seed, tf.constant(number, tf.int64))  # its type decides, too
        mosaics = are_mosaics(augment, batch_size, seed_of_batch)
    images = zip(mosaics, serialized.take(batch_size), strict=True)
    return [" ".join(map(_id, group if mosaic else group[:1])) for mosaic, group in images]


def evaluation_batches(dataset: Dataset, tasks: Sequence[Task], view_size: Size, batch_size: int) -> tf.data.Dataset:
    """Returns batches with each image once, whole and in order; the last batch may be smaller.

    Returns:
      Batches (images uint8 [batch, height, width, 3], {task: target}).
    """
    check_size(view_size)
    return _evaluation_batches(tuple(dataset.paths), tuple(tasks), tuple(view_size), batch_size)


@functools.lru_cache(maxsize=8)
def _evaluation_batches(
    paths: tuple[str, ...], tasks: tuple[Task, ...], view_size: Size, batch_size: int
) -> tf.data.Dataset:
    """See `evaluation_batches`: those of the same arguments are traced once, as a run evaluates again and again."""
    examples = framing.read_all(paths).map(
        plain(lambda serialized: whole_example(parse(serialized, tasks), tasks, view_size)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return examples.batch(batch_size).prefetch(2)


def check_size(view_size: Size) -> None:
    """Raises a `UserError` unless height and width are multiples of 32."""
    if any(side % 32 or side <= 0 for side in view_size):
        raise UserError(f"input size {view_size[0]}x{view_size[1]}: height and width must be multiples of 32")


def _id(serialized: tf.Tensor) -> str:
    """Returns the `image/id` of a record."""
    return parse_encoded(serialized, ())["id"].numpy().decode()


def _seeds(seed: int) -> list[tf.Tensor]:
    """Returns the seeds of the order, the sizes and the augmentation, int64 [2] each."""
    with tf.device("CPU"):
        return tf.unstack(tf.random.split(tf.constant([seed, 0], tf.int64), 3))
