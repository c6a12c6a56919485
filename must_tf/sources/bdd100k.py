"""Reads BDD100K (Yu et al., CVPR 2020) as YOLOP does: vehicles, drivable area and lane lines of the 100K images."""

import functools
import itertools
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from must_tf.errors import UserError
from must_tf.json_members import entries
from must_tf.parsing import short
from must_tf.records import Quarantined, Record
from must_tf.sources.decoding import Look, decode, in_order
from must_tf.sources.disk_list import DiskList, Share
from must_tf.sources.id_maps import read_ids
from must_tf.sources.images import common_folder, printable, read_image
from must_tf.sources.layout import (
    LabelReader,
    add_labels,
    existing,
    file_names,
    pixel_boxes,
    require_image_size,
    split_spec,
)
from must_tf.sources.source import Entry, Source, fingerprint
from must_tf.storage import sha256
from must_tf.tasks import Detection, Segmentation
from must_tf.tasks.detection import DIFFICULT

VEHICLES = Detection("vehicles", ("vehicle",))
DRIVABLE = Segmentation("drivable", ("background", "drivable"))
LANES = Segmentation("lanes", ("background", "lane"))

VEHICLE_NAMES = ("car", "bus", "truck", "train")  # one class, as in YOLOP's code
_UNSURE_NAMES = ("other vehicle", "trailer")  # ignored, as in the publisher's tools
_OTHER_NAMES = (
    "pedestrian", "rider", "motorcycle", "bicycle", "traffic light", "traffic sign", "other person",
    "person", "motor", "bike",  # of the labels of 2018
)  # fmt: skip
_LINES = ("double other", "double white", "double yellow", "single other", "single white", "single yellow")
_OTHER_LINES = ("crosswalk", "road curb")
_WIDTHS = {"train": 8}  # pixels; see `find_lanes`
_WIDTH = 2
_DIRECT, _ALTERNATIVE, _NEITHER, _UNKNOWN = 0, 1, 2, 255  # values of the masks of the drivable area
_EDGES = 40.0  # pixels that the two edges of one marking are apart, at most, at any of their points
_SAMPLES = 16  # points at which two edges are compared
_FAR = 1e6  # pixels, beyond which a number is no place in or near an image
_CURVE = 12  # straight pieces that a Bézier curve is drawn in

_GET = (
    "get the 100K Images, the Detection 2020 Labels, Drivable Area and Lane Marking from dl.cv.ethz.ch/bdd100k/data, "
    "unpack them into one place, and name a split of it: bdd100k:BDD100K/train or bdd100k:BDD100K/val, with "
    "images/100k/SPLIT, and some of labels/det_20/det_SPLIT.json, labels/drivable/masks/SPLIT and "
    "labels/lane/polygons/lane_SPLIT.json in it"
)

T = TypeVar("T", list, dict)
Line = list[tuple[float, ...]]  # points (x, y) in pixels


class Part(NamedTuple):
    """The labels of one task of a split.

    Attributes:
      task: the task.
      names: of the images that have a label.
      of: returns what `read` needs for the label of an image, given the image's name; None if there is none.
      read: returns the label.
      listing: changes when the labels do.
    """

    task: Any
    names: Collection[str]
    of: Callable[[str], Any]
    read: Callable[[Record, Any], Any]
    listing: str


class Reader(NamedTuple):
    """Reads the labels of one task, see `LabelReader`."""

    task: Any
    label: Callable[[Record, Any], Any]

    def absence(self, content: Mapping[str, Any]) -> str:
        """Returns the note for an image without a label; empty for one that has it."""
        return f"has no label of {self.task.name}" if content[self.task.name] is None else ""

    def read(self, record: Record, content: Mapping[str, Any]) -> Any:
        """Returns the label."""
        return self.label(record, content[self.task.name])


