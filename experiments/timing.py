"""Times functions in turns, so that what else the machine does meanwhile slows all of them alike."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def in_turns(runs: Sequence[Callable[[], Any]], rounds: int) -> np.ndarray:
    """Calls functions one after another, again and again; a first round does not count.

    Returns:
      Seconds of each call, float64 [rounds, functions].
    """
    times = np.array([[seconds(run) for run in runs] for _ in range(rounds + 1)])
    return times[1:]


def seconds(run: Callable[[], Any]) -> float:
    """Calls a function, and returns how long it took."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
