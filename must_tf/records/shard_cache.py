"""Local copies of the shards of datasets in buckets: fetched ahead, in bounded space, deleted when they are read."""

import collections
import functools
import hashlib
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from must_tf.buckets import Remote, State
from must_tf.copies import cache_folder
from must_tf.errors import UserError
from must_tf.ranges import check_range
from must_tf.storage import scratch_folder

GB = 10**9
DEFAULT_GB = 20.0
_AT_ONCE = 8  # shards that are fetched at the same time
_RECENT = 16  # shards that stay after they were asked for: who asked has not yet opened them


class ShardCache:
    """Holds copies of shards in a folder of this process.

    The shards that were asked for last stay, as do those that a reader holds; of the others, those go first that were
    not asked for the longest.

    Args:
      folder: for the copies.
      most_bytes: of all copies together; shards that are on their way or being read may go beyond it.
    """

    def __init__(self, folder: Path, most_bytes: float):
        self.folder, self.most_bytes = folder, most_bytes
        self._copies: collections.OrderedDict[str, Future[State]] = collections.OrderedDict()  # oldest first
        self._held: dict[int, set[str]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "shards")

    def path(self, url: str) -> Path:
        """Returns the copy of a shard; waits for it where it is not there yet."""
        self._start(url).result()
        self._shrink()
        return self._place(url)

    def advance(self, reader: int, now: Sequence[str], following: Iterable[str]) -> None:
        """Fetches the shards that a reader reads now, which stay until its next call, and then those that follow."""
        with self._lock:
            self._held[reader] = set(now)
        for url in now:
            self._start(url)
        for url in following:
            if self._used() < self.most_bytes:
                self._start(url)

    def drop_former(self, folder: Remote) -> None:
        """Deletes the copies of shards of a folder that are not, or not so, in the bucket any more."""
        with self._lock:
            held = {url for url in self._copies if url.startswith(f"{folder}/")}
        there = folder.files() if held else {}
        with self._lock:
            for url in held & self._copies.keys():
                copy = self._copies[url]
                if copy.done() and not copy.exception() and copy.result() != there.get(url.removeprefix(f"{folder}/")):
                    self._delete(url)

    def release(self) -> None:
        """Holds no shards for readers any more: one that still reads gets those that it lacks again."""
        with self._lock:
            self._held.clear()

    def _start(self, url: str) -> Future[State]:
        """Begins to fetch a shard that is not there; an attempt that failed is made again."""
        with self._lock:
            copy = self._copies.get(url)
            if copy is None or (copy.done() and copy.exception()):
                self._copies[url] = copy = self._pool.submit(self._fetch, url)
            self._copies.move_to_end(url)
            return copy

    def _fetch(self, url: str) -> State:
        try:
            return Remote(url).get(self._place(url))
        except FileNotFoundError:
            raise UserError(f"{url}: is missing; run the command that made it again") from None

    def _place(self, url: str) -> Path:
        return self.folder / hashlib.sha256(url.encode()).hexdigest()[:32]

    def _used(self) -> int:
        with self._lock:
            return sum(map(_size, self._copies.values()))

    def _shrink(self) -> None:
        """Deletes copies until the others fit."""
        with self._lock:
            used = sum(map(_size, self._copies.values()))
            held = set().union(*self._held.values(), list(self._copies)[-_RECENT:])
            for url, copy in list(self._copies.items()):
                if used > self.most_bytes and copy.done() and url not in held:
                    used -= _size(copy)
                    self._delete(url)

    def _delete(self, url: str) -> None:
        del self._copies[url]
        self._place(url).unlink(missing_ok=True)


def _size(copy: Future[State]) -> int:
    return copy.result().st_size if copy.done() and not copy.exception() else 0


_most_bytes = DEFAULT_GB * GB


def limit(gigabytes: float) -> None:
    """Sets how many GB the copies of this process may take."""
    global _most_bytes
    check_range("--cache_gb", gigabytes, "[0, inf)")
    _most_bytes = gigabytes * GB
    if _cache.cache_info().currsize:
        shared().most_bytes = _most_bytes


def most_bytes() -> float:
    """Returns how many bytes the copies of this process may take."""
    return _most_bytes


def shared() -> ShardCache:
    """Returns the cache of this process; its folder goes with it, and those of killed processes go now."""
    with _making:
        return _cache()


def release() -> None:
    """Lets go of the shards that a training of this process has read, at its end; see `ShardCache.release`."""
    if _cache.cache_info().currsize:
        shared().release()


def drop_former(folder: Remote) -> None:
    """Lets go of the shards of a folder that were replaced in the bucket; see `ShardCache.drop_former`."""
    if _cache.cache_info().currsize:
        shared().drop_former(folder)


_making = threading.Lock()


@functools.cache
def _cache() -> ShardCache:
    return ShardCache(scratch_folder(cache_folder()), _most_bytes)
