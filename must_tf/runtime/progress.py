"""A progress line for long runs: done/total, rate, ETA, share of time spent waiting for data, peak memory."""

import collections
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_WINDOW = 60.0  # seconds


class Progress:
    """Prints a progress line every few seconds; on a terminal the line is rewritten in place.

    The rate and the share of waiting cover about the last minute, so that they describe the present.

    Args:
      name: name of the work.
      total: number of items.
      unit: name of an item in the plural.
      done: number of items that an earlier run has done.
      every: seconds between lines.
    """

    def __init__(self, name: str, total: int, unit: str = "images", done: int = 0, every: float = 5.0):
        self.name, self.total, self.unit, self.done, self.every = name, total, unit, done, every
        self.started = self.printed = time.monotonic()
        self.waited = 0.0
        self._marks = collections.deque([(self.started, done, 0.0)])  # (time, done, waited) within the last minute

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """Yields the items and counts the time until each arrives as waiting for data."""
        iterator = iter(items)
        while True:
            before = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self.waited += time.monotonic() - before
            yield item

    @property
    def rate(self) -> float:
        """Items per second."""
        started, done, _ = self._marks[0]
        return (self.done - done) / max(time.monotonic() - started, 1e-9)

    @property
    def lasted(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def wait_share(self) -> float:
        """Share of the time spent waiting for data."""
        started, _, waited = self._marks[0]
        return (self.waited - waited) / max(time.monotonic() - started, 1e-9)

    def update(self, count: int = 1, note: str = "") -> None:
        """Counts items as done, and prints a line if one is due."""
        self.done += count
        now = time.monotonic()
        if now - self.printed >= self.every or self.done - count < self.total <= self.done:
            self.printed = now
            self._print(note)
            self._marks.append((now, self.done, self.waited))
            while self._marks[1][0] < now - _WINDOW:
                self._marks.popleft()

    def say(self, message: str) -> None:
        """Prints a message on its own line."""
        start = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{start}{self.name}: {message}", file=sys.stderr, flush=True)

    def _print(self, note: str) -> None:
        left = max(self.total - self.done, 0) / self.rate if self.rate else 0.0
        parts = [
            f"{self.name} {self.done}/{self.total}",
            f"{self.rate:.1f} {self.unit}/s",
            f"ETA {_clock(int(left))}",
            f"data-wait {self.wait_share:.0%}",
            f"{peak_memory_gb():.1f} GB",
        ]
        line = "  ".join([*parts, note] if note else parts)
        ended = self.done >= self.total
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="\n" if ended else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: int) -> str:
    """Returns minutes:seconds, hours:minutes:seconds, or days and hours."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d {hours % 24}h"
    return f"{hours}:{minutes % 60:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def peak_memory_gb() -> float:
    """Returns the peak resident memory of this process, in GB."""
    # `getrusage` does not do: its value is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6
