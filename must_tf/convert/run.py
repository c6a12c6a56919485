"""Converts records into the files that other tools read."""

import collections
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from must_tf.convert.classes import Csv, Folders
from must_tf.convert.coco import Coco
from must_tf.convert.depth import DepthMaps
from must_tf.convert.format import Format
from must_tf.convert.imagefolder import ImageFolder
from must_tf.convert.images import COPY, MODES, NONE, Images, root_of
from must_tf.convert.labelstudio import LabelStudio
from must_tf.convert.masks import Masks
from must_tf.convert.names import Names
from must_tf.convert.normals import NormalMaps
from must_tf.convert.records import RECORDS, convert_records
from must_tf.convert.selection import Selected, Selection, choose_tasks
from must_tf.convert.voc import Voc
from must_tf.convert.yolo import Yolo
from must_tf.copies import mirrored, publish
from must_tf.errors import UserError, nearest
from must_tf.records import HUMAN, Dataset, Record, check_folder, noted, open_dataset
from must_tf.records.writer import PLAN
from must_tf.sources.choosing import Slice, split_slice
from must_tf.sources.opening import split_names
from must_tf.sources.records import group_of
from must_tf.storage import location, locked, write_json
from must_tf.tasks import Task

FORMATS: dict[str, type[Format]] = {
    "coco": Coco, "yolo": Yolo, "voc": Voc, "masks": Masks, "depth": DepthMaps, "normals": NormalMaps, "csv": Csv,
    "folders": Folders, "labelstudio": LabelStudio, "imagefolder": ImageFolder,
}  # fmt: skip
_ALL = Selection()
_UNFINISHED = ".unfinished"


