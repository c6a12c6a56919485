"""A polite end: SIGTERM and Ctrl-C let the step in hand finish and its checkpoint be written."""

import signal
import sys
import threading
from types import FrameType

_EXIT = 128


class Stop:
    """Within this context a first SIGTERM or SIGINT is noted, and a second one ends the process at once.

    Schedulers send SIGTERM some seconds before they kill. Signals are caught in the main thread alone.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

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
