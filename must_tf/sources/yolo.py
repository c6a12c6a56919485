"""Reads boxes and polygons in the format of YOLO: data.yaml of Ultralytics and Roboflow, or folders with a classes.txt.

One .txt per image has a line per object: its class and cx, cy, width, height in fractions of the picture, or its class
and the corners of a polygon.
"""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import read_yaml, short
from must_tf.records import Record
from must_tf.sources import polygons
from must_tf.sources.class_list import read_class_list
from must_tf.sources.coco import without_mask
from must_tf.sources.disk_list import DiskList, repeated
from must_tf.sources.images import find_images, printable
from must_tf.sources.layout import ROUNDING, Item, Layout, pixel_boxes, require_size
from must_tf.sources.lookup import files_under, locate, visible_images
from must_tf.tasks import Detection, Instances
from must_tf.tasks.instances.masks import Rle, as_array, encode

_LIST_NAMES = ("classes.txt", "labels.txt", "train.txt")  # lists beside labels, or labels of images of such names
_FEWEST = 4  # words of a line of a label are more
_YAML = (".yaml", ".yml")
_LISTS = ("classes.txt", "labels/classes.txt", "obj.names")  # one class name a line
_ALIASES = (("val", "valid", "validation"), ("train", "training"), ("test", "testing"))
_TOLERANCE = 0.01  # by which rounding takes fractions beyond 0 and 1
_CORNERS = (
    "boxes that reach beyond the image, and would all fit as corners (x1 y1 x2 y2); they are read as center, width and "
    "height: look at a --preview"
)
_LAY_OUT = (
    "expected yolo:FOLDER/SPLIT with FOLDER/data.yaml (names: [...]) and the images where it says, in SPLIT/images or "
    "in images/SPLIT, with labels/ beside images/; or yolo:FOLDER with classes.txt, images/ and labels/"
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What a dataset says of itself.

    Attributes:
      path: data.yaml, or a list of class names.
      class_names: in the order of the ids.
      keypoints: how many numbers follow a box, those of its keypoints.
      splits: {split: folders of images, or lists of them}, relative to `base`.
      base: folder.
    """

    path: Path
    class_names: tuple[str, ...]
    keypoints: int = 0
    splits: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    base: Path = Path()


def find_yolo(spec: str, root: str | None = None) -> Layout:
    """Finds `FOLDER/SPLIT` or `FILE.yaml/SPLIT`, with a data.yaml; or `FOLDER`, with a classes.txt.

    The label of images/.../NAME.jpg is labels/.../NAME.txt; where no folder is called images, it is beside the image.
    An image without a label has no object, as Ultralytics defines it; a warning counts such images. With `root`, the
    images of the labels are looked for there, and images without a label are left out. The task is `yolo_detection`.

    Polygons and oriented boxes become the boxes around them, with a note; `find_yolo_masks` reads them as masks.

    Raises:
      UserError: a part is missing, or data.yaml is wrong.
    """
    return _find(spec, root, "yolo", Detection, read_rows)


def find_yolo_masks(spec: str, root: str | None = None) -> Layout:
    """Finds what `find_yolo` finds; the task is `yolo_instances`.

    A pixel is in a mask if its center lies in the polygon, by the even-odd rule. Lines with a box have no mask, and are
    ignored, with a note.

    Raises:
      UserError: as `find_yolo`; or there are lines, and none of them is a polygon.
    """
    layout = _find(spec, root, "yolo_masks", Instances, read_polygons)
    lengths = _lengths(label for _, label in layout.items)
    longest = 5 + layout.reader.keywords["keypoints"]  # type: ignore[attr-defined]
    if (first := next(lengths, None)) and first <= longest and all(length <= longest for length in lengths):
        where = printable(spec)
        raise UserError(f"yolo_masks:{where}: none of its labels has a polygon; read its boxes with yolo:{where}")
    return layout


def _find(spec: str, root: str | None, prefix: str, kind: type[Detection | Instances], read: Any) -> Layout:
    where = f"{prefix}:{printable(spec)}"
    described, split = _described(Path(spec), where)
    if root is not None:  # the labels must be there, and the images may be elsewhere
        places = _image_places(described, split, where, lambda place: _labels_folder(place).is_dir())
        items = DiskList[Item](_of_labels(places, root, where))
    else:
        places = _image_places(described, split, where, Path.exists)
        images = (image for place in places for image in _images(place, described, where))
        items = DiskList[Item]((image, str(_label_of(Path(image)))) for image in images)
    for again, _ in repeated(items):
        named = printable(items[again][0])
        raise UserError(f"{where}: {named} is there twice; name each folder of images once in {described.path}")
    without = sum(not os.path.lexists(label) for _, label in items)
    if without == len(items):
        raise UserError(f"{where}: none of {len(items)} images has a label, such as {items[0][1]}; {_LAY_OUT}")
    warnings = [f"{where}: {without} of {len(items)} images have no .txt: taken as without objects"] if without else []
    orphans = _orphans(places, items) if root is None else ()
    if orphans:
        warnings.append(f"{where}: {len(orphans)} labels without an image, such as {printable(orphans[0])}, left out")
    reader = functools.partial(read, num_classes=len(described.class_names), keypoints=described.keypoints)
    task = kind(f"yolo_{kind.__name__.lower()}", described.class_names)
    return Layout(items, task, reader, tuple(warnings), file_of=str)


def read_rows(record: Record, source: str, num_classes: int, keypoints: int) -> dict[str, np.ndarray]:
    """Returns the label of detection.

    Args:
      record: the image.
      source: path of the .txt; without it, the image has no object.
      num_classes: of the task.
      keypoints: how many numbers follow a box.
    """
    rows = list(_rows(record, source, num_classes, keypoints))
    if any(row.polygon is not None for row in rows):
        record.notes.append("polygons become the boxes around them")
    return _boxes(record, rows, [0] * len(rows))


def read_polygons(record: Record, source: str, num_classes: int, keypoints: int) -> dict[str, np.ndarray]:
    """Returns the label of instances; the arguments are those of `read_rows`."""
    rows, found = list(_rows(record, source, num_classes, keypoints)), list[Rle | None]()
    for row in rows:
        filled = None
        if row.polygon is not None:
            filled = polygons.inside(row.polygon * (record.width, record.height), record.height, record.width)
        found.append(encode(filled) if filled is not None and filled.any() else None)
    return _boxes(record, rows, without_mask(found, [0] * len(rows), record), masks=as_array(found))


class _Row(NamedTuple):
    """A line of a label: class, corners (xmin, ymin, xmax, ymax) in fractions, and those of a polygon [N, 2] if any."""

    cls: int
    box: tuple[float, float, float, float]
    polygon: np.ndarray | None


def _rows(record: Record, source: str, num_classes: int, keypoints: int) -> Iterator[_Row]:
    require_size(record, None, source)
    lines = Path(source).read_text(encoding="utf-8-sig").splitlines() if os.path.lexists(source) else []
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _row(line.split(), f"{source}: line {number}", num_classes, keypoints)


def _lengths(labels: Iterable[str]) -> Iterator[int]:
    """Yields how many words each line has; what cannot be read is reported when its image is."""
    for label in labels:
        with contextlib.suppress(OSError), open(label, encoding="utf-8-sig", errors="replace") as file:
            yield from filter(None, (len(line.split()) for line in file))


def _boxes(record: Record, rows: Sequence[_Row], ignore: Sequence[int], **others: np.ndarray) -> dict[str, np.ndarray]:
    scale = (record.width, record.height, record.width, record.height)
    fractions = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    corners = fractions * scale
    beyond = np.abs(corners - np.clip(corners, 0, scale)).max(initial=0) > ROUNDING
    centers, sizes = (fractions[:, :2] + fractions[:, 2:]) / 2, fractions[:, 2:] - fractions[:, :2]
    if beyond and (sizes > centers).all() and all(row.polygon is None for row in rows):
        record.notes.append(_CORNERS)
    return pixel_boxes(corners, [row.cls for row in rows], record, ignore, np.inf, **others)


def _row(words: list[str], where: str, num_classes: int, keypoints: int) -> _Row:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{where}: {short(' '.join(words))} received, expected numbers") from None
    kind, values = numbers[0], numbers[1:]
    if kind != int(kind if math.isfinite(kind) else -1) or not 0 <= kind < num_classes:
        raise ValueError(f"{where}: class {words[0]}, expected 0 to {num_classes - 1}")
    is_box = len(values) == 4 + keypoints
    if not is_box and (keypoints or len(values) < 6 or len(values) % 2):
        what = " (a confidence? expected labels of people)" if len(values) == 5 + keypoints else ""
        raise ValueError(f"{where}: {len(words)} numbers{what}, expected a class and {4 + keypoints}, or a polygon")
    places = values[:4] if is_box else values
    if not all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in places):
        raise ValueError(f"{where}: {short(places)} received, expected fractions from 0 to 1")
    if is_box:
        x, y, width, height = places
        return _Row(int(kind), (x - width / 2, y - height / 2, x + width / 2, y + height / 2), None)
    box = min(places[::2]), min(places[1::2]), max(places[::2]), max(places[1::2])
    return _Row(int(kind), box, np.array(places).reshape(-1, 2))


def _described(path: Path, where: str) -> tuple[Description, str]:
    """Returns the description of a dataset, and the split that the path names; empty for the whole folder."""
    if path.suffix in _YAML and path.is_file():
        raise UserError(f"{where}: names no split; expected {where}/train, or another split of it")
    if path.parent.suffix in _YAML and path.parent.is_file():
        return _of_yaml(path.parent), path.name
    for folder, split in ((path, ""), (path.parent, path.name)):
        yamls = sorted(file for file in folder.glob("*.y*ml") if file.suffix in _YAML) if folder.is_dir() else []
        chosen = next((file for file in yamls if file.stem == "data"), yamls[0] if len(yamls) == 1 else None)
        if chosen and not split:
            raise UserError(f"{where}: names no split; expected {where}/train, or another split of {chosen.name}")
        if chosen:
            return _of_yaml(chosen), split
        if len(yamls) > 1:
            raise UserError(f"{where}: has {len(yamls)} files .yaml; name one of them: yolo:{yamls[0]}/train")
        listed = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
        if listed:
            return Description(listed, read_class_list(listed)), split
    raise UserError(f"{where}: no data.yaml and no classes.txt; {_LAY_OUT}")


def _of_yaml(path: Path) -> Description:
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("names"), list | dict):
        raise UserError(f"{path}: has no names of classes; expected names: [...]")
    names = content["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: names: {short(list(names))} received; expected the ids 0 to {len(names) - 1}")
        names = [names[number] for number in range(len(names))]
    if content.get("nc", len(names)) != len(names):
        raise UserError(f"{path}: nc: {short(content['nc'])} received; expected {len(names)}, the number of names")
    shape = content.get("kpt_shape") or [0]
    if not isinstance(shape, list) or not all(isinstance(one, int) and one >= 0 for one in shape):
        raise UserError(f"{path}: kpt_shape: {short(shape)} received; expected two whole numbers")
    splits: dict[str, list[str]] = {}
    for split in (name for aliases in _ALIASES for name in aliases):
        value = content.get(split)
        if value:
            splits[split] = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str) for one in splits[split]):
                raise UserError(f"{path}: {split}: {short(value)} received; expected folders or lists of images")
    base = content.get("path") or ""
    if not isinstance(base, str):
        raise UserError(f"{path}: path: {short(base)} received; expected a folder")
    return Description(path, _checked(names, path), math.prod(shape), splits, path.parent / base)


def _checked(names: list[Any], path: Path) -> tuple[str, ...]:
    """Returns class names that are texts, each once."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{path}: names: {short(name)} received; expected text: put it in quotes")
        if names.count(name) > 1:
            raise UserError(f"{path}: names: {short(name)} is there twice; give each class a name of its own")
    if not names:
        raise UserError(f"{path}: names no class; expected one name for each class")
    return tuple(names)


