"""Opens sources by their names: folders, globs, list files, records, and prefixes such as `tfds:` or `coco:`."""

import functools
import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence

from must_tf.buckets import SCHEMES
from must_tf.errors import UserError, nearest
from must_tf.ranges import check_range
from must_tf.records.manifest import is_dataset
from must_tf.sources.ade20k import find_ade20k
from must_tf.sources.bdd100k import open_bdd100k
from must_tf.sources.choosing import Others, chosen, split_slice
from must_tf.sources.coco import find_coco, find_coco_masks, find_objects365
from must_tf.sources.decoding import MAX_PIXELS
from must_tf.sources.depth import find_depth
from must_tf.sources.diode import find_diode
from must_tf.sources.film import is_film, open_film
from must_tf.sources.hfdata import open_hfdata
from must_tf.sources.imagenet import find_classes, find_imagenet, find_multilabel
from must_tf.sources.images import open_images, printable
from must_tf.sources.joining import joined
from must_tf.sources.labelstudio import find_labelstudio
from must_tf.sources.layout import Layout, open_layout
from must_tf.sources.lookup import NAMES
from must_tf.sources.masks import find_masks
from must_tf.sources.merging import merged
from must_tf.sources.normals import find_normals
from must_tf.sources.records import find_human_labels, open_records
from must_tf.sources.renaming import renamed
from must_tf.sources.source import Source
from must_tf.sources.table import find_csv
from must_tf.sources.tfds_labels import open_labeled_tfds
from must_tf.sources.tfrecord import find_tfrecord_labels, open_tfrecords
from must_tf.sources.voc import find_voc
from must_tf.sources.yolo import find_yolo, find_yolo_masks
from must_tf.storage import local

# Layouts whose images may be anywhere: their functions take `root`.
_ANYWHERE: dict[str, Callable[..., Layout]] = {
    "coco:": find_coco,
    "coco_masks:": find_coco_masks,
    "yolo:": find_yolo,
    "yolo_masks:": find_yolo_masks,
    "voc:": find_voc,
    "csv:": find_csv,
    "labelstudio:": find_labelstudio,
}
_LAYOUTS: dict[str, Callable[..., Layout]] = {
    **_ANYWHERE,
    "masks:": find_masks,
    "depth:": find_depth,
    "normals:": find_normals,
    "ade20k:": find_ade20k,
    "diode:": find_diode,
    "objects365:": find_objects365,
    "imagenet:": find_imagenet,
    "classes:": find_classes,
    "multilabel:": find_multilabel,
}
# Sources that are divided into shards of `images_per_shard`.
_OPENERS: dict[str, Callable[..., Source]] = {
    "tfds:": open_labeled_tfds,
    "hfdata:": open_hfdata,
    "bdd100k:": open_bdd100k,
    "film:": open_film,
    **{prefix: functools.partial(open_layout, find) for prefix, find in _LAYOUTS.items()},
}
_PREFIXES = ("tfrecord:", *_OPENERS)
_PREFIX = re.compile(r"^\w{2,}:")
_SLICES = re.compile(r"(\[[^\[\]]*\])+$")  # steps of films, too
_LEAST_SHARE = 0.01  # of a slice whose shards are as large as those of the whole