def open_bdd100k(spec: str, images_per_shard: int, max_pixels: int) -> Source:
    """Opens `FOLDER/SPLIT`: the images in FOLDER/images/100k/SPLIT with those labels that are in FOLDER/labels.

    Tasks are `vehicles`, `drivable` and `lanes`, see `find_vehicles`, `find_drivable` and `find_lanes`.

    Args:
      spec: FOLDER/SPLIT.
      images_per_shard: largest number of images in a shard.
      max_pixels: see `decoding.to_record`.

    Raises:
      UserError: no images or no labels, and where to get them; or a file of labels is damaged.
    """
    folder, (split,) = split_spec("bdd100k", spec, 1, _GET)
    where = f"bdd100k:{printable(spec)}"
    images = existing(folder / "images" / "100k" / split, where, _GET)
    found = [part for find in (find_vehicles, find_drivable, find_lanes) if (part := find(folder, split))]
    names = file_names(images, (".jpg",))
    if not names or not found:
        raise UserError(f"{where}: no {'label' if names else 'image'} of this split; {_GET}")
    there = set(names)
    gone = [(part.task.name, name) for part in found for name in part.names if name not in there]
    content = ({part.task.name: part.of(name) for part in found} for name in names)
    items = DiskList((str(images / name), one) for name, one in zip(names, content, strict=True))
    total = math.ceil(len(items) / images_per_shard)
    read = functools.partial(
        read_items,
        readers=[Reader(part.task, part.read) for part in found],
        max_pixels=max_pixels,
        root=common_folder(None, (path for path, _ in items)),
    )
    shards = tuple(functools.partial(read, Share(items, index, total)) for index in range(total))
    listing = fingerprint(os.fsencode(one) for one in (*names, *(f"{part.task.name} {part.listing}" for part in found)))
    warnings = (
        f"{where}: {len(gone)} labels without an image, such as {task} of {printable(name)}, left out"
        for task, name in gone[:1]
    )
    return Source(len(items), listing, tuple(part.task for part in found), {}, shards, warnings=tuple(warnings))


def read_items(
    items: Iterable[tuple[str, Mapping[str, Any]]],
    readers: Sequence[LabelReader],
    max_pixels: int,
    root: str | None = None,
    look: Look = decode,
) -> Iterator[Entry]:
    """Yields the images of a shard with their labels, in order."""

    def entry(item: tuple[str, Mapping[str, Any]]) -> Entry:
        path, content = item
        made = read_image(path, max_pixels, look, root)
        return made if isinstance(made, Quarantined) else add_labels(made, readers, content)

    return in_order(entry, items)


def find_vehicles(folder: Path, split: str) -> Part | None:
    """Finds the boxes of labels/det_20/det_SPLIT.json; None without the file.

    Cars, buses, trucks and trains are one class, as in YOLOP's code. `trailer` and `other vehicle` are ignored, as in
    the publisher's tools. A frame in the file without a vehicle is labeled as having none; an image that the file does
    not have is not labeled.
    """
    path = folder / "labels" / "det_20" / f"det_{split}.json"
    if not path.is_file():
        return None
    return Part(VEHICLES, *_frames(path, _boxes_of), _read_boxes, sha256(path))


def find_drivable(folder: Path, split: str) -> Part | None:
    """Finds the masks labels/drivable/masks/SPLIT/NAME.png; None without the folder.

    The area of one's own lane (`direct`) and that of others (`alternative`) are one class, as in YOLOP's paper. Its
    published tool draws the direct area alone.
    """
    place = folder / "labels" / "drivable" / "masks" / split
    if not place.is_dir():
        return None
    masks = {f"{name.rpartition('.')[0]}.jpg": str(place / name) for name in file_names(place, (".png",))}
    listing = fingerprint(sha256(mask).encode() for mask in masks.values())
    return Part(DRIVABLE, masks, masks.get, _read_drivable, listing)


