"""Finds image files by the names that labels give them, wherever the images are."""

import contextlib
import functools
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from must_tf.errors import UserError
from must_tf.parsing import short
from must_tf.sources.disk_list import DiskList, repeated, sorted_names
from must_tf.sources.images import SUFFIXES, find_images, printable

NAMES = ""  # a root that is not looked through: the labels are wanted without their images
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing")  # folders' usual names
_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")  # of `é`: one character, or a letter and its accent
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # before the names of files that were uploaded to Label Studio
_MOST_FILES = 10_000_000  # under a root
_SYSTEM = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found")

Parts = tuple[str, ...]
_Places = Callable[[Parts], list[str]]  # returns the files whose paths end with these parts


def locate(
    names: Sequence[str], folders: Sequence[Path], root: str | None, where: str, any_suffix: bool = False
) -> Sequence[str]:
    r"""Returns the path of each image, in a list on the disk.

    Names may have folders, backslashes, drives, a leading `/` or `..`; nothing outside of the folders is looked at.
    Where no image is found by its whole name, the first folder of all names is left out, then the second, and so on:
    `upload/1/a.jpg` is found as `a.jpg`. Where there is none either, and all names begin with the digits that Label
    Studio gives uploads, these are left out.

    Args:
      names: of the images, as the labels have them.
      folders: where the images may lie, the likeliest first.
      root: looked through at any depth, instead of `folders`, if it is given; for `NAMES`, the names come back as they
        are.
      where: names the labels, for messages.
      any_suffix: whether names are without a suffix, and that of any format of images will do.

    Returns:
      One path per name. An image that is not there has a path in the folder of the others, so that it is quarantined.

    Raises:
      UserError: no image is found; two names are those of one file, or a name is that of two files.
    """
    if not names:
        raise UserError(f"{where}: names no image")
    if root == NAMES:
        return names
    places = _under(root, any_suffix) if root else _beside(folders, any_suffix)
    for dropped in range(max(len(name_parts(name)) for name in names)):
        found = functools.partial(_found, places, dropped)
        first = next((name for name in names if found(name)), None)
        if first is not None:
            parents = Path(found(first)[0]).parents
            above = root or parents[min(len(name_parts(first)) - dropped, len(parents)) - 1]
            paths = DiskList(_path(name, found(name), above, where) for name in names)
            for one, other in repeated(paths):
                if names[one] != names[other]:
                    raise UserError(
                        f"{where}: {short(names[one])} and {short(names[other])} are the same file, "
                        f"{printable(paths[one])}; give each image a name of its own"
                    )
            return paths
    if uploads := as_uploaded(names):
        with contextlib.suppress(UserError):
            return locate(uploads, folders, root, where, any_suffix)
    looked = printable(root) if root else ", ".join(printable(folder) for folder in folders)
    raise UserError(
        f"{where}: none of {len(names)} images is there; {short(names[0])} was looked for in {looked}; give the folder "
        "with the images as --root"
    )


def as_uploaded(names: Sequence[str]) -> Sequence[str]:
    """Returns names without the digits that Label Studio puts before those of uploads; none if one has no digits.

    There are none, either, if two names would be the same.
    """
    if not all(_UPLOADED.match(name_parts(name)[-1]) for name in names):
        return ()
    without = DiskList("/".join((*folders, _UPLOADED.sub("", name))) for *folders, name in map(name_parts, names))
    return () if any(repeated(without)) else without


def locate_by_labels(labels: Sequence[str], folders: Sequence[Path], root: str | None, where: str) -> Sequence[str]:
    """Returns the path of each image, which has the name of its label with the suffix of any format; see `locate`.

    Args:
      labels: names of files, with their suffixes.
      folders: see `locate`.
      root: see `locate`; for `NAMES`, the names of the labels come back.
      where: see `locate`.
    """
    if root == NAMES:
        return locate(labels, folders, root, where)
    stems = DiskList(name.rpartition(".")[0] for name in labels)
    return locate(stems, folders, root, where, any_suffix=True)


def visible_images(folder: Path, where: str) -> list[str]:
    """Returns the sorted paths of the images in a folder at any depth.

    Hidden files and those in system folders are left out, see `is_hidden`.

    Raises:
      UserError: there is no image, or two have the same name but for the suffix.
    """
    found = [path for path in find_images(folder) if not is_hidden(Path(path).relative_to(folder))]
    for one, other in repeated(DiskList(path.rpartition(".")[0] for path in found)):
        raise UserError(
            f"{where}: {printable(found[one])} and {printable(found[other])} differ by their suffix alone; rename one"
        )
    if not found:
        raise UserError(f"{where}: all images of {printable(folder)} are hidden; expected some that are not")
    return found


