"""A worker waits for the others for a limited time, and says for whom."""

import os
import socket
import threading

import pytest

from must_tf.errors import UserError
from must_tf.training import joining
from must_tf.training.cluster import seconds_to_wait, tf_config


class Ended(BaseException):
    pass


@pytest.fixture
def ends(monkeypatch):
    def end(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(joining, "_SAYS", 0.05)


def test_workers_that_do_not_come_are_named_first_and_end_the_others_later(ends, capsys):
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as gone:
        present, absent = (f"127.0.0.1:{one.getsockname()[1]}" for one in (here, gone))
        gone.close()
        with pytest.raises(Ended, match="2"):
            joining._watch(tf_config(["127.0.0.1:1", present, absent], 0), 0.1, threading.Event())
        said = f"worker 2 ({absent})"
        remedy = "see its own log, and start all again (MUST_TF_WAIT=SECONDS waits longer)"
        error = f"{said}: did not join within 0.1 s; {remedy}"
        assert capsys.readouterr().err.splitlines() == [f"waits for {said}", f"must: error: {error}"]
        with pytest.raises(Ended):  # one that answers, and has not joined
            joining._watch(tf_config(["127.0.0.1:1", present], 0), 0.1, threading.Event())
        assert f"error: worker 1 ({present}): did not join" in capsys.readouterr().err


def test_workers_that_have_joined_are_not_ended(ends, monkeypatch, capsys):
    monkeypatch.setenv("MUST_TF_WAIT", "0")
    joined = threading.Event()
    joined.set()
    joining._watch(tf_config(["127.0.0.1:1", "127.0.0.1:2"], 0), 0, joined)
    assert not capsys.readouterr().err


def test_time_is_half_an_hour_or_that_of_the_environment():
    assert (seconds_to_wait({}), seconds_to_wait({"MUST_TF_WAIT": "20"})) == (1800, 20)
    with pytest.raises(UserError, match="MUST_TF_WAIT=soon: expected a whole number"):
        seconds_to_wait({"MUST_TF_WAIT": "soon"})