def _image_places(described: Description, split: str, where: str, is_there: Callable[[Path], bool]) -> list[Path]:
    """Returns the folders of a split's images, and the lists (.txt) of them, that are there."""
    aliases = (split, *next((group for group in _ALIASES if split in group), ()))
    listed = next((described.splits[name] for name in aliases if name in described.splits), None)
    if listed is not None:
        return [_listed_place(described, name, where, is_there) for name in listed]
    folder = described.path.parent.parent if described.path.parent.name == "labels" else described.path.parent
    places = [folder / "images", folder]
    if split:
        shapes = (("{}", "images"), ("images", "{}"), ("{}",))
        places = [folder.joinpath(*(part.format(name) for part in shape)) for shape in shapes for name in aliases]
    found = next(filter(is_there, places), None)
    if found is None:
        raise UserError(f"{where}: no images of {split or 'it'} in {printable(folder)}; {_LAY_OUT}")
    return [found]


def _listed_place(described: Description, name: str, where: str, is_there: Callable[[Path], bool]) -> Path:
    """Returns a place that data.yaml names, which may be relative to `path`, to the file, or to a folder beside it."""
    inside = Path(*[part for part in Path(name).parts if part != ".."])
    tried = [described.base / name, described.path.parent / name, described.path.parent / inside]
    found = next(filter(is_there, tried), None)
    if found is None:
        raise UserError(f"{where}: {described.path} names {short(name)}, which is not there; correct it, or its path")
    return found