def open_source(
    where: str | os.PathLike,
    images_per_shard: int = 1000,
    max_pixels: int = MAX_PIXELS,
    *,
    root: str | os.PathLike | None = None,
    tasks: Mapping[str, str] | None = None,
    merge: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Source:
    """Opens a collection of images, divided into shards.

    Args:
      where: several names separated by commas, or one of
        * a folder (searched recursively), a glob, or a list file (.txt, one path per line), here or in a bucket;
        * a folder of our records, here or in a bucket;
        * `tfrecord:GLOB`, one shard per file, with the labels of the Object Detection API if they have a label map;
        * `tfds:NAME[/CONFIG][:VERSION]/SPLIT`;
        * `hfdata:FOLDER/SPLIT` or `hfdata:FILE.parquet`, a dataset of Hugging Face on disk;
        * a film, or `film:` and a folder or a glob of films; `[::30]` behind it takes every 30th frame;
        * labels of your own: `coco:FILE.json`, `yolo:FOLDER/SPLIT` or `yolo:FOLDER`, `voc:FOLDER`, `csv:FILE.csv`,
          `labelstudio:FILE.json`; `coco_masks:` and `yolo_masks:` read the masks of objects, too,
          `classes:FOLDER/SPLIT` with one folder per class, `multilabel:FOLDER/SPLIT` for images with several classes,
          `masks:FOLDER/SPLIT`, `depth:FOLDER/SPLIT` and `normals:FOLDER/SPLIT`;
        * a labeled dataset in its publisher's layout: `voc:`, `ade20k:`, `diode:`, `coco:`, `objects365:`, `imagenet:`,
          `bdd100k:`.
        See the modules of these names. A slice may follow each: `photos[:90%]` and `photos[90%:]` share no image, and
        each image stays in its part when others are added, see `choosing.Slice`.
      images_per_shard: largest number of images in a shard; records and TFRecords keep their own shards.
      max_pixels: an image with more pixels is quarantined before it is decoded.
      root: the folder in which the images that labels name are looked for, at any depth, see `lookup.locate`; by
        default the places where they usually are. With `merge`, the images of the corrected labels.
      tasks: {new name: name of a task of the source}, see `renaming.renamed`. With `merge`, the corrected labels are
        those of the tasks that are named, see `merging.merged`.
      merge: corrected labels in the formats above, or records with labels by people. They win over those that the
        images have.
      without: folders of our records, whose images are left out.

    Raises:
      UserError: there is no such source, or it is not what its prefix says.
    """
    check_range("images_per_shard", images_per_shard, "[1, inf)")
    check_range("max_pixels", max_pixels, "[1, inf)")
    where, root = str(where), str(root) if root else None
    parts = split_names(where)
    of_images = None if merge else root
    anywhere = [part for part in parts if takes_root(part)]
    if of_images and not anywhere:
        raise UserError(f"--root={root}: received with {printable(where)}; expected with {', '.join(_ANYWHERE)} only")
    sources = {
        part: _open_slice(part, images_per_shard, max_pixels, of_images if part in anywhere else None) for part in parts
    }
    names = {} if merge else tasks or {}
    source = joined(sources, names) if len(parts) > 1 else renamed(sources[where], where, names)
    for folder in without:
        others = Others(folder)
        source = chosen(source, others, others.listing)
    labels = {name: found for one in merge for name, found in _find_labels(one, root).items()}
    return merged(source, labels, tasks or {}) if merge else source


def split_names(where: str) -> list[str]:
    """Returns the names of several sources, separated by commas. Commas of a name that lies on disk divide nothing."""
    names, rest = list[str](), where.split(",")
    while rest:
        length = next(n for n in range(len(rest), 0, -1) if n == 1 or _is_on_disk(",".join(rest[:n])))
        names.append(",".join(rest[:length]))
        rest = rest[length:]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise UserError(f"{printable(where)}: {printable(again) or 'an empty name'} is there twice; expected it once")
    return names


def _is_on_disk(name: str) -> bool:
    """Whether a name, without its prefix and slices, lies on disk; or its folder does, and has all of its commas."""
    path = _PREFIX.sub("", _SLICES.sub("", name))
    folder, _, last = path.rpartition("/")
    return any(map(os.path.lexists, (name, path))) or ("," not in last and os.path.lexists(folder))


def _open_slice(where: str, images_per_shard: int, max_pixels: int, root: str | None) -> Source:
    """Opens one source, or a slice of it, whose shards have about as many images as those of the whole."""
    whole, part = split_slice(where)
    if part is None:
        return _open(where, images_per_shard, max_pixels, root)
    larger = round(images_per_shard / max(part.share, _LEAST_SHARE))
    return chosen(_open(whole, larger, max_pixels, root), part, part.text)


def _open(where: str, images_per_shard: int, max_pixels: int, root: str | None) -> Source:
    if not where:
        raise UserError(
            f"images: no name given; expected a folder, a glob, a list file, or {' or '.join(_PREFIXES)}..."
        )
    name = _prefix(where)
    if not name and is_film(where):
        return open_film(where, images_per_shard, max_pixels)
    if not name:
        return open_records(where) if is_dataset(where) else open_images(where, images_per_shard, max_pixels)
    rest = where.removeprefix(name)
    if "://" in rest:
        local(rest, f"images={name}")
    if name == "tfrecord:":
        return open_tfrecords(rest, max_pixels)
    if name not in _OPENERS:
        raise UserError(f"{printable(where)}: unknown prefix {name!r}; {nearest(name, _PREFIXES)}")
    return _OPENERS[name](rest, images_per_shard, max_pixels, **({"root": root} if root else {}))


def _find_labels(where: str, root: str | None) -> dict[str, Layout]:
    """Finds corrected labels; their images need not be there, unless they are looked for in a root."""
    name = _prefix(where)
    rest = where.removeprefix(name)
    if not name and is_dataset(where):
        return {f"{where}: {found.task.name}": found for found in find_human_labels(where)}
    if name == "tfrecord:":
        return {f"{where}: {found.task.name}": found for found in find_tfrecord_labels(rest)}
    if name in ("tfds:", "hfdata:"):
        raise UserError(
            f"--merge={printable(where)}: expected labels in files; make records of these first, must label "
            f"--images={printable(where)} --out=DIR, and give --merge=DIR"
        )
    if name not in _LAYOUTS:
        raise UserError(
            f"--merge={printable(where)}: expected labels: {', '.join((*_LAYOUTS, 'tfrecord:'))}; or a folder of "
            "records, which `must label --images=... --out=DIR` makes of what else has labels"
        )
    return {where: _LAYOUTS[name](rest, root=root or NAMES) if name in _ANYWHERE else _LAYOUTS[name](rest)}


def _prefix(where: str) -> str:
    """Returns the prefix of a source's name, such as `coco:`; empty for what has none, lies on disk, or is a URL."""
    if where.partition("://")[0] in SCHEMES:
        return ""
    prefix = _PREFIX.match(where)
    return prefix[0] if prefix and not os.path.lexists(where) else ""


def takes_root(where: str) -> bool:
    """Whether the images of a source are looked for under a `root`, judged by the name alone."""
    return where.startswith(tuple(_ANYWHERE)) and not os.path.lexists(where)


def may_have_labels(where: str | os.PathLike) -> bool:
    """Whether `open_source` may find labels there, judged by the name alone; plain images have none."""
    return any(_one_may_have_labels(split_slice(part)[0]) for part in split_names(str(where)))


def _one_may_have_labels(where: str) -> bool:
    if os.path.lexists(where) or where.partition("://")[0] in SCHEMES:
        return is_dataset(where)
    return bool(_prefix(where)) or not glob.has_magic(where)
