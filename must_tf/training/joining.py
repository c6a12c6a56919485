"""Lets the workers of a training meet before TensorFlow joins them, and ends those that wait for others too long.

TensorFlow itself waits for an hour, does not say for whom, and lets neither threads nor signals through meanwhile.
"""

import contextlib
import json
import os
import re
import select
import socket
import sys
import time
from collections.abc import Sequence

from must_tf.errors import UserError
from must_tf.training.cluster import WAIT, seconds_to_wait

_SAYS = 60.0  # seconds after which a worker says for whom it waits
_PAUSE = 1.0  # seconds between two tries
_ANSWERS = 5.0  # seconds in which a connection is made
_AGAIN = 30.0  # seconds after which a worker calls again: a host that lost its power does not close its connections
_CALL, _CALLED = b"must_tf worker %d\n", re.compile(rb"must_tf worker (\d+)\n")
_GO = b"must_tf go\n"


def meet(tf_config: str) -> None:
    """Returns when all workers are there: worker 0 listens on its port, and lets the others go when each has called.

    Where TensorFlow listens there already, a worker goes on at once: worker 0 will notice that it has lost one.

    Args:
      tf_config: TF_CONFIG, as a text.

    Raises:
      UserError: other workers have not come within `seconds_to_wait`, or worker 0 cannot listen on its port.
    """
    told = json.loads(tf_config)
    addresses, index = told["cluster"]["worker"], told["task"]["index"]
    clock = _Clock(seconds_to_wait(os.environ))
    if len(addresses) > 1 and index == 0:
        _await_calls(addresses, clock)
    elif index:
        _call(addresses[0], index, clock)


class _Clock:
    """Says once for whom a worker waits, and ends it when the time is over.

    Args:
      seconds: until then.
    """

    def __init__(self, seconds: float):
        self.seconds, self._started, self._said = seconds, time.monotonic(), False

    def check(self, awaited: str) -> None:
        """Raises a `UserError` that names who is awaited, where the time is over."""
        passed = time.monotonic() - self._started
        if passed >= self.seconds:
            raise UserError(
                f"{awaited}: did not join within {self.seconds:g} s; see what it says itself, and start all again "
                f"({WAIT}=SECONDS waits longer)"
            )
        if passed >= _SAYS and not self._said:
            self._said = True
            print(f"waits for {awaited}", file=sys.stderr, flush=True)


def _await_calls(addresses: Sequence[str], clock: _Clock) -> None:
    """Waits for the calls of all other workers, and answers them."""
    here: dict[int, socket.socket] = {}
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with contextlib.ExitStack() as held:
        place = ("", _split(addresses[0])[1])
        try:
            server = held.enter_context(socket.create_server(place, family=family, backlog=128, dualstack_ipv6=both))
        except OSError as error:
            raise UserError(
                f"worker 0 ({addresses[0]}): cannot listen there: {os.strerror(error.errno or 0)}; end what holds the "
                "port, or give all workers another one"
            ) from None
        server.settimeout(_PAUSE)
        while absent := [number for number in range(1, len(addresses)) if number not in here]:
            clock.check(", ".join(f"worker {number} ({addresses[number]})" for number in absent))
            with contextlib.suppress(TimeoutError):
                connection = held.enter_context(server.accept()[0])
                if (number := _caller(connection)) in range(1, len(addresses)):
                    if number in here:  # a worker that has called again
                        here[number].close()
                    here[number] = connection
                else:  # TensorFlow, in a worker that has not noticed yet that this one was lost, or something else
                    connection.close()
            for number in [number for number, connection in here.items() if not _is_open(connection)]:
                here.pop(number).close()
        for connection in here.values():
            with contextlib.suppress(OSError):  # of one that has just ended
                connection.sendall(_GO)


def _caller(connection: socket.socket) -> int:
    """Returns the number of the worker that calls; 0, which never does, for anybody else."""
    connection.settimeout(_ANSWERS)
    try:
        found = _CALLED.fullmatch(connection.recv(64))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _is_open(connection: socket.socket) -> bool:
    """Whether a caller still waits: one that has ended has closed its connection."""
    return not _has_news(connection, 0)


def _has_news(connection: socket.socket, seconds: float) -> bool:
    """Waits until a connection has something to read or has ended, or that time is over; returns whether it has.

    `select.select` takes no file whose number is above 1023.
    """
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def _call(leader: str, index: int, clock: _Clock) -> None:
    """Calls worker 0 until it answers."""
    awaited = f"worker 0 ({leader})"
    while True:
        with contextlib.suppress(OSError), socket.create_connection(_split(leader), _ANSWERS) as connection:
            connection.sendall(_CALL % index)
            end = time.monotonic() + _AGAIN
            while not (answered := _has_news(connection, _PAUSE)) and time.monotonic() < end:
                clock.check(awaited)
            if answered and connection.recv(64):  # it lets this worker go, or is TensorFlow; it has ended otherwise
                return
        clock.check(awaited)
        time.sleep(_PAUSE)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
