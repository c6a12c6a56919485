"""Pairs images with maps of their names: what masks, depth and normals in folders of your own have in common."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from must_tf.errors import UserError
from must_tf.parsing import read_text, short
from must_tf.sources.images import printable
from must_tf.sources.lookup import files_under, images_by_stem


def find_pairs(
    kind: str, spec: str, suffixes: Sequence[str]
) -> tuple[list[tuple[str, str]], list[Path], tuple[str, ...]]:
    """Finds images and maps of the same names in `FOLDER/SPLIT`.

    Images are in FOLDER/images/SPLIT and maps in FOLDER/KIND/SPLIT; or in FOLDER/SPLIT/images and FOLDER/SPLIT/KIND.
    Folders in them must be the same. Images without a map are left out, and maps without an image; warnings count them.

    Args:
      kind: `masks`, `depth` or `normals`: the prefix of the source, and the name of the folder.
      spec: FOLDER/SPLIT.
      suffixes: of the files of maps, in lower case; the best one first, which is taken where a map has several.

    Returns:
      (image, map) for each image; SPLIT and FOLDER, in which files that describe the maps may lie; and the warnings.

    Raises:
      UserError: a folder is missing, two images have the same name but for the suffix, or nothing fits.
    """
    where = f"{kind}:{printable(spec)}"
    path = Path(spec)
    shapes = ((path.parent / "images" / path.name, path.parent / kind / path.name), (path / "images", path / kind))
    found = next((shape for shape in shapes if shape[0].is_dir() and shape[1].is_dir()), None)
    if found is None:
        raise UserError(
            f"{where}: no folders of images and {kind}; expected {kind}:FOLDER/SPLIT with FOLDER/images/SPLIT and "
            f"FOLDER/{kind}/SPLIT, or with FOLDER/SPLIT/images and FOLDER/SPLIT/{kind}"
        )
    images, (maps, again) = images_by_stem(found[0], where), _maps_by_stem(found[1], suffixes)
    both = [stem for stem in images if stem in maps]
    if not both:
        raise UserError(
            f"{where}: no image has a map of its name; {short(next(iter(images)))} is an image, and the maps are "
            f"{short(list(maps)[:3])} ({', '.join(suffixes)})"
        )
    warnings = [
        f"{where}: {count} {what}, left out"
        for count, what in (
            (len(images) - len(both), f"images without a map in {found[1].name}"),
            (len(maps) - len(both), "maps without an image"),
            (again, f"maps that are there as {maps[both[0]].rpartition('.')[2]}, too"),
        )
        if count
    ]
    return [(images[stem], maps[stem]) for stem in both], [path, path.parent], tuple(warnings)


def beside(folders: Sequence[Path], name: str) -> Path | None:
    """Returns the file of this name in the first folder that has it; None if none has it."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def read_numbers(path: Path, count: int) -> list[float]:
    """Returns the numbers in a text file; another count is a `UserError`."""
    words = read_text(path).split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise UserError(f"{path}: {short(' '.join(words))} received; expected {count} number{'s' * (count > 1)}")
    return numbers


def read_npy(path: str) -> np.ndarray:
    """Returns the array of a .npy; one that is cut short or holds Python objects is a `ValueError`."""
    return np.array(np.lib.format.open_memmap(path, mode="r"))


def _maps_by_stem(folder: Path, suffixes: Sequence[str]) -> tuple[dict[str, str], int]:
    """Returns {name without the suffix: map}, and how many maps are there with another suffix, too."""
    found: dict[str, str] = {}
    again = 0
    for suffix in suffixes:
        for inside in files_under(folder, (suffix,)):
            path = str(folder / inside)
            again += found.setdefault(inside.rpartition(".")[0], path) != path
    return found, again