def images_by_stem(folder: Path, where: str) -> dict[str, str]:
    """Returns {path in the folder without the suffix: path} of all images, see `visible_images`."""
    paths = visible_images(folder, where)
    return {Path(path).relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def files_under(folder: Path, suffixes: Sequence[str]) -> Sequence[str]:
    """Returns the sorted paths, relative to a folder, of the files at any depth with one of these suffixes.

    Hidden files and those in system folders are left out, see `is_hidden`. The paths are sorted, and lie, on the disk.

    Args:
      folder: the folder; without it, there are no files.
      suffixes: in lower case.
    """
    return sorted_names(_names_under(folder, tuple(suffixes)))


def _names_under(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yields the files of `files_under` in any order."""
    above = [""]
    while above:
        start = above.pop()
        with contextlib.suppress(OSError), os.scandir(folder / start) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    above += [] if is_system(entry.name) else [f"{start}{entry.name}/"]
                elif entry.name.lower().endswith(suffixes) and not entry.name.startswith("."):
                    yield f"{start}{entry.name}"


def is_hidden(path: Path) -> bool:
    """Whether a file is hidden, or in a hidden or system folder; the path is relative to the folder of the data."""
    return path.name.startswith(".") or any(map(is_system, path.parts[:-1]))


def is_system(name: str) -> bool:
    """Whether a folder is hidden, or one that systems and tools make: `.ipynb_checkpoints`, `@eaDir`."""
    return name.startswith((".", "@")) or name in _SYSTEM


def name_parts(name: str) -> Parts:
    """Returns the folders and the name of a file, without a drive, `.` and `..`."""
    name = name.rpartition("?d=")[2]  # how Label Studio names local files
    parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".", "..")]
    return tuple(parts[1:] if len(parts) > 1 and parts[0].endswith(":") else parts) or (name,)


def _beside(folders: Sequence[Path], any_suffix: bool) -> _Places:
    """Looks into these folders."""

    def named(folder: Path, name: str) -> list[str]:
        if any_suffix:
            return sorted(stems_in(folder).get(name, ()))
        return [name] if os.path.lexists(folder / name) else []

    @functools.cache
    def stems_in(folder: Path) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError):  # no such folder; others are reported when the image is read
            for path in folder.iterdir():
                if path.name.lower().endswith(SUFFIXES):
                    found.setdefault(path.name.rpartition(".")[0], []).append(path.name)
        return found

    def places(parts: Parts) -> list[str]:
        for written in _spellings(parts):
            for folder in folders:
                place = folder.joinpath(*written[:-1])
                if found := named(place, written[-1]):
                    return [str(place / name) for name in found]
        return []

    return places


def _under(root: str, any_suffix: bool) -> _Places:
    """Looks at any depth of a folder."""
    if not Path(root).is_dir():
        raise UserError(f"--root={root}: no such folder; expected the folder with the images")
    files: dict[str, Sequence[tuple[str, str]]] = {}  # {name: its folders, each with the suffix that follows}
    count = 0
    for folder, _, names in os.walk(root):
        shared: dict[str, tuple[tuple[str, str]]] = {}  # so that a name takes no memory but its own
        for name in names:
            stem, dot, suffix = name.rpartition(".") if any_suffix else (name, "", "")
            if not any_suffix or name.lower().endswith(SUFFIXES):
                place = shared.setdefault(suffix, ((folder, dot + suffix),))
                before = files.setdefault(stem, place)
                if isinstance(before, list):
                    before += place
                elif before is not place:
                    files[stem] = [*before, *place]
        count += len(names)
        if count > _MOST_FILES:
            raise UserError(f"--root={root}: more than {_MOST_FILES:,} files; give the folder with the images")

    def places(parts: Parts) -> list[str]:
        for written in _spellings(parts):
            *above, name = written
            paths = [Path(f"{folder}/{name}{suffix}") for folder, suffix in files.get(name, ())]
            ends = [path for path in paths if list(path.parts[-1 - len(above) : -1]) == above]
            if ends:
                return sorted(map(str, ends))
        return []

    return places


def _spellings(parts: Parts) -> list[Parts]:
    """Returns the parts as they are and, if these differ, with `%20` as in URLs decoded, and other forms of `é`."""
    if all(part.isascii() and "%" not in part for part in parts):
        return [parts]
    decoded = name_parts(urllib.parse.unquote("/".join(parts)))
    forms = [tuple(unicodedata.normalize(form, part) for part in one) for form in _FORMS for one in (parts, decoded)]
    return list(dict.fromkeys((parts, decoded, *forms)))


def _found(places: _Places, dropped: int, name: str) -> list[str]:
    """Returns the files of a name without its first folders."""
    parts = name_parts(name)[dropped:]
    return places(parts) if parts else []


def _path(name: str, found: Sequence[str], folder: str | Path, where: str) -> str:
    """Returns the only file of a name, or where it would be."""
    if len(found) > 1:
        raise UserError(
            f"{where}: {short(name)} is the name of {len(found)} files: {printable(found[0])}, {printable(found[1])}; "
            "give the --root that has one of them"
        )
    return found[0] if found else str(Path(folder, *name_parts(name)))
