"""Files that appear under their final name only when they are whole."""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from must_tf.errors import UserError
from must_tf.parsing import read_json as read_json

LOCK = ".lock"
_TEMPORARY = ".{name}.{process}.tmp"  # the process by its host too: several may share a disk


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Makes a folder, where there is none, and holds it for this process; a kill sets it free.

    Removes the temporary files that killed processes left in it.

    Raises:
      UserError: another process holds it.
    """
    path = Path(folder, LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_locked(path) as file:
        if file is None:
            raise UserError(f"{folder}: another run is at work there; wait for its end, or give another folder")
        for left in path.parent.glob(_TEMPORARY.format(name="*", process="*")):
            if left.is_file():
                left.unlink()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _open_locked(path: Path) -> Iterator[IO | None]:
    """Yields a file that this process alone holds, or None."""
    while True:
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            try:
                current = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                current = False
            if current:  # not one whose former holder has taken it away meanwhile
                yield file
                return


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` when the block ends without an error.

    After an error (a full disk, an interrupt) nothing is left under either name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_TEMPORARY.format(name=path.name, process=f"{socket.gethostname()}-{os.getpid()}"))
    try:
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


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sync(path: Path) -> None:
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
