"""Suppresses TensorFlow's log messages on standard error, including those of C++."""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# Messages of C++ logging before its initialization, which ignores TF_CPP_MIN_LOG_LEVEL and Python's logging; and what
# the LiteRT converter prints.
_NOISE = re.compile(rb"[IW]\d{4} \d\d|WARNING: All log messages before absl::InitializeLog|fully_quantize: ")
_LOUD: list[int] = []  # standard error, while it is captured
_LOCK = threading.RLock()  # without it, a thread could restore another thread's temporary file as standard error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Captures standard error, also of C++; at the end, everything except TensorFlow's log messages is printed.

    If there is no folder for temporary files or no standard error, nothing is captured.
    """
    with _LOCK, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(_captured())
        yield


def say(line: str) -> None:
    """Prints a line to standard error at once, also while it is captured."""
    if _LOUD:
        os.write(_LOUD[-1], f"{line}\n".encode())
    else:
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _captured() -> Iterator[None]:
    with tempfile.TemporaryFile() as captured:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        _LOUD.append(stderr)
        try:
            yield
        finally:
            try:
                sys.stderr.flush()
            finally:
                _LOUD.remove(stderr)
                os.dup2(stderr, 2)
                os.close(stderr)
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)