@dataclasses.dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
      count: images with their labels.
      labels: how many images have a label, by task.
      lines: what was left out or changed, one line each.
    """

    count: int
    labels: dict[str, int]
    lines: list[str]


def convert(
    data: str | os.PathLike,
    to: str,
    out: str | os.PathLike,
    selection: Selection = _ALL,
    images: str = COPY,
    root: str | None = None,
    progress: Callable[[], Any] = lambda: None,
) -> Converted:
    """Writes the labels of a dataset, and its images, in another format.

    The folder has its files when all of them are written. A run that was killed leaves a hidden folder in it; the same
    command starts again, and gives what one run gives. Memory does not grow with the number of images.

    Args:
      data: folder of records, or a slice of one, such as `data[:50%]`; for `records`, several, see `convert_records`.
      to: name of the format, from `FORMATS`, or `records`.
      out: folder for the files, here or in a bucket; new, empty, or left by the same conversion, unfinished.
      selection: of labels and images; by default all.
      images: `copy` writes the stored images beside the labels, `link` links to the files that they came from, `none`
        leaves them where they are.
      root: for `link`: the folder that the file names in the records are relative to; by default the folder of images
        that the records were made from.
      progress: called after each record that is read; with `selection.count`, all of them are read twice.

    Raises:
      UserError: the format is unknown, or does not take the tasks; there is no such task, class or origin; `out` holds
        other files; a file that is to be linked is missing; no image has a label that is selected.
    """
    if to == RECORDS:
        return _to_records(str(data), out, selection, images, root, progress)
    form = format_of(to, images)
    several = split_names(str(data))
    if len(several) > 1:
        joined = f"must convert {data} --to=records --out=DIR"
        raise UserError(f"{data}: {len(several)} folders received; {to} takes one: join them first, {joined}")
    folder_of_data, part = split_slice(several[0])
    dataset = open_dataset(folder_of_data)
    manifest = dataset.manifest
    origins = {HUMAN, *(origin for of in manifest.counts.values() for origin in of)}
    tasks, left_out = choose_tasks(str(data), manifest.tasks, origins, form, selection)
    folder = root_of(manifest, root, images)
    selected = Selected(tasks, selection)
    read = _Read(dataset, tasks, selection.numbers, part, progress)
    arguments = _arguments(dataset, to, selection, images, root) | ({"slice": part.text} if part else {})
    check_folder(location(out), arguments)  # before anything is copied from a bucket
    with mirrored(out) as place, _whole(place, arguments) as staging:
        license = str(dataset.manifest.source.get("license") or "")
        writer = form(staging, selected.tasks, dataset.manifest.split, license)
        names = Names(staging / ".names", images != NONE, writer.by_stem, form.spaces, form.no_folder)
        files = Images(images, folder)
        labels = collections.Counter[str]({task.name: 0 for task in selected.tasks})
        notes = collections.Counter[str]()
        count = 0
        writer.start()
        for record in selected.records(read):
            name = names.name(record)
            files.put(record, staging / writer.place(record, name))
            writer.add(record, name)
            labels.update(list(record.labels))
            notes.update(record.notes)
            count += 1
        if not count:
            none = f"{data}: none of {dataset.manifest.count} images has a label that is selected"
            raise UserError("; ".join((none, *read.lines())))
        writer.finish()
        names.close()
    lines = [*left_out, *read.lines(), *noted([notes]), *_lines(selected, names, files, writer)]
    return Converted(count, dict(labels), lines)


class _Read:
    """Reads the records of a dataset, those of some numbers, or those of a slice; a call is one pass over them."""

    def __init__(
        self,
        dataset: Dataset,
        tasks: Sequence[Task],
        numbers: Sequence[int],
        part: Slice | None,
        progress: Callable[[], Any],
    ):
        self._dataset, self._tasks, self._numbers, self._part = dataset, tasks, frozenset(numbers), part
        self._progress, self._outside = progress, 0

    def __call__(self) -> Iterator[Record]:
        self._outside = 0
        for record in self._records():
            if self._part is None or self._part.keeps(group_of(record) or record.id):
                yield record
            else:
                self._outside += 1
            self._progress()

    def lines(self) -> list[str]:
        """Returns what the last pass left out."""
        return [f"left out: {self._part.reason}: {self._outside}"] if self._part and self._outside else []

    def _records(self) -> Iterable[Record]:
        if not self._numbers:
            return self._dataset.records(tasks=self._tasks)
        places = (place for number, place in enumerate(self._dataset.places()) if number in self._numbers)
        return (self._dataset.read(place, self._tasks) for place in places)


def _to_records(
    data: str, out: str | os.PathLike, selection: Selection, images: str, root: str | None, progress: Callable[[], Any]
) -> Converted:
    """Writes records of records, which hold their images."""
    if images != COPY or root:
        raise UserError("--images, --root: received with --to=records, which hold their images; leave them out")
    if selection.numbers:
        raise UserError("numbers: received with --to=records; expected with a format of other tools alone")
    manifest, lines = convert_records(data, location(out), selection, progress)
    labels = {task: sum(origins.values()) for task, origins in manifest.counts.items()}
    lines += [f"left out: {reason}: {count}" for reason, count in manifest.left_out.items()]
    return Converted(manifest.count, labels, lines + manifest.warnings)


def _arguments(dataset: Dataset, to: str, selection: Selection, images: str, root: str | None) -> dict[str, Any]:
    """Returns what decides the files, as JSON values."""
    shards = list(dataset.manifest.shards.digests())
    value = {"to": to, "shards": shards, "images": images, "root": root} | dataclasses.asdict(selection)
    return json.loads(json.dumps(value))


def _no_format(name: str) -> str:
    if name == RECORDS:
        return "is no format of other tools, and cannot be corrected; expected one of them"
    return f"no such format; {nearest(name, (*FORMATS, RECORDS))}"


def format_of(name: str, images: str) -> type[Format]:
    """Returns a format by its name, or raises a `UserError` if there is none, or images cannot be had so."""
    if name not in FORMATS:
        raise UserError(f"--to={name}: {_no_format(name)}")
    if images not in MODES:
        raise UserError(f"--images={images}: {nearest(images, MODES)}")
    if images == NONE and FORMATS[name].needs_images:
        raise UserError(f"--images=none: {name} needs the image files; give --images=copy or --images=link")
    return FORMATS[name]


def _lines(selected: Selected, names: Names, files: Images, writer: Format) -> list[str]:
    """Returns what was left out or changed, one line each."""
    counts = {
        "images without such a label": selected.unlabeled,
        "images with another name, because theirs was missing, taken or no file's": names.changed,
        "labels in hidden files, as the images are hidden: most readers pass over them": names.hidden,
        "images that are copied and not linked, because the records hold other bytes than the files": files.stored,
    }
    counts |= {f"left out: {what}": number for what, number in writer.left_out.items()}
    return [f"{what}: {number}" for what, number in counts.items() if number]


@contextmanager
def _whole(out: Path, arguments: dict[str, Any]) -> Iterator[Path]:
    """Yields a folder whose files get their place in `out` when the block ends without an error.

    Raises:
      UserError: `out` holds what no unfinished conversion of these arguments left, or another one is at work there.
    """
    staging = out / _UNFINISHED
    with locked(out):
        check_folder(out, arguments)
        write_json(out / PLAN, arguments)
        publish(out)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        except BaseException:  # as of wrong arguments: others may be given next
            shutil.rmtree(staging)
            (out / PLAN).unlink()
            raise
        os.sync()  # one call for all files
        for path in sorted(staging.iterdir()):
            place = out / path.name
            if place.is_dir():  # a kill came between two of these
                shutil.rmtree(place)
            path.rename(place)
        staging.rmdir()
        (out / PLAN).unlink()
