"""Finds and reads image files: searches folders, globs and list files, and reads each file into a record."""

import collections
import errno
import fnmatch
import functools
import glob
import heapq
import itertools
import math
import os
import re
import stat
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from must_tf.buckets import URL, Remote
from must_tf.errors import UserError
from must_tf.records import Quarantined, Record
from must_tf.sources.decoding import MAX_PIXELS, Look, decode, in_order, to_record
from must_tf.sources.source import Entry, Source, fingerprint, without_copies
from must_tf.storage import Location, location

T = TypeVar("T")

# Of image files, in lower case.
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"
)  # fmt: skip
_MAX_BYTES = 2**30
_AT_ONCE = 32  # files of a bucket that are fetched at the same time: each one takes long to come, and little work
_MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)  # not the fault of the image
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def open_images(where: str | os.PathLike, images_per_shard: int, max_pixels: int = MAX_PIXELS) -> Source:
    """Opens a folder, a glob or a list file of images, see `find_images`; only the names are held in memory."""
    left_out = collections.Counter[str]()
    names = find_images(where, left_out)
    if left_out:
        print(f"{printable(where)}: {suffixes_left_out(left_out)}", file=sys.stderr, flush=True)
    root = common_folder(where if location(where).is_dir() else None, names)
    runs = split_evenly(names, math.ceil(len(names) / images_per_shard))
    shards = tuple(functools.partial(read_images, tuple(run), max_pixels, root=root) for run in runs)
    return Source(len(names), fingerprint(map(os.fsencode, names)), (), {}, shards)


def suffixes_left_out(counts: collections.Counter[str]) -> str:
    """Returns how many files were left out by their suffixes, the commonest first."""
    few = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
    return f"{counts.total()} file{'s' * (counts.total() > 1)} left out by their suffix: {few}"


def find_images(where: str | os.PathLike, left_out: collections.Counter[str] | None = None) -> list[str]:
    """Returns the sorted paths of the images in a folder, a glob or a list file.

    A folder is searched recursively for files with the suffixes of images. Links are followed. Each real folder is
    visited once, so that circular links end. A file that several paths lead to is returned once. A list file (.txt) has
    one path per line, relative to the current folder. A path that cannot be read (a broken link, a folder that cannot
    be listed) is returned as well, so that it is quarantined with its reason.

    Folders, globs and lists may be URLs, and lists may hold URLs. In a list in a bucket, other paths are relative to
    the folder of the list.

    Args:
      where: the folder, glob or list file.
      left_out: counts the other files of a folder by their suffixes.

    Raises:
      UserError: no image was found.
    """
    path = location(where)

    def wanted(name: str) -> bool:
        known = name.lower().endswith(SUFFIXES)
        if left_out is not None and not known:
            left_out[Path(name).suffix.lower() or "without a suffix"] += 1
        return known

    if isinstance(path, Remote):
        found = _in_bucket(path, wanted)
    elif path.is_dir():
        found = _under(str(path), wanted)
    elif path.suffix == ".txt" and path.is_file():
        found = _distinct(_listed(path))
    elif path.is_file():
        found = [str(path)]
    else:
        found = _distinct(_matching(os.fspath(where)))
    if not found:
        state = "holds no image" if path.is_dir() else "lists no path" if path.is_file() else "no such folder or file"
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise UserError(
            f"{printable(where)}: {state}; expected a folder with images ({kinds}), a glob of images, or a .txt file "
            "with one path per line"
        )
    return sorted(found)


def read_images(
    paths: Iterable[str], max_pixels: int = MAX_PIXELS, look: Look = decode, root: str | None = None
) -> Iterator[Entry]:
    """Reads files in order on several threads; copies of an earlier image are quarantined."""
    paths = tuple(paths)
    entry = functools.partial(_entry, max_pixels=max_pixels, look=look, root=root)
    if paths and isinstance(location(paths[0]), Remote):
        fetched = zip(paths, in_order(_content, paths, _AT_ONCE), strict=True)
        return without_copies(in_order(lambda each: entry(*each), fetched))
    return without_copies(in_order(lambda path: entry(path, _content(path)), paths))


