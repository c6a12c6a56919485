"""Locks in buckets: objects that show signs of life, so that one run at a time works in a folder."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from must_tf.buckets import Remote
from must_tf.errors import UserError, one_line

LEASE = 60.0  # seconds without a sign of life after which the holder of a lock counts as dead
_BEATS = 6  # signs of life in that time


@contextlib.contextmanager
def leased(path: Remote) -> Iterator[Callable[[], bool]]:
    """Holds an object as a lock while it is renewed; after a kill it is free again when `LEASE` has passed.

    Yields a function that asks the store whether the lock is still held: it may have been lost to another run while
    this process stood still.

    No clock is compared with another one: who finds a lock looks at it for that time, and sees whether it is renewed.
    A run that lost its lock, because it could not renew it, is interrupted.

    Raises:
      UserError: another process holds it.
    """
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    _acquire(path, _beat(name, 0))
    if _created(path, _beat(name, 0)):
        print(f"warning: {path.parent}: this store has no locks; let no other run write there", file=sys.stderr)
    end = threading.Event()
    thread = threading.Thread(target=_renew, args=(path, name, end), daemon=True)
    thread.start()
    try:
        yield lambda: _holder(path) == name
    finally:
        end.set()
        thread.join()
        if _holder(path) == name:
            path.unlink(missing_ok=True)


def _acquire(path: Remote, beat: bytes) -> None:
    """Makes the object of a lock, in the place of one that shows no sign of life."""
    while not _created(path, beat):
        seen = _content(path)
        if seen == beat:  # the answer to an earlier try was lost
            return
        print(f"{path.parent}: is locked; looks for {LEASE:g} s whether its run lives", file=sys.stderr, flush=True)
        end = time.monotonic() + LEASE
        while time.monotonic() < end:
            time.sleep(LEASE / _BEATS / 4)
            now = _content(path)
            if now is None:
                break
            if now != seen:
                raise UserError(
                    f"{path.parent}: another run is at work there; wait for its end, or give another folder"
                )
        if _content(path) == seen:
            path.unlink(missing_ok=True)


def _created(path: Remote, data: bytes) -> bool:
    try:
        path.create(data)
    except FileExistsError:
        return False
    return True


def _renew(path: Remote, name: str, end: threading.Event) -> None:
    """Renews a lock until the end; interrupts the run where it is lost, or cannot be renewed any more."""
    count = 0
    while not end.wait(LEASE / _BEATS):
        lost = ""
        try:
            count += 1
            if not _renewed(path, name, count):
                lost = "another run has taken the lock"
        except UserError:  # the store cannot be reached: what the run itself writes says so
            pass
        except Exception as error:  # this thread is the last that knows of it
            lost = f"the lock cannot be renewed ({type(error).__name__}: {one_line(error)})"
        if lost:
            print(f"{path.parent}: {lost}; this run ends", file=sys.stderr, flush=True)
            handled = callable(signal.getsignal(signal.SIGINT))  # a script's jobs in the background ignore it
            os.kill(os.getpid(), signal.SIGINT if handled else signal.SIGTERM)
            return


def _renewed(path: Remote, name: str, count: int) -> bool:
    """Renews a lock, and returns whether it is still held."""
    try:
        tag = path.stat().tag
        if _holder(path) == name:
            path.replace(_beat(name, count), tag)
    except FileNotFoundError:  # another run may have come and ended
        return False
    except FileExistsError:  # another run has just come, or the answer to an earlier try was lost
        pass
    return _holder(path) == name


def _beat(name: str, count: int) -> bytes:
    return json.dumps({"name": name, "beat": count}).encode()


def _content(path: Remote) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _holder(path: Remote) -> str | None:
    try:
        return json.loads(_content(path) or b"{}").get("name")
    except (ValueError, AttributeError):  # an object of something else
        return None