def find_lanes(folder: Path, split: str) -> Part | None:
    """Finds the lane lines of labels/lane/polygons/lane_SPLIT.json; None without the file.

    Lanes are drawn 8 pixels wide for `train` and 2 for other splits, as in the papers of YOLOP and of SAD (Hou et al.,
    ICCV 2019). Both say that a marking is annotated by its two edges, and take the line in the middle. Neither says
    which edges belong together, nor which markings count; that is ours: two neighbors in the file of the same category
    and style that are nowhere more than 40 pixels apart are the edges of one marking. Other lines are drawn as they
    are. Markings count that run along the road (`laneDirection` parallel, or missing, as in the publisher's tools),
    without crosswalks and curbs.
    """
    path = folder / "labels" / "lane" / "polygons" / f"lane_{split}.json"
    if not path.is_file():
        return None
    draw = functools.partial(_read_lanes, width=_WIDTHS.get(split, _WIDTH))
    return Part(LANES, *_frames(path, _lines_of), draw, sha256(path))


def _frames(
    path: Path, content_of: Callable[[str, Sequence[Any]], Any]
) -> tuple[Collection[str], Callable[[str], Any]]:
    """Returns the names of the images in a file of labels, and a function of a name: what `Part.of` returns."""
    contents, positions = DiskList[Any](), dict[str, int]()
    for number, frame in enumerate(entries(path, "a list of frames, as Scalabel has them")):
        name = frame.get("name") if isinstance(frame, dict) else None
        if not isinstance(name, str):
            raise UserError(f"{path}: frame {number}: name: {short(name)} received; expected the name of an image")
        if name in positions:
            raise UserError(f"{path}: frame {number}: image {short(name)} is there twice; join its frames")
        positions[name], where = len(contents), f"{path}: image {short(name)}"
        contents.append(content_of(where, _member(where, frame, "labels", list)))
    if not positions:
        raise UserError(f"{path}: has no frame; {_GET}")
    return positions, lambda name: contents[positions[name]] if name in positions else None


def _boxes_of(where: str, labels: Sequence[Any]) -> list[tuple[tuple[float, ...], int]]:
    """Returns the corners of a frame's vehicles, (xmin, ymin, xmax, ymax) in pixels, and why each is ignored, or 0."""
    found = []
    for label in labels:
        category = _category(where, label, (*VEHICLE_NAMES, *_UNSURE_NAMES, *_OTHER_NAMES))
        if category in _OTHER_NAMES:
            continue
        box = label.get("box2d")
        sides: list[Any] = [box.get(side) if isinstance(box, dict) else None for side in ("x1", "y1", "x2", "y2")]
        if not all(map(_is_number, sides)) or sides[0] > sides[2] or sides[1] > sides[3]:
            raise UserError(f"{where}: box2d: {short(box)} received; expected pixels x1 <= x2 and y1 <= y2")
        found.append((tuple(map(float, sides)), DIFFICULT if category in _UNSURE_NAMES else 0))
    return found


def _lines_of(where: str, labels: Sequence[Any]) -> list[Line]:
    """Returns the middle lines of a frame's lane markings."""
    edges: list[tuple[Any, Line]] = []
    for label in labels:
        category = _category(where, label, (*_LINES, *_OTHER_LINES))
        attributes, polys = _member(where, label, "attributes", dict), _member(where, label, "poly2d", list)
        direction, style = attributes.get("laneDirection") or "parallel", attributes.get("laneStyle") or "solid"
        if direction not in ("parallel", "vertical"):
            raise UserError(f"{where}: laneDirection: {short(direction)} received; expected parallel or vertical")
        if category not in _OTHER_LINES and direction == "parallel":
            edges += (((category, style), _flattened(where, poly)) for poly in polys)
    return _middles(edges)


