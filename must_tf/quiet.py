"""TensorFlow's own talk, kept from the screen."""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# Of C++ logging that was not initialized, which heeds neither TF_CPP_MIN_LOG_LEVEL nor Python's logging, and of the
# LiteRT converter's print.
_TALK = re.compile(rb"[IW]\d{4} \d\d|WARNING: All log messages before absl::InitializeLog|fully_quantize: ")
_ONE_AT_A_TIME = threading.RLock()  # or one would give back, as the screen, what another holds


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what is written to standard error, from C++ too; afterwards, all but TensorFlow's talk is written.

    Without a folder for temporary files, or without standard error, nothing is held back.
    """
    with _ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(_held_back())
        yield


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        screen = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            try:
                sys.stderr.flush()
            finally:
                os.dup2(screen, 2)
                os.close(screen)
            held.seek(0)
            for line in held:
                if not _TALK.match(line):
                    os.write(2, line)
