"""Workers meet before TensorFlow joins them. Those that wait for others too long end, and say for whom they waited."""

import contextlib
import fcntl
import json
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from must_tf.errors import UserError
from must_tf.training import joining
from must_tf.training.cluster import seconds_to_wait, tf_config
from must_tf.training.joining import meet


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(joining, "_PAUSE", 0.02)
    monkeypatch.setenv("MUST_TF_WAIT", "20")


@pytest.fixture
def workers():
    """TF_CONFIG of three workers on this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [tf_config(addresses, index) for index in range(3)]


def address(workers, index):
    return json.loads(workers[index])["cluster"]["worker"][index]


def called(leader, workers):
    """Returns the connection of a call of worker 1, as soon as worker 0 listens."""
    while not leader.done():
        with contextlib.suppress(OSError):
            connection = socket.create_connection(joining._split(address(workers, 0)), 20)
            connection.sendall(b"must_tf worker 1\n")
            return connection
        time.sleep(0.02)
    raise AssertionError(leader.exception())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_on_when_the_last_has_come(workers, order):
    with ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(meet, workers[index]) for index in order[:2])
        time.sleep(0.2)
        assert not first.done() and not second.done()
        last = pool.submit(meet, workers[order[2]])
        assert [one.result(20) for one in (first, second, last)] == [None] * 3


@pytest.fixture
def many_files():
    """Lets this process open more than 1,024 files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_with_more_than_1024_open_files_sees_whether_another_waits(many_files):
    here, there = socket.socketpair()
    with here, socket.socket(fileno=fcntl.fcntl(here, fcntl.F_DUPFD, 1024)) as connection:
        with there:
            assert joining._is_open(connection)
        assert not joining._is_open(connection)


def test_worker_alone_waits_for_nobody():
    meet(tf_config(["127.0.0.1:1"], 0))


def test_worker_that_ended_while_it_waited_must_come_again(workers):
    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(meet, workers[0])
        called(leader, workers).close()
        other = pool.submit(meet, workers[2])
        time.sleep(0.3)
        assert not leader.done() and not other.done()
        meet(workers[1])
        assert leader.result(20) is other.result(20) is None


def test_worker_calls_again_after_a_while_for_its_connection_may_be_that_of_a_host_that_is_gone(workers, monkeypatch):
    """A host without power closes nothing, and its next worker 0 knows of no call."""
    monkeypatch.setattr(joining, "_AGAIN", 0.1)
    with socket.create_server(joining._split(address(workers, 0))) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(0.5)
        waiting = pool.submit(meet, workers[1])
        silent, _ = server.accept()
        with silent:
            while not waiting.done():
                with contextlib.suppress(OSError), server.accept()[0] as again:
                    again.sendall(b"must_tf go\n")
            assert silent.recv(64) == b"must_tf worker 1\n" and silent.recv(64) == b""
        assert waiting.result() is None


def test_worker_0_answers_only_the_last_of_a_workers_calls(workers):
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(meet, workers[0])
        first, last = called(leader, workers), called(leader, workers)
        with first, last:
            assert first.recv(64) == b""
            meet(workers[2])
            assert last.recv(64) == b"must_tf go\n"
        assert leader.result(20) is None


def test_worker_0_that_cannot_listen_is_told_in_one_line(workers):
    with socket.create_server(joining._split(address(workers, 0))):
        said = rf"^worker 0 \({address(workers, 0)}\): cannot listen there: Address already in use; end what holds"
        with pytest.raises(UserError, match=said):
            meet(workers[0])


def test_who_listens_already_is_tensorflow_and_other_callers_are_none(workers):
    host, port = joining._split(address(workers, 0))
    with socket.create_server((host, port)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"\0\0\6\4"), daemon=True).start()
        meet(workers[1])
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(meet, workers[index]) for index in (0, 1)]
        time.sleep(0.2)
        for words in (b"PRI * HTTP/2.0\r\n", b"must_tf worker 7\n"):
            with socket.create_connection((host, port)) as connection:
                connection.sendall(words)
                assert connection.recv(1) == b""
        assert not any(one.done() for one in waiting)
        meet(workers[2])
        assert [one.result(20) for one in waiting] == [None] * 2


def test_workers_that_do_not_come_are_named_first_and_end_the_others_later(workers, monkeypatch, capsys):
    monkeypatch.setattr(joining, "_SAYS", 1)
    monkeypatch.setenv("MUST_TF_WAIT", "2")
    remedy = r"did not join within 2 s; see what it says itself, and start all again \(MUST_TF_WAIT=SECONDS"
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(meet, workers[0])]
        time.sleep(0.4)  # its time is over first: it would name a worker 1 that has ended before, too
        waiting.append(pool.submit(meet, workers[1]))
        with pytest.raises(UserError, match=rf"^worker 2 \({address(workers, 2)}\): {remedy}"):
            waiting[0].result(20)
        with pytest.raises(UserError, match=rf"^worker 0 \({address(workers, 0)}\): {remedy}"):
            waiting[1].result(20)
    said = capsys.readouterr().err
    assert said.count("waits for worker 2") == said.count("waits for worker 0") == 1


def test_time_is_half_an_hour_or_that_of_the_environment():
    assert (seconds_to_wait({}), seconds_to_wait({"MUST_TF_WAIT": "20"})) == (1800, 20)
    with pytest.raises(UserError, match="MUST_TF_WAIT=soon: expected a whole number"):
        seconds_to_wait({"MUST_TF_WAIT": "soon"})