def _member(where: str, value: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """Returns a list or a dict in a JSON object; an empty one where it is missing or null."""
    found = value.get(name)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        expected = "a list" if kind is list else "names with values"
        raise UserError(f"{where}: {name}: {short(found)} received; expected {expected}")
    return found


def _category(where: str, label: Any, known: Sequence[str]) -> str:
    category = label.get("category") if isinstance(label, dict) else None
    if not isinstance(category, str) or category not in known:
        raise UserError(f"{where}: category: {short(category)} received; expected one of {', '.join(known)}")
    return category


def _flattened(where: str, poly: Any) -> Line:
    """Returns the points of a line of straight pieces (L) and cubic Bézier curves (CCC: two controls, and the end)."""
    poly = poly if isinstance(poly, dict) else {}
    vertices, types = poly.get("vertices"), poly.get("types")
    is_line = isinstance(vertices, list) and all(
        isinstance(one, list) and len(one) == 2 and all(map(_is_number, one)) for one in vertices
    )
    if not is_line or not isinstance(types, str) or len(types) != len(vertices) or len(vertices) < 2:
        raise UserError(
            f"{where}: poly2d: {short(poly)} received; expected vertices [x, y] and a type, L or C, of each"
        )
    points, rest = [tuple(map(float, vertices[0]))], list(zip(types[1:], vertices[1:], strict=True))
    while rest:
        count = 3 if rest[0][0] == "C" else 1
        piece, rest = rest[:count], rest[count:]
        if {kind for kind, _ in piece} not in ({"L"}, {"C"}) or len(piece) < count:
            raise UserError(f"{where}: poly2d: types: {types!r} received; expected L, and C three times in a row")
        controls = np.array([points[-1], *(vertex for _, vertex in piece)], float)
        points += map(tuple, _bezier(controls) if count == 3 else controls[1:])
    return points


def _bezier(controls: np.ndarray) -> np.ndarray:
    """Returns points [_CURVE, 2] of a cubic Bézier curve by its controls [4, 2], without the first one."""
    t = np.linspace(0, 1, _CURVE + 1)[1:, np.newaxis]
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return sum(weight * point for weight, point in zip(weights, controls, strict=True))


def _middles(edges: Sequence[tuple[Any, Line]]) -> list[Line]:
    """Returns one line for each two neighbors that are the edges of a marking, and the other lines as they are."""
    lines: list[Line] = []
    rest = list(edges)
    while rest:
        (kind, line), *rest = rest
        if rest and rest[0][0] == kind:
            first, second = (_resampled(one) for one in (line, rest[0][1]))
            second = min(second, second[::-1], key=lambda one: np.abs(one - first).sum())
            if np.linalg.norm(first - second, axis=1).max() <= _EDGES:
                line, rest = list(map(tuple, ((first + second) / 2).tolist())), rest[1:]
        lines.append(line)
    return lines


def _resampled(line: Line) -> np.ndarray:
    """Returns points [_SAMPLES, 2] of a line at equal distances along it."""
    points = np.array(line)
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    wanted = np.linspace(0, along[-1], _SAMPLES)
    return np.stack([np.interp(wanted, along, axis) for axis in points.T], 1)


def _read_boxes(record: Record, boxes: list[tuple[tuple[float, ...], int]]) -> dict[str, np.ndarray]:
    return pixel_boxes([box for box, _ in boxes], [0] * len(boxes), record, [reason for _, reason in boxes])


def _read_drivable(record: Record, path: str) -> np.ndarray:
    mask, _ = read_ids(path, path)
    strange = mask[~np.isin(mask, (_DIRECT, _ALTERNATIVE, _NEITHER, _UNKNOWN))]
    if strange.size:
        raise ValueError(f"{path}: value {strange[0]} found, expected 0 (direct), 1 (alternative) or 2 (background)")
    drivable = np.select([mask == _UNKNOWN, mask != _NEITHER], [DRIVABLE.ignore, 1], 0)
    return require_image_size(drivable, record, path)


def _read_lanes(record: Record, lines: Sequence[Line], width: int) -> np.ndarray:
    mask = Image.new("L", (record.width, record.height))
    draw = ImageDraw.Draw(mask)
    for line in lines:
        draw.line(list(itertools.chain(*line)), fill=1, width=width, joint="curve")
    return np.asarray(mask).astype(np.int64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR
