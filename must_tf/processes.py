"""What processes that others start have in common."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Has this process, which another one started, end as soon as that one does, even by `kill -9`."""
    parent = multiprocessing.parent_process()
    assert parent, "this is no process that another one started"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
