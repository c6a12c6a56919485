"""Records → batches. Those of training are a function of seed and position: they can be entered anywhere."""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.pipeline.augment import Augment, Change, changed_example, random_changes, whole_example
from must_tf.pipeline.mixing import Mixing
from must_tf.pipeline.stream import records
from must_tf.records import framing
from must_tf.records.reader import Dataset
from must_tf.records.schema import parse, parse_encoded
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
    """Returns endless batches, drawn from the union of the datasets: by default uniformly.

    An epoch holds each record of each dataset once, in an order of its own; of several streams, each goes through its
    own shards so. Which tasks an image has labels of may differ: where one is absent, its target is empty. Batch `b` is
    a function of the arguments and `b`, whatever the number of workers that `streams` are shared among, and whatever
    the number of threads.

    Args:
      datasets: one or more.
      tasks: what targets are made for.
      sizes: height and width that images are brought to, multiples of 32; where there are several, each batch has one
        of them, drawn at random.
      batch_size: images a batch, a multiple of `streams`.
      seed: of the order, the sizes and the augmentation.
      augment: how images are changed; the defaults of `Augment` where None.
      start: batches to leave out at the start, as if they had been drawn.
      mixing: how often each dataset is drawn from; uniformly from the union where None.
      streams: parts of a batch, which come from different shards.
      worker_streams: the streams of this worker, whose batches are the parts of these streams; all where None.

    Returns:
      Batches (images uint8 [batch, height, width, 3], {task: target}).
    """
    for size in sizes:
        check_size(size)
    tasks, augment, worker_streams = (
        tuple(tasks),
        augment or Augment(),
        range(streams) if worker_streams is None else worker_streams,
    )
    order_seed, size_seed, change_seed = _seeds(seed)
    serialized = records(datasets, batch_size, order_seed, start, mixing, streams, worker_streams)
    places = [
        i
        for stream in worker_streams
        for i in range(batch_size)[stream * batch_size // streams :][: batch_size // streams]
    ]

    def chance(number: tf.Tensor) -> tuple[tf.Tensor, Change]:
        """Which size, and which change, each image of a batch has."""
        changes = random_changes(augment, batch_size, tf.random.fold_in(change_seed, number))
        which = tf.random.stateless_uniform([], tf.random.fold_in(size_seed, number), 0, len(sizes), tf.int32)
        return tf.repeat(which, len(places)), Change(*(tf.gather(part, places) for part in changes))

    def example(drawn: tuple[tf.Tensor, Change], one: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        parsed, (which, change) = parse_encoded(one, tasks), drawn
        ways = [functools.partial(changed_example, parsed, tasks, size, change, augment.color > 0) for size in sizes]
        return ways[0]() if len(ways) == 1 else tf.switch_case(which, ways)

    chances = tf.data.Dataset.range(start, tf.int64.max).map(chance).unbatch()
    examples = tf.data.Dataset.zip(chances, serialized).map(example, tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1  # images are parallel already; and sums depend on no machine
    batches = examples.batch(len(places), drop_remainder=True)
    return batches.prefetch(4).with_options(options)


def batch_ids(
    datasets: Sequence[Dataset],
    batch_size: int,
    seed: int,
    number: int,
    mixing: Mixing | None = None,
    streams: int = 1,
) -> list[str]:
    """Returns the `image/id` of each image of a batch of `training_batches`, in order.

    Args:
      datasets: as for `training_batches`, and so the others.
      batch_size: images a batch.
      seed: of the run.
      number: of the batch, from 0.
      mixing: how often each dataset is drawn from.
      streams: parts of a batch.
    """
    serialized = records(datasets, batch_size, _seeds(seed)[0], number, mixing, streams)
    return [parse_encoded(one, ())["id"].numpy().decode() for one in serialized.take(batch_size)]


def evaluation_batches(dataset: Dataset, tasks: Sequence[Task], view_size: Size, batch_size: int) -> tf.data.Dataset:
    """Returns each image once, whole, in order: batches (images uint8, {task: target}); the last batch is short."""
    check_size(view_size)
    tasks = tuple(tasks)
    examples = framing.read_all(dataset.paths).map(
        lambda serialized: whole_example(parse(serialized, tasks), tasks, view_size),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return examples.batch(batch_size).prefetch(2)


def check_size(view_size: Size) -> None:
    """Raises a `UserError` unless height and width are multiples of 32."""
    if any(side % 32 or side <= 0 for side in view_size):
        raise UserError(f"input size {view_size[0]}x{view_size[1]}: height and width must be multiples of 32")


def _seeds(seed: int) -> list[tf.Tensor]:
    """Returns seeds of the order, the sizes and the augmentation, int64 [2] each."""
    with tf.device("CPU"):
        return tf.unstack(tf.random.split(tf.constant([seed, 0], tf.int64), 3))
