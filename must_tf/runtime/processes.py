"""Child processes that end when their parent does."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Makes this child process exit as soon as its parent ends, even if the parent is killed with `kill -9`."""
    parent = multiprocessing.parent_process()
    assert parent, "end_with_parent: this process has no parent in multiprocessing"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
