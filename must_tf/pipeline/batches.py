"""Records → batches. The stream of training is a function of seed and position: it can be entered anywhere."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from must_tf.errors import UserError
from must_tf.geometry import Size
from must_tf.pipeline.augment import Augment, random_example, whole_example
from must_tf.records.reader import Dataset
from must_tf.records.schema import parse
from must_tf.tasks import Task

# Records that are shuffled together: serialised, so some 100 MB of photographs. Blocks instead of a sliding buffer,
# because their order can be computed from seed, epoch and block: a resumed run needs no stored state.
_SHUFFLED = 1024
_INTERLEAVED = 16  # shards that are read in turns


def training_batches(
    datasets: Sequence[Dataset],
    tasks: Sequence[Task],
    view_size: Size,
    batch_size: int,
    seed: int = 0,
    augment: Augment | None = None,
    start: int = 0,
) -> tf.data.Dataset:
    """Returns endless batches, drawn uniformly from the union of the datasets.

    An epoch holds each record of each dataset once, in an order of its own. Which tasks an image has labels of may
    differ: where one is absent, its target is empty.

    Args:
      datasets: one or more.
      tasks: what targets are made for.
      view_size: height and width that images are brought to, multiples of 32.
      batch_size: images a batch.
      seed: of the order and of the augmentation.
      augment: how images are changed; the defaults of `Augment` where None.
      start: batches to leave out at the start, as if they had been drawn.

    Returns:
      Batches (images uint8 [batch, height, width, 3], {task: target}).
    """
    check_size(view_size)
    total = sum(dataset.manifest.count for dataset in datasets)
    if not total:
        raise UserError(f"{', '.join(str(dataset.folder) for dataset in datasets)}: no records to train on")
    paths = tf.constant([path for dataset in datasets for path in dataset.paths])
    first, tasks, augment = start * batch_size, tuple(tasks), augment or Augment()

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), number])
        shuffle = tf.random.experimental.stateless_shuffle
        files = tf.data.Dataset.from_tensor_slices(shuffle(paths, epoch_seed))
        records = files.interleave(tf.data.TFRecordDataset, cycle_length=_INTERLEAVED)
        blocks = records.batch(_SHUFFLED).enumerate()
        return blocks.map(lambda i, block: shuffle(block, tf.random.fold_in(epoch_seed, i))).prefetch(1).unbatch()

    def example(index: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        example_seed = tf.stack([tf.constant(seed, tf.int64), index])
        return random_example(parse(serialized, tasks), tasks, view_size, augment, example_seed)

    epochs = tf.data.Dataset.range(first // total, tf.int64.max).flat_map(epoch).skip(first % total)
    indexed = tf.data.Dataset.zip(tf.data.Dataset.counter(first), epochs)
    examples = indexed.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size, drop_remainder=True).prefetch(4)


def evaluation_batches(dataset: Dataset, tasks: Sequence[Task], view_size: Size, batch_size: int) -> tf.data.Dataset:
    """Returns each image once, whole, in order: batches (images uint8, {task: target}); the last batch is short."""
    check_size(view_size)
    tasks = tuple(tasks)
    examples = tf.data.TFRecordDataset(dataset.paths).map(
        lambda serialized: whole_example(parse(serialized, tasks), tasks, view_size),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return examples.batch(batch_size).prefetch(2)


def check_size(view_size: Size) -> None:
    """Raises a `UserError` unless height and width are multiples of 32."""
    if any(side % 32 or side <= 0 for side in view_size):
        raise UserError(f"input size {view_size[0]}x{view_size[1]}: height and width must be multiples of 32")