def _images(place: Path, described: Description, where: str) -> Sequence[str]:
    if place.is_dir():
        return visible_images(place, where)
    names = find_images(place)
    if all(Path(name).is_file() for name in names):
        return names
    return locate(names, [place.parent, described.base], None, str(place))


def _label_of(image: Path) -> Path:
    """Returns the label of an image: in labels/ where it is in images/, the innermost one, or else beside it."""
    *folders, name = image.parts
    places = [number for number, folder in enumerate(folders) if folder == "images"]
    if places:
        folders[places[-1]] = "labels"
    return Path(*folders, name).with_suffix(".txt")


def _labels_folder(images: Path) -> Path:
    return _label_of(images / "any.jpg").parent


def _label_files(places: list[Path]) -> Iterator[tuple[str, str]]:
    """Yields the labels in the folders that belong to these of images, each with its path in the folder."""
    for folder in dict.fromkeys(map(_labels_folder, places)):
        for inside in files_under(folder, (".txt",)):
            path = str(folder / inside)
            if inside.rpartition("/")[2] not in _LIST_NAMES or next(_lengths([path]), 0) > _FEWEST:
                yield path, inside


def _orphans(places: list[Path], items: Sequence[Item]) -> Sequence[str]:
    """Returns the labels that no item has; it takes 8 bytes of memory per item."""
    used = np.sort(np.fromiter((hash(label) for _, label in items), np.int64, len(items)))
    found = DiskList[str]()
    for path, _ in _label_files(places):
        place = int(np.searchsorted(used, hash(path)))
        if place == len(used) or used[place] != hash(path):
            found.append(path)
    return found


def _of_labels(places: list[Path], root: str, where: str) -> Iterator[Item]:
    """Returns the images of labels, found under a root, each with its label."""
    labels, stems = DiskList[str](), DiskList[str]()
    for label, inside in _label_files(places):
        labels.append(label)
        stems.append(inside.rpartition(".")[0])
    return zip(locate(stems, [], root, where, any_suffix=True), labels, strict=True)
