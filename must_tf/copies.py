"""Copies on this machine of what lies in buckets: fetched once, or mirrored while a command works."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

import filelock

from must_tf.buckets import Remote, State
from must_tf.errors import UserError
from must_tf.leases import leased
from must_tf.parsing import read_json
from must_tf.storage import LOCK, location, put_folder, scratch, sha256, write_json

_OF_RUNS = ("checkpoints", "tensorboard")  # folders of a workdir
_OF_WRITER = ("tensorboard/", "best/", "steps-")  # what only the process that writes a run reads of it
_DIGESTS = ".sha256.json"  # beside copies
_PARTIAL = ".partial.json"  # in a bucket: the folders and files that are put there or deleted, all of them or none
_PASSING = re.compile(r"\..*\.(tmp|old)")  # files and folders that have no final name


def cache_folder() -> Path:
    """Returns the folder for copies of what lies in buckets: $MUST_TF_CACHE, or `~/.cache/must_tf`."""
    return Path(os.environ.get("MUST_TF_CACHE") or Path.home() / ".cache" / "must_tf")


def fetched(path: str | os.PathLike) -> Path:
    """Returns a path of this machine: the same one, or a copy of what a URL names, of which SHA-256 were checked.

    With a file come those beside it whose names begin with its own, such as the card of a model. With a folder of a run
    do not come the checkpoints and logs that only the run itself needs. A copy is made again when what is in the bucket
    has changed.

    Args:
      path: of a file, a folder, or the beginning of the names of files, as of a checkpoint.

    Raises:
      UserError: nothing is there.
    """
    place = location(path)
    if isinstance(place, Path):
        return place
    whole, _ = _listed(place)
    files = {name: state for name, state in whole.items() if name.split("/")[0] not in _OF_RUNS}
    top = place
    if not files:
        beside = [one for one in place.parent.iterdir() if one.name.startswith(place.name) and one.is_file()]
        files, top = {one.name: one.stat() for one in beside}, place.parent
        if not beside:
            raise UserError(f"{place}: no such file or folder")
    told = json.dumps([str(place), files]).encode()
    folder = cache_folder() / "fetched" / hashlib.sha256(told).hexdigest()[:16]
    copy = folder / place.name
    with filelock.FileLock(_made(folder.parent) / f"{folder.name}{LOCK}"):  # others of this machine wait for the copy
        if not _is_whole(folder):
            with scratch(cache_folder()) as made:
                _bring(top, files, made / place.name if top is place else made)
                digests = {str(one.relative_to(made)): sha256(one) for one in sorted(made.rglob("*")) if one.is_file()}
                write_json(made / _DIGESTS, digests)
                put_folder(made, folder)
    _fetched_from[str(copy)] = str(place)
    return copy


_fetched_from: dict[str, str] = {}  # URLs by the copies and mirrors that this process has used


def named(text: str | os.PathLike) -> str:
    """Returns a path or a message with the URLs in the place of the copies that stand for them."""
    words = os.fspath(text)
    for copy, url in list(_fetched_from.items()):
        words = words.replace(copy, url)
    return words


def _bring(place: Remote, names: Iterable[str], folder: Path) -> None:
    """Copies files of a folder in a bucket to one of this machine."""
    for name in names:
        _made((folder / name).parent)
        try:
            (place / name).get(folder / name)
        except FileNotFoundError:
            raise UserError(f"{place / name}: went while it was copied; run the same command again") from None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a folder of copies is there, and each file has its SHA-256; one that did not change is read once."""
    if not (folder / _DIGESTS).is_file():
        return False
    digests = read_json(folder / _DIGESTS)
    return all((folder / name).is_file() and _sha256(folder / name) == digest for name, digest in digests.items())


_known: dict[Path, tuple[tuple[int, int], str]] = {}  # ((size, time), SHA-256) of the copies that were read


def _sha256(path: Path) -> str:
    told = path.stat()
    state = told.st_size, told.st_mtime_ns
    if path not in _known or _known[path][0] != state:
        _known[path] = state, sha256(path)
    return _known[path][1]


