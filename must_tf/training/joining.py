"""Limits the time that a worker waits for the others: TensorFlow waits for an hour, and does not say for whom."""

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator

from must_tf.training.cluster import WAIT, seconds_to_wait

_SAYS = 60.0  # seconds after which it says for whom it waits
_ANSWERS = 5.0  # seconds in which a worker answers


@contextlib.contextmanager
def in_time(tf_config: str) -> Iterator[None]:
    """Ends this process with a line where the block, in which TensorFlow joins the workers, takes too long.

    TensorFlow waits there in code that neither an exception nor a signal handler of Python ends. There is nothing to be
    cleaned up: what needs that begins when the workers have joined.

    Args:
      tf_config: TF_CONFIG, as a text.
    """
    joined = threading.Event()
    seconds = seconds_to_wait(os.environ)
    threading.Thread(target=_watch, args=(tf_config, seconds, joined), daemon=True).start()
    try:
        yield
    finally:
        joined.set()


def _watch(tf_config: str, seconds: float, joined: threading.Event) -> None:
    first = min(_SAYS, seconds)
    if joined.wait(first):
        return
    if first < seconds:
        print(f"waits for {_absent(tf_config)}", file=sys.stderr, flush=True)
        if joined.wait(seconds - first):
            return
    said = f"did not join within {seconds:g} s; see its own log, and start all again ({WAIT}=SECONDS waits longer)"
    print(f"must: error: {_absent(tf_config)}: {said}", file=sys.stderr, flush=True)
    os._exit(2)


def _absent(tf_config: str) -> str:
    """Returns which workers do not answer; all of them where they do, but have not joined."""
    told = json.loads(tf_config)
    others = {
        f"worker {index} ({address})": address
        for index, address in enumerate(told["cluster"]["worker"])
        if index != told["task"]["index"]
    }
    absent = [name for name, address in others.items() if not _answers(address)]
    return ", ".join(absent or others)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS).close()
    except OSError:
        return False
    return True
