"""Reads the encoded images of TensorFlow Datasets (TFDS) that are prepared on this machine, without their labels."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from must_tf.errors import UserError, nearest
from must_tf.sources.decoding import Look, decode, in_order, to_record
from must_tf.sources.source import Entry, Source, fingerprint, without_copies

_IMAGE = "image"
_MANUAL_DOWNLOADS = {  # datasets that TFDS cannot download
    "imagenet2012": "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org into downloads/manual "
    "there, and ",
}


def open_tfds(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens a split of a dataset, divided into even shards.

    Args:
      spec: `NAME[/CONFIG][:VERSION]/SPLIT` with a split in TFDS's syntax: `cifar10/train`, `cifar10:3.0.2/test[:500]`,
        `voc/2007/train[:50%]+validation`. TFDS's numbers and sums follow the order on disk, which it has shuffled; a
        single slice of shares is that of any source, see `choosing.split_slice`. The dataset is looked up
        where TFDS keeps its datasets (`TFDS_DATA_DIR`, or ~/tensorflow_datasets); nothing is downloaded.
      images_per_shard: largest number of images in a shard.
      max_pixels: see `to_record`.

    Raises:
      UserError: the dataset is not prepared, the split is unknown, or there is no feature `image` of 8 or 16 bits.
    """
    name, _, split = spec.rpartition("/")
    if not (name and split):
        raise UserError(f"tfds:{spec}: expected tfds:NAME[/CONFIG][:VERSION]/SPLIT, such as tfds:cifar10/train")
    builder = _prepared(name)
    where = f"tfds:{spec}"
    _check_image(where, builder.info.features)
    if (form := builder.info.file_format.value) == "array_record":
        raise UserError(f"{where}: is stored as {form}; prepare it with `tfds build {name} --file_format=tfrecord`")
    known = list(builder.info.splits)
    for part in split_names(split):
        if part not in known:
            raise UserError(f"{where}: no split {part!r}; {nearest(part, known)}")
    try:
        count = builder.info.splits[split].num_examples
    except (ValueError, AssertionError) as error:  # the slice in brackets
        raise UserError(f"{where}: not a slice of a split: {' '.join(str(error).split())}") from None
    if not count:
        raise UserError(f"{where}: has no image")
    total = math.ceil(count / images_per_shard)
    folder = str(builder.data_dir)
    shards = tuple(functools.partial(read_tfds, folder, split, index, total, max_pixels) for index in range(total))
    sizes = [f"{part.name} {part.num_bytes} {part.shard_lengths}" for part in builder.info.splits.values()]
    listing = fingerprint(text.encode() for text in (builder.info.full_name, split, *sizes))
    return Source(count, listing, (), {}, shards)


def split_names(split: str) -> list[str]:
    """Returns the names of the splits in an expression of TFDS: train and test for `train[:90%]+test`."""
    return [part.partition("[")[0].strip() for part in split.split("+")]


def read_tfds(folder: str, split: str, index: int, total: int, max_pixels: int, look: Look = decode) -> Iterator[Entry]:
    """Yields part `index` of `total` of a split as records without labels; copies of an image are quarantined.

    Args:
      folder: where the dataset is prepared.
      split: a split in TFDS's syntax.
      index: number of the part, from 0.
      total: number of parts.
      max_pixels: see `to_record`.
      look: see `to_record`.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    examples = builder.as_dataset(
        split=tfds.even_splits(split, total)[index],
        decoders=tfds.decode.PartialDecoding({_IMAGE: True}, {_IMAGE: tfds.decode.SkipDecoding()}),
        read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False),
    )

    def entry(example: dict[str, bytes]) -> Entry:
        name = example["tfds_id"].decode("utf-8", "backslashreplace")
        return to_record(f"{builder.name}: {name}", example[_IMAGE], max_pixels, look)

    return without_copies(in_order(entry, examples.as_numpy_iterator()))


def _prepared(name: str) -> Any:
    """Returns the builder of a dataset on disk; the code that generates the dataset is not imported."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    try:
        return read_only_builder.builder_from_files(name)
    except tfds.core.DatasetNotFoundError:
        plain = name.partition(":")[0].partition("/")[0]
        known = tfds.list_builders(with_community_datasets=False)
        places = ", ".join(map(str, tfds.core.utils.file_utils.list_data_dirs()))
        if plain in known:
            remedy = f"{_MANUAL_DOWNLOADS.get(plain, '')}run `tfds build {name}`, or set TFDS_DATA_DIR to where it is"
        else:
            near = nearest(plain, known)
            remedy = near if near.startswith("did you mean") else "set TFDS_DATA_DIR to where it is"
        raise UserError(f"tfds:{name}: not prepared in {places}; {remedy}") from None
    except ValueError as error:
        raise UserError(f"tfds:{name}: {' '.join(str(error).split())}") from None


def _check_image(where: str, features: Any) -> None:
    import tensorflow_datasets as tfds

    known = sorted(features) if isinstance(features, tfds.features.FeaturesDict) else []
    feature = features[_IMAGE] if _IMAGE in known else None
    if not isinstance(feature, tfds.features.Image):
        raise UserError(f"{where}: has no image feature {_IMAGE!r}; its features: {', '.join(known)}")
    if (kind := np.dtype(feature.np_dtype).name) not in ("uint8", "uint16"):
        raise UserError(f"{where}: its images are {kind}; expected uint8 or uint16")