@contextlib.contextmanager
def mirrored(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a folder of this machine in which a command works: the same one, or one that stands for a URL.

    That of a URL is locked there, and begins with what is there. What the command has changed in it is put there by
    `publish`, and at the end in any case: files in the order in which they were written, so that what refers to others
    comes after them; then those that the command has deleted go. A folder that was put, replaced or deleted in part
    when a kill came goes when the next command begins, as do the files of a mirror in whose place there was nothing.

    Raises:
      UserError: another run holds the folder, or has taken it over since; nothing more is put there then.
    """
    place = location(path)
    if isinstance(place, Path):
        yield place
        return
    with scratch(cache_folder()) as folder, leased(place / LOCK) as is_held:
        mirror = _Mirror(folder / place.name, place, is_held)
        _fetched_from[str(mirror.folder)] = str(place)
        _mirrors.append(mirror)
        try:
            yield mirror.folder
        except UserError as error:
            error.args = (named(f"{error}"),)  # a user of Python does not know the mirror
            raise
        finally:
            _mirrors.remove(mirror)
            mirror.publish()


def publish(path: Path) -> None:
    """Puts into the bucket what has changed in the mirror of which a path is part; nothing for any other path."""
    for mirror in _mirrors:
        if path.is_relative_to(mirror.folder):
            mirror.publish()


@contextlib.contextmanager
def followed(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a folder of this machine to read what another process has `mirrored`: the same one, or one for a URL.

    That for a URL is empty, until `catch_up` brings what is there then.
    """
    place = location(path)
    if isinstance(place, Path):
        yield place
        return
    with scratch(cache_folder()) as folder:
        follower = _Follower(folder / place.name, place)
        _fetched_from[str(follower.folder)] = str(place)
        _followers.append(follower)
        try:
            yield follower.folder
        except UserError as error:
            error.args = (named(f"{error}"),)  # as in `mirrored`
            raise
        finally:
            _followers.remove(follower)


def catch_up(path: Path) -> None:
    """Makes the folder that follows one in a bucket, of which a path is part, equal to that; any other path stays."""
    for follower in _followers:
        if path.is_relative_to(follower.folder):
            follower.catch_up()


class _Follower:
    """A folder of this machine with what a training reads of one in a bucket.

    Args:
      folder: on this machine; is made.
      place: in the bucket.
    """

    def __init__(self, folder: Path, place: Remote):
        self.folder, self.place = folder, place
        self._brought: dict[str, State] = {}
        folder.mkdir()

    def catch_up(self) -> None:
        """Brings files that are new or changed there, and deletes those that went."""
        whole = {name: state for name, state in _listed(self.place)[0].items() if not name.startswith(_OF_WRITER)}
        gone = self._brought.keys() - whole.keys()
        for name in gone:
            (self.folder / name).unlink()
            del self._brought[name]
        for folder in sorted(_folders(gone) - _folders(whole), reverse=True):
            (self.folder / folder).rmdir()
        new = {name: state for name, state in whole.items() if self._brought.get(name) != state}
        _bring(self.place, new, self.folder)
        self._brought |= new


class _Mirror:
    """A folder of this machine that stands for one in a bucket.

    Args:
      folder: on this machine; is made.
      place: in the bucket.
      is_held: asks whether the lock there is still this run's.
    """

    def __init__(self, folder: Path, place: Remote, is_held: Callable[[], bool]):
        self.folder, self.place, self.is_held = folder, place, is_held
        self._partial: set[str] = set()  # what the bucket says to be there in part
        folder.mkdir()
        whole, others = _listed(place)
        for name in others:
            (place / name).unlink(missing_ok=True)
        _bring(place, whole, folder)
        self._put = {name: state for name, (_, state) in self._files().items()}  # size and time, by path

    def publish(self) -> None:
        """Puts files that are new or changed, in the order in which they were written, and deletes those that went."""
        files = self._files()
        changed = {name for name, (_, state) in files.items() if self._put.get(name) != state}
        new = _folders(changed) - _folders(self._put)
        if not self._put:
            new |= {name for name in changed if "/" not in name}
        self._mark(self._partial | new | self._replaced(changed, files.keys()))
        for name in sorted(changed, key=lambda name: (files[name][1][1], name)):
            self._check_held()
            (self.place / name).put(files[name][0])
            self._put[name] = files[name][1]
        self._mark(_folders(self._put) - _folders(files))
        for name in self._put.keys() - files.keys():
            self._check_held()
            (self.place / name).unlink(missing_ok=True)
            del self._put[name]
        self._mark(set())

    def _replaced(self, changed: Collection[str], files: Collection[str]) -> set[str]:
        """Returns the folders of several files none of which is as it was put: those of before and after do not mix."""
        stay: dict[str, list[bool]] = {str(PurePosixPath(name).parent): [] for name in changed if "/" in name}
        for name in self._put:
            if (folder := str(PurePosixPath(name).parent)) in stay:
                stay[folder].append(name in files and name not in changed)
        return {folder for folder, each in stay.items() if len(each) > 1 and not any(each)}

    def _mark(self, partial: set[str]) -> None:
        """Says in the bucket what is there in part from now on."""
        if partial == self._partial:
            return
        self._check_held()
        if partial:
            (self.place / _PARTIAL).write_bytes(json.dumps(sorted(partial)).encode())
        else:
            (self.place / _PARTIAL).unlink(missing_ok=True)
        self._partial = partial

    def _check_held(self) -> None:
        if not self.is_held():
            raise UserError(f"{self.place}: another run has taken the lock; this one puts nothing more there")

    def _files(self) -> dict[str, tuple[Path, tuple[int, int]]]:
        """Returns {path in the folder: (path, (size, time))} of all files but temporary ones and locks."""
        found = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder)
            if path.is_file() and not any(part == LOCK or _PASSING.fullmatch(part) for part in name.parts):
                told = path.stat()
                found[name.as_posix()] = path, (told.st_size, told.st_mtime_ns)
        return found


def _listed(place: Remote) -> tuple[dict[str, State], list[str]]:
    """Returns the files of a folder in a bucket that stay, and those that a kill left there in part, the mark last."""
    there = place.files()
    there.pop(LOCK, None)
    try:
        partial = set(json.loads((place / _PARTIAL).read_bytes())) if _PARTIAL in there else set()
    except FileNotFoundError:  # all of it is there by now
        return _listed(place)
    others = [name for name in there if partial & {name, *_folders([name])}]
    whole = {name: state for name, state in there.items() if name not in (_PARTIAL, *others)}
    return whole, others + [_PARTIAL] * (_PARTIAL in there)


def _folders(names: Iterable[str]) -> set[str]:
    """Returns the folders that hold files of these relative paths."""
    return {str(folder) for name in names for folder in PurePosixPath(name).parents if folder.name}


_mirrors: list[_Mirror] = []  # those that are open in this process
_followers: list[_Follower] = []
