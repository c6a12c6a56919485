"""Graceful stop: SIGTERM and Ctrl-C let the current step finish and its checkpoint be written."""

import signal
import sys
import threading
from collections.abc import MutableMapping
from types import FrameType

import tensorflow as tf

_EXIT = 128


class Stop:
    """Within this context a first SIGTERM or SIGINT is noted, and a second one ends the process at once.

    Schedulers send SIGTERM some seconds before they kill. Only the main thread can catch signals.

    Args:
      workers: how many there are; several stop after the same step, for none can save without the others.
    """

    def __init__(self, workers: int = 1) -> None:
        self.requested: signal.Signals | None = None
        self._alone = workers == 1
        self._told = tf.constant(False)
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def request(self) -> tf.Tensor | None:
        """Returns whether this worker is asked to stop, bool [], for a step to tell the others; None without others."""
        return None if self._alone else tf.constant(self.requested is not None)

    def agreed(self, values: MutableMapping[str, tf.Tensor]) -> bool:
        """Returns whether the run stops after this step; all workers return the same.

        Args:
          values: of the step; `stop`, which says whether any worker was asked, is taken out. It is read one step later,
            when it is known without waiting for the step.
        """
        if self._alone:
            return self.requested is not None
        agreed, self._told = bool(self._told), values.pop("stop")
        return agreed

    def leave(self, message: str) -> None:
        """Ends the process where a signal asked for it, with the signal's exit code."""
        if self.requested is not None:
            print(message, flush=True)
            sys.exit(_EXIT + self.requested)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
