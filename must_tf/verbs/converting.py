"""`must convert` as a function: writes records as files that other tools read."""

import os
from collections.abc import Sequence

from must_tf.convert import Converted, Selection
from must_tf.convert.images import COPY
from must_tf.convert.run import convert as convert_records
from must_tf.parsing import as_items
from must_tf.records import read_manifest
from must_tf.runtime.progress import Progress
from must_tf.sources.choosing import split_slice
from must_tf.sources.opening import split_names


def convert(
    data: str | os.PathLike,
    to: str,
    out: str | os.PathLike,
    images: str = COPY,
    root: str | None = None,
    *,
    tasks: str | Sequence[str] = (),
    classes: str | Sequence[str] = (),
    min_score: float = 0.0,
    origin: str | Sequence[str] = (),
    count: int = 0,
    order: str = "random",
    seed: int = 0,
    rename: str | Sequence[str] = (),
    against: str | os.PathLike = "",
) -> Converted:
    """Writes the labels of a dataset, and its images, in another format.

        must_tf.convert("data/photos", to="coco", out="exports/coco")

    Args:
      data: folder of records, or a slice of it, `a[:90%]`; for `records`, several: `a,b`.
      to: name of the format, from `must_tf.convert.FORMATS`, or `records`.
      out: folder for the files, new or empty.
      images: `copy`, `link` or `none`, see `must_tf.convert.run.convert`.
      root: for `link`: the folder that the names of files are relative to.
      tasks: to write; by default all that the format takes.
      classes: to write; by default all.
      min_score: least score of boxes and classes.
      origin: origins of labels to write, `human` or ids of teachers; by default all.
      count: number of images; 0 is all.
      order: which images `count` takes: `random`, `uncertain` for those with the lowest scores, or `disagreement` for
        those whose labels differ most from those of `against`.
      seed: of the random choice.
      rename: new names of tasks and classes, see `must_tf.convert.renames`.
      against: for `disagreement`: records of the same images with other labels, such as those made with flips.

    Returns:
      How many images and labels were written, and what was left out.

    Raises:
      UserError: see `must_tf.convert.run.convert`.
    """
    chosen = as_items(tasks), as_items(classes), min_score, as_items(origin)
    selection = Selection(*chosen, count, order, seed, as_items(rename), against=str(against))
    total = sum(read_manifest(split_slice(folder)[0]).count for folder in split_names(str(data)))
    progress = Progress("convert", total)
    if count:  # all are read before some are written
        progress = Progress("convert (2 passes)", 2 * total)
    return convert_records(data, to, out, selection, images, root, progress.update)
