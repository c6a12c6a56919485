"""Files that appear under their final name only when they are whole, on this machine or in a bucket."""

import atexit
import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from must_tf.buckets import URL, Remote, without_credentials
from must_tf.errors import UserError
from must_tf.leases import leased
from must_tf.parsing import read_json as read_json

LOCK = ".lock"
_URL_OR_ITS_PATH = re.compile(r"[\w+.-]+://|(s3a?|gc?s|az|abfss?|memory|hdfs|https?|ftp):/")  # `Path` drops a slash
_PATIENCE = 0.1  # seconds: a lock that is let go at this very moment can be had
_SCRATCH = "must_tf-"  # begins the names of folders for temporary files
_OWNED = ".scratch"  # is in such a folder alone, and held by its process; a workdir may have such a name, too
_TEMPORARY = ".{name}.{process}.tmp"  # the process by its host too: several may share a disk

Location = Path | Remote


def location(path: str | os.PathLike) -> Location:
    """Returns a path of this machine, or what a text such as `s3://bucket/folder` stands for.

    Raises:
      UserError: a `Path` was made of a URL: what does so knows no buckets.
    """
    if isinstance(path, Remote):
        return path
    return Remote(path) if isinstance(path, str) and URL.match(path) else local(path)


def local(path: str | os.PathLike, flag: str = "") -> Path:
    """Returns a path of this machine.

    Args:
      path: as the user gave it.
      flag: that it was given to, for the message.

    Raises:
      UserError: it is a URL.
    """
    if isinstance(path, Remote) or _URL_OR_ITS_PATH.match(os.fspath(path)):
        url = without_credentials(str(path))
        given = f"--{flag}{'' if flag.endswith(':') else '='}{url}" if flag else url
        raise UserError(f"{given}: is not a local path; mount the bucket and give the path of the mount")
    return Path(path)


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Makes a folder, where there is none, and holds it for this process; a kill sets it free.

    One in a bucket is held as `leases.leased` says.

    Removes the temporary files that killed processes left in it, and at the end the lock's own file.

    Raises:
      UserError: another process holds it.
    """
    path = location(folder) / LOCK
    if isinstance(path, Remote):
        with leased(path):
            yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=_PATIENCE, poll_interval=_PATIENCE / 5, fallback_to_soft=False)
    try:
        with naming(path):
            lock.acquire()
    except filelock.Timeout:
        raise UserError(f"{folder}: another run is at work there; wait for its end, or give another folder") from None
    try:
        for left in path.parent.glob(_TEMPORARY.format(name="*", process="*")):
            if left.is_file():
                left.unlink()
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who has it open meanwhile sees that it is gone
        lock.release()


@contextlib.contextmanager
def naming(path: str | os.PathLike, temporary: str | os.PathLike | None = None) -> Iterator[None]:
    """Gives errors of the operating system the name of a file where they have none: a full disk says only that.

    Args:
      path: of the file.
      temporary: the name that it has so far, which is not told.
    """
    try:
        yield
    except OSError as error:
        if error.filename in (None, temporary and os.fspath(temporary)):
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends without an error.

    That of a bucket is a local file, which is put there at the end. After an error (a full disk, an interrupt) nothing
    is left under either name.
    """
    path = location(path)
    if isinstance(path, Remote):
        with scratch() as folder:
            yield folder / path.name
            path.put(folder / path.name)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_TEMPORARY.format(name=path.name, process=f"{socket.gethostname()}-{os.getpid()}"))
    try:
        with naming(path, temporary):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def put_folder(temporary: Path, folder: Path) -> None:
    """Gives a folder its final name when all of it is on the disk; one that had the name goes after that."""
    for path in (*temporary.rglob("*"), temporary):
        _sync(path)
    former = _former(folder)
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.rename(former)
    temporary.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(former, ignore_errors=True)


def bring_back(parent: Path) -> None:
    """Gives the folders back their names that `put_folder` took, where a kill came before the new one had it."""
    for former in parent.glob(_former(Path("*")).name):
        name = former.name.removeprefix(".").removesuffix(".old")
        if not (parent / name).exists():
            former.rename(parent / name)
        else:
            shutil.rmtree(former)


@contextlib.contextmanager
def scratch(place: Path | None = None) -> Iterator[Path]:
    """Yields a `scratch_folder` that goes at the end."""
    folder = scratch_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scratch_folder(place: Path | None = None) -> Path:
    """Makes a folder for temporary files. It goes with the process, or after a kill with the next one.

    Args:
      place: the folder in which it is; TMPDIR where None.
    """
    return Path(tempfile.mkdtemp(dir=_scratch(place or Path(tempfile.gettempdir()))))


@functools.cache
def _scratch(place: Path) -> Path:
    """Returns the folder of this process for temporary files; removes those of processes that are no more."""
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob(f"{_SCRATCH}*/{_OWNED}"):
        with contextlib.suppress(OSError):  # another user's, or gone by now
            handle = os.open(left, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where its process lives
                shutil.rmtree(left.parent)
            finally:
                os.close(handle)
    new = Path(tempfile.mkdtemp(prefix=f".{_SCRATCH}", dir=place))
    fcntl.flock(os.open(new / _OWNED, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)  # until the process ends
    folder = new.rename(place / new.name.removeprefix("."))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not a copy of it
        shutil.rmtree(folder, ignore_errors=True)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sync(path: Path) -> None:
    with naming(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def sizes(folder: Location) -> dict[str, int]:
    """Returns {name: bytes} of the files in a folder, which need not be there; one listing, however many they are."""
    if isinstance(folder, Remote):
        return {name: state.st_size for name, state in folder.files().items() if "/" not in name}
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def names(folder: Location) -> Iterator[str]:
    """Yields the names of the files in a folder, which need not be there, in any order; one listing."""
    if isinstance(folder, Remote):
        yield from (name for name in folder.files() if "/" not in name)
    elif folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)


@contextlib.contextmanager
def on_disk(path: Location) -> Iterator[Path]:
    """Yields where a file can be opened: itself, or a copy of one in a bucket, which goes at the end."""
    if not isinstance(path, Remote):
        yield path
        return
    with scratch() as folder:
        path.get(folder / path.name)
        yield folder / path.name


def without_nan(value: Any) -> Any:
    """Returns JSON values with None in the place of NaN and infinities, which no other JSON reader takes."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