def common_folder(folder: str | os.PathLike | None, names: Iterable[str]) -> str:
    """Returns the folder that the names of image files are relative to: the given one, or the one common to all."""
    if folder is not None:
        return os.fspath(folder)
    folders = sorted(set(map(os.path.dirname, names)))
    remote = [place for place in map(location, folders) if isinstance(place, Remote)]
    if len({place.scheme for place in remote}) > 1 or 0 < len(remote) < len(folders):
        raise UserError(f"images: {folders[0]} and {folders[-1]} lie in different stores; give one after the other")
    if remote:
        return f"{remote[0].scheme}:/{os.path.commonpath([f'/{place.key}' for place in remote])}"
    return os.path.commonpath(list(map(os.path.abspath, folders))) if folders else ""


def read_image(
    path: str | os.PathLike, max_pixels: int = MAX_PIXELS, look: Look = decode, root: str | None = None
) -> Record | Quarantined:
    """Reads one file into a record without labels, see `to_record`, or returns why it cannot become one.

    Args:
      path: of the file.
      max_pixels: see `to_record`.
      look: see `to_record`.
      root: the folder to which the record's `filename` is relative; None for a record without one.
    """
    return _entry(path, _content(path), max_pixels, look, root)


def _content(path: str | os.PathLike) -> bytes | Quarantined:
    """Returns what is in a file, or why it cannot be read."""
    place, name = location(path), printable(path)
    try:
        if isinstance(place, Path):
            state = place.stat()
            if stat.S_ISDIR(state.st_mode):
                os.scandir(place).close()  # raises the reason where the folder cannot be listed
                return Quarantined(name, "is a folder, not a file")
            if not stat.S_ISREG(state.st_mode):
                return Quarantined(name, "is not a regular file")
            if state.st_size > _MAX_BYTES:
                return Quarantined(name, f"has {state.st_size} bytes, more than the limit of {_MAX_BYTES}")
        return place.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if getattr(error, "errno", None) in _MACHINE_ERRORS:
            raise
        return Quarantined(name, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _entry(
    path: str | os.PathLike, content: bytes | Quarantined, max_pixels: int, look: Look, root: str | None
) -> Record | Quarantined:
    if isinstance(content, Quarantined):
        return content
    entry = to_record(printable(path), content, max_pixels, look)
    if root is not None and isinstance(entry, Record):
        entry.filename = _relative(location(path), root)
    return entry


def _relative(place: Location, root: str) -> str:
    """Returns the path of a file relative to a folder, with slashes."""
    if isinstance(place, Remote):
        return place.key.removeprefix(f"{Remote(root).key}/")
    return Path(os.path.relpath(place, root)).as_posix()


def printable(path: str | os.PathLike) -> str:
    r"""Returns a path as one line of UTF-8; an unprintable one is quoted as a shell reads it: `$'a\nb\xff.jpg'`."""
    name = os.fspath(path)
    if not (_UNPRINTABLE.search(name) or name.startswith("$'")):
        return name
    name = name.replace("\\", "\\\\").replace("'", "\\'")

    def escape(match: re.Match) -> str:
        known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
        return known.get(match[0]) or "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))

    return f"$'{_UNPRINTABLE.sub(escape, name)}'"


def split_evenly(items: Sequence[T], num_shards: int) -> list[Sequence[T]]:
    """Splits a sequence into `num_shards` consecutive parts whose lengths differ by one at most."""
    edges = [len(items) * i // num_shards for i in range(num_shards + 1)]
    return [items[low:high] for low, high in itertools.pairwise(edges)]


def _under(root: str, wanted: Callable[[str], bool]) -> list[str]:
    """Returns the wanted files under a folder, and the folders under it that cannot be listed."""
    found, links = [], []
    places = array("Q")  # device and inode of each file that is not a link
    folders, linked, seen = [root], list[str](), set[tuple[int, int]]()
    while folders or linked:  # real folders first, so that a file gets its real path where it has one
        folder = folders.pop() if folders else heapq.heappop(linked)
        try:
            state = Path(folder).stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_folder(entry) and entry.is_symlink():
                        heapq.heappush(linked, entry.path)
                    elif _is_folder(entry):
                        folders.append(entry.path)
                    elif not wanted(entry.path):
                        continue
                    elif entry.is_symlink():
                        links.append(entry.path)
                    else:
                        found.append(entry.path)
                        places.extend((state.st_dev, entry.inode()))
        except OSError:  # the same error is reported when the path is read
            found.append(folder)
    targets = _by_file(links)
    if targets:
        for place in zip(places[::2], places[1::2], strict=True):
            targets.pop(place, None)
    found += targets.values()
    return [name.removeprefix("./") for name in found] if root == "." else found


def _in_bucket(place: Remote, wanted: Callable[[str], bool]) -> list[str]:
    """Returns the URL of a file, those in a list, the wanted ones under a folder, or those that fit a glob."""
    if place.is_file():
        if place.suffix != ".txt":
            return [str(place)]
        listed = _lines(place.read_bytes(), str(place))
        return list(dict.fromkeys(line if URL.match(line) else f"{place.parent}/{line}" for line in listed))
    there = place.files()
    if there or not glob.has_magic(place.key):
        return [f"{place}/{key}" for key in there if wanted(key)]
    parts = place.key.split("/")
    index = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    top = Remote(f"{place.scheme}://{'/'.join(parts[:index])}")
    return [f"{top}/{key}" for key in top.files() if _fits(key.split("/"), parts[index:])]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or one that may not be followed
        return False


def _listed(path: Path) -> list[str]:
    """Returns the paths in a list file, one per line; they need not be UTF-8."""
    return _lines(path.read_bytes(), str(path))


def _lines(data: bytes, where: str) -> list[str]:
    """Returns the lines of a list file (`where`) that are not empty; a URL of no bucket is a `UserError`."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            found.append(text := os.fsdecode(line.rstrip(b"\r")))
            try:
                location(text)
            except UserError as error:
                raise UserError(f"{where}: line {number}: {error}; download the image, and list its file") from None
    return found


def _matching(pattern: str) -> list[str]:
    """Returns the files that match a glob; `**` matches folders of any depth, also through circular links."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return [name for name in glob.glob(pattern) if not Path(name).is_dir()]
    index = parts.index("**")
    top, rest = str(Path(*parts[:index])), parts[index:]
    roots = [name for name in glob.glob(top) if Path(name).is_dir()]

    def wanted(root: str, name: str) -> bool:
        return _fits(Path(name).relative_to(root).parts, rest)

    return [name for root in roots for name in _under(root, functools.partial(wanted, root))]


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a glob, by the rules of `glob.glob`: `*` matches no hidden name."""
    if not (parts and patterns):
        return not parts and all(pattern == "**" for pattern in patterns)
    if patterns[0] == "**" and _fits(parts, patterns[1:]):
        return True
    hidden = parts[0].startswith(".") and not patterns[0].startswith(".")
    if hidden or not fnmatch.fnmatchcase(parts[0], patterns[0]):
        return False
    return _fits(parts[1:], patterns if patterns[0] == "**" else patterns[1:])


def _distinct(paths: Iterable[str]) -> list[str]:
    return list(_by_file(paths).values())


def _by_file(paths: Iterable[str]) -> dict[tuple[int, int] | str, str]:
    """Returns {device and inode: path}, with the first of several paths to a file; a broken path is its own key."""
    found: dict[tuple[int, int] | str, str] = {}
    for path in sorted(paths):
        try:
            state = Path(path).stat()
            found.setdefault((state.st_dev, state.st_ino), path)
        except (OSError, ValueError):  # the same error is reported when the path is read
            found.setdefault(path, path)
    return found
