"""Reads PASCAL VOC: XML files of your own, as labelImg, CVAT and Roboflow write them, and the devkit.

The devkit (Everingham et al.) has boxes of 2007 and 2012, and segmentation of 2012.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from must_tf.errors import UserError, one_line
from must_tf.parsing import read_text
from must_tf.records import Record
from must_tf.sources.class_list import read_class_list
from must_tf.sources.disk_list import DiskList
from must_tf.sources.id_maps import values_of
from must_tf.sources.images import printable
from must_tf.sources.labelmap import colors_of_classes, read_labelmap, read_painted
from must_tf.sources.layout import (
    Item,
    Layout,
    corners_of,
    existing,
    pixel_boxes,
    require_image_size,
    require_size,
    split_spec,
)
from must_tf.sources.lookup import SPLITS, files_under, locate_by_labels
from must_tf.sources.rotation import ROTATED_NOTE, box_around, degrees_of
from must_tf.sources.source import fingerprint
from must_tf.tasks import Detection, Segmentation
from must_tf.tasks.detection import DIFFICULT

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"
)  # fmt: skip
DETECTION = Detection("voc_detection", CLASSES)
SEGMENTATION = Segmentation("voc_segmentation", ("background", *CLASSES))

_GET = (
    "name a folder of XML files (voc:FOLDER), or get VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar and "
    "VOCtrainval_11-May-2012.tar from host.robots.ox.ac.uk/pascal/VOC, unpack them into one place, and name a list of "
    "it: voc:VOCdevkit/VOC2007/Main/trainval (boxes) or voc:VOCdevkit/VOC2012/Segmentation/train"
)
_LIST = "list the classes in a classes.txt in this folder, one per line"
_OF_CVAT = "the format of CVAT itself, which is not read: export COCO 1.0 or PASCAL VOC 1.1 from CVAT"
_FEW = 100  # files that are looked at again
_FROM_ONE = ("The VOC", "PASCAL VOC", "must_tf")  # databases of the devkit, and what `must convert` writes
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def find_voc(spec: str, root: str | None = None) -> Layout:
    """Finds `FOLDER`, which has XML files of your own; or a list of the devkit, see `find_devkit`.

    The XML files are in FOLDER, at any depth. An image has the name of its file, with the suffix of any format, and is
    looked for beside it, in FOLDER, and in JPEGImages/ and images/ of FOLDER or beside it; or at any depth under
    `root`. Images without an XML file are left out. The task is `voc_detection`. Its classes are those in FOLDER's
    classes.txt or labelmap.txt, if there is one, or else all that occur, in the order of the alphabet: those of all
    splits beside each other, such as `train` and `valid` of Roboflow.

    Boxes are edges in pixels, as labelImg, CVAT and Roboflow write them: the whole image is (0, 0, width, height).
    Files of the devkit and of `must convert` count pixels from 1, and say which database they are of.

    Raises:
      UserError: there is no XML file or no image, or two images fit an XML file.
    """
    folder = Path(spec)
    if not folder.is_dir():
        return find_devkit(spec, root)
    paths = files_under(folder, (".xml",))
    if not paths:
        raise UserError(f"voc:{printable(spec)}: no XML file in it; {_GET}")
    occurring = (name for path in _of_all_splits(folder) for name in _classes_in(path))
    names = _listed_classes(folder) or tuple(sorted(set(occurring)))
    if not names:
        advice = next(filter(None, (_problem_of(folder / path) for path in paths[:_FEW])), _LIST)
        raise UserError(f"voc:{printable(spec)}: none of {len(paths)} XML files has an object with a name; {advice}")
    places = [place / name for place in (folder, folder.absolute().parent) for name in ("", "JPEGImages", "images")]
    files = locate_by_labels(paths, places, root, f"voc:{printable(spec)}")
    reader = functools.partial(read_boxes, class_names=names, first=0)
    items = DiskList[Item]((file, str(folder / path)) for file, path in zip(files, paths, strict=True))
    return Layout(items, Detection(DETECTION.name, names), reader, file_of=str)


def find_devkit(spec: str, root: str | None = None) -> Layout:
    """Finds `FOLDER/Main/LIST` (boxes) or `FOLDER/Segmentation/LIST`: the images of FOLDER/ImageSets/.../LIST.txt.

    Images are in FOLDER/JPEGImages, or at any depth under `root`.

    Boxes have VOC's 20 classes, or those of FOLDER's labelmap.txt or classes.txt.

    VOC gives boxes as whole pixels, counted from 1 and with both ends included; here they become edges. Boxes marked as
    difficult are ignored as in the official evaluation: they count neither as found nor as missed. In a segmentation,
    255 (borders and ambiguous pixels) is ignored. Where labelmap.txt gives classes colors, masks are read by these.

    Raises:
      UserError: the list is missing; the error says where to get it.
    """
    folder, (kind, name) = split_spec("voc", spec, 2, _GET)
    if kind not in ("Main", "Segmentation"):
        raise UserError(f"voc:{spec}: {kind!r} received; expected .../Main/LIST or .../Segmentation/LIST")
    listed = existing(folder / "ImageSets" / kind / f"{name}.txt", f"voc:{spec}", _GET)
    labels, suffix = ("Annotations", "xml") if kind == "Main" else ("SegmentationClass", "png")
    place = existing(folder / labels, f"voc:{spec}", _GET)
    names = [_label_in(line, place, suffix) for line in read_text(listed).splitlines() if line.strip()]
    images = folder / "JPEGImages"
    if root is None:
        existing(images, f"voc:{spec}", _GET)
    files = locate_by_labels(names, [images], root, str(listed))
    items = [(file, str(place / name)) for file, name in zip(files, names, strict=True)]
    classes = _listed_classes(folder)
    if kind == "Main":
        task = Detection(DETECTION.name, classes) if classes else DETECTION
        boxes = functools.partial(read_boxes, class_names=task.class_names, first=1)
        return Layout(items, task, boxes, file_of=str)
    if any((labelmap := read_labelmap(folder)).values()):
        colors = colors_of_classes(labelmap, folder)
        painted = functools.partial(read_painted, colors={color: cls for cls, color in enumerate(colors.values())})
        task_of_colors = Segmentation(SEGMENTATION.name, tuple(colors))
        return Layout(items, task_of_colors, painted, digest=fingerprint([repr(colors).encode()]), file_of=str)
    if not {*classes} <= {*CLASSES}:
        raise UserError(
            f"voc:{spec}: {folder} lists classes of its own without colors; masks:FOLDER/SPLIT reads masks of such "
            "classes, and labelmap.txt gives them colors (NAME:RED,GREEN,BLUE::)"
        )
    reader = functools.partial(read_mask, num_classes=len(SEGMENTATION.class_names))
    return Layout(items, SEGMENTATION, reader, file_of=str)


def _label_in(line: str, folder: Path, suffix: str) -> str:
    """Returns the name of a label by a line of a list: a name, which may have spaces, or a name and a mark."""
    whole = f"{line.strip()}.{suffix}"
    return whole if (folder / whole).exists() else f"{line.split()[0]}.{suffix}"


def read_boxes(record: Record, source: str, class_names: Sequence[str], first: int) -> dict[str, np.ndarray]:
    """Returns the boxes of an XML file; difficult boxes are ignored, and boxes of body parts are left out.

    Rotated boxes of CVAT become the boxes around them, with a note.

    Args:
      record: the image.
      source: path of the XML file.
      class_names: of the task.
      first: number of the first pixel. With 1, both ends of a box are pixels in it; with 0, they are its edges, except
        in a file that names a database whose pixels count from 1.
    """
    root = _top_of(source)
    if root.tag != "annotation":
        raise ValueError(_not_voc(source, root))
    if len(root.findall("object")) < sum(1 for _ in root.iter("object")):
        raise ValueError(f"{source}: has an object in another element, expected all of them directly in the annotation")
    if root.findtext("source/database", "").startswith(_FROM_ONE):
        first = 1
    width, height = (_pixels(root, f"size/{side}", source, missing=0) for side in ("width", "height"))
    require_size(record, (int(height), int(width)) if height and width else None, f"{source}: size")
    given, degrees, classes, ignore = [], [], [], []
    for thing in root.findall("object"):
        name = thing.findtext("name", "").strip()
        if name not in class_names:
            raise ValueError(f"{source}: object {name!r} is not one of the {len(class_names)} classes")
        xmin, ymin, xmax, ymax = (_pixels(thing, f"bndbox/{side}", f"{source}: object {name!r}") for side in _SIDES)
        if xmin > xmax or ymin > ymax:
            raise ValueError(f"{source}: object {name!r}: bndbox: a minimum above its maximum")
        given.append((xmin, ymin, xmax, ymax))
        degrees.append(_degrees(thing))
        classes.append(class_names.index(name))
        ignore.append(DIFFICULT if thing.findtext("difficult", "0").strip().lower() in ("1", "true") else 0)
    sides = np.array(given, np.float64).reshape(-1, 4)
    if given and sides.min() >= 0 and sides.max() <= 1 and (sides % 1).any():
        raise ValueError(f"{source}: bndbox: {given[0]} received, fractions of the image; expected pixels")
    corners = sides - [first, first, 0, 0]
    if not any(degrees):
        return pixel_boxes(corners, classes, record, ignore)
    record.notes.append(ROTATED_NOTE)
    boxes = [box_around((x, y, x1 - x, y1 - y), angle) for (x, y, x1, y1), angle in zip(corners, degrees, strict=True)]
    return pixel_boxes(corners_of(boxes), classes, record, ignore, slack=np.inf)


def read_mask(record: Record, source: str, num_classes: int) -> np.ndarray:
    """Returns the classes [H, W] of a palette PNG: the indices, not the colors; 255 is ignored."""
    with Image.open(source) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"{source}: has mode {image.mode}, expected the indices of a palette, not its colors")
        mask = values_of(image)
    strange = mask[(mask >= num_classes) & (mask != 255)]
    if strange.size:
        raise ValueError(f"{source}: class {strange[0]} found, expected 0 to {num_classes - 1}")
    return require_image_size(mask, record, source)


def _degrees(thing: ElementTree.Element) -> float:
    """Returns the angle of a box of CVAT, which exports it as an attribute; 0 if it is upright."""
    attributes = thing.iterfind("attributes/attribute")
    return degrees_of(next((one.findtext("value") for one in attributes if one.findtext("name") == "rotation"), None))


def _pixels(element: ElementTree.Element, field: str, where: str, missing: float | None = None) -> float:
    """Returns a number of an XML element, or `missing` where it has none."""
    text = element.findtext(field)
    if text is None and missing is not None:
        return missing
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{where}: {field}: {text!r} received, expected pixels")
    return value


def _of_all_splits(folder: Path) -> Iterator[Path]:
    """Yields the XML files of a folder and, if it is a split, those of the splits beside it."""
    beside = folder.absolute().parent.iterdir() if folder.name.lower() in SPLITS else ()
    others = [one for one in beside if one.name.lower() in SPLITS and one.name != folder.name]
    for place in (folder, *others):
        yield from (place / path for path in files_under(place, (".xml",)))


def _classes_in(path: Path) -> set[str]:
    """Returns the names of the objects in an XML file; none of a damaged one, which is quarantined when it is read."""
    try:
        things = _top_of(path).findall("object")
    except (OSError, ValueError):
        return set()
    return {name for thing in things if (name := thing.findtext("name", "").strip())}


def _top_of(path: str | Path) -> ElementTree.Element:
    """Returns the outermost element of an XML file; a damaged one is a `ValueError`."""
    try:
        return ElementTree.fromstring(Path(path).read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter of encodings
        raise ValueError(f"{path}: not valid XML: {error}") from None


def _problem_of(path: Path) -> str:
    """Returns why an XML file is no annotation; empty if it is one."""
    try:
        return "" if (top := _top_of(path)).tag == "annotation" else _not_voc(path, top)
    except (OSError, ValueError) as error:
        return one_line(error)


def _not_voc(path: str | Path, top: ElementTree.Element) -> str:
    advice = _OF_CVAT if top.tag == "annotations" else "expected an annotation of VOC"
    return f"{path}: has {top.tag!r} at its top, {advice}"


def _listed_classes(folder: Path) -> tuple[str, ...]:
    """Returns the classes in classes.txt, one per line, or in CVAT's labelmap.txt."""
    if (folder / "classes.txt").is_file():
        return read_class_list(folder / "classes.txt", by_name=True, comment="#")
    return tuple(name for name in read_labelmap(folder) if name != "background")
