import json
import signal
import threading
import time
import uuid

import faults
import pytest

from must_tf import buckets, leases, storage
from must_tf.buckets import Remote
from must_tf.errors import UserError
from must_tf.leases import leased


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(buckets, "WAITS", (0.01, 0.01, 0.01, 0.01))


@pytest.fixture(params=["s3", "google", "az"])
def conditional(request):
    """A new folder in a bucket of each kind of store that replaces an object only if it is still the same."""
    request.getfixturevalue(request.param)
    return Remote(f"{request.param.replace('google', 'gs')}://tests/{uuid.uuid4().hex}")


def test_lock_is_of_one_run_and_free_after_its_end_or_its_death(bucket, monkeypatch):
    monkeypatch.setattr(leases, "LEASE", 0.6)
    with pytest.raises(KeyboardInterrupt), storage.locked(bucket):
        with pytest.raises(UserError, match="another run is at work there"), storage.locked(bucket):
            pass
        raise KeyboardInterrupt
    assert not bucket.files()
    (bucket / ".lock").create(b'{"name": "of a killed run", "beat": 7}')
    begun = time.monotonic()
    with storage.locked(bucket):
        assert time.monotonic() - begun >= 0.6
        with pytest.raises(FileExistsError):
            (bucket / ".lock").create(b"")
    assert not bucket.files()


@pytest.fixture
def interrupted():
    """Has SIGINT raise `KeyboardInterrupt`, also where these tests are a job in the background."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_run_that_lost_its_lock_is_interrupted(bucket, interrupted, monkeypatch):
    monkeypatch.setattr(leases, "LEASE", 0.6)
    with pytest.raises(KeyboardInterrupt), leased(bucket / ".lock"):
        for beat in range(100):  # it renews its lock, as every run does
            (bucket / ".lock").write_bytes(json.dumps({"name": "another", "beat": beat}).encode())
            threading.Event().wait(0.1)
    assert json.loads((bucket / ".lock").read_text())["name"] == "another"


def test_lock_is_renewed_again_after_answers_that_gcsfs_takes_for_wrong_values(google, google_url, monkeypatch):
    monkeypatch.setattr(leases, "LEASE", 0.6)
    lock = Remote(f"gs://tests/{uuid.uuid4().hex}/.lock")
    with faults.proxy(int(google_url.rpartition(":")[2])) as server, leased(lock) as is_held:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        buckets._store.cache_clear()
        with server.answering(always=faults.INVALID):
            with pytest.raises(UserError, match=f"^{lock}: Bad Request: .*invalid argument.*same command"):
                lock.exists()
            until(lambda: len(server.seen) > 20)  # the thread that renews it has had such answers, too
        beat = lock.read_bytes()
        until(lambda: lock.read_bytes() != beat)
        assert is_held()


def test_run_whose_lock_cannot_be_renewed_is_interrupted(bucket, interrupted, monkeypatch, capsys):
    def failing(path, name, count):
        raise RuntimeError("Session is closed")

    monkeypatch.setattr(leases, "LEASE", 0.6)
    monkeypatch.setattr(leases, "_renewed", failing)
    with pytest.raises(KeyboardInterrupt), leased(bucket / ".lock"):
        threading.Event().wait(20)
    said = f"{bucket}: the lock cannot be renewed (RuntimeError: Session is closed); this run ends\n"
    assert capsys.readouterr().err == said


def until(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_lock_that_another_run_takes_meanwhile_is_not_renewed(conditional, monkeypatch):
    lock, another = conditional / ".lock", b'{"name": "another", "beat": 0}'
    lock.create(b'{"name": "mine", "beat": 0}')
    assert leases._renewed(lock, "mine", 1) and json.loads(lock.read_text())["beat"] == 1
    holder = leases._holder

    def late(path):
        found = holder(path)
        lock.write_bytes(another)
        return found

    monkeypatch.setattr(leases, "_holder", late)
    assert not leases._renewed(lock, "mine", 2) and lock.read_bytes() == another
    lock.unlink()
    assert not leases._renewed(lock, "mine", 3)


def test_lock_is_renewed_where_a_store_knows_no_condition(in_s3, proxied):
    (in_s3 / ".lock").create(b'{"name": "mine", "beat": 0}')
    unknown = ("NotImplemented", 501, "A header you provided implies functionality that is not implemented")
    with proxied.answering(None, None, unknown):  # it looks, and looks what is there, before it writes
        assert leases._renewed(in_s3 / ".lock", "mine", 1)
    assert json.loads((in_s3 / ".lock").read_text())["beat"] == 1


def test_store_without_exclusive_writing_says_so(gs, capsys):
    with storage.locked(f"gs://tests/{uuid.uuid4().hex}"):
        assert "this store has no locks" in capsys.readouterr().err
